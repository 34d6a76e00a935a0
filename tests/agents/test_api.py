"""Runs over REST: who may start, see, cancel and requeue; one key, one run; every refusal a problem document."""

import pytest

from agents import leases, runs
from agents.models import Run
from tests.agents.acts import call, lapse, open_step, states_of, trail
from tests.gateway.stage import at_once, effects, fresh

RUNS = "/api/v1/runs/"


@pytest.fixture
def body(acts):
    """What starts a run."""
    acts.scripted([{"say": "done"}])
    return {"workspace": acts.workspace.slug, "environment": "development", "agent": acts.last, "goal": "Do it."}


@pytest.fixture
def post(acts, client_for):
    """Return a function that posts as somebody of the stage."""

    def send(who, address, body=None, *, key=None):
        headers = {} if key == "" else {"Idempotency-Key": key or fresh("key")}
        if isinstance(who, str):
            return client_for(acts.people[who]).post(address, body or {}, headers=headers)
        return client_for().post(address, body or {}, headers=headers | {"Authorization": f"Bearer {who['key']}"})

    return send


@pytest.fixture
def agent(acts, body):
    """A credential that may start runs of the agent."""
    return {"key": acts.key(agent=body["agent"], scopes=("runs:start",))}


def test_a_run_is_started_seen_and_listed(acts, post, body, client_for):
    answer = post("alice", RUNS, body)
    assert answer.status_code == 201, answer.content
    run = answer.json()
    assert (run["state"], run["goal"], run["answer"], len(run["steps"])) == ("queued", "Do it.", None, 1)
    acts.work(Run.objects.get(pk=run["id"]))
    client = client_for(acts.people["dave"])
    seen = client.get(f"{RUNS}{run['id']}/").json()
    assert (seen["state"], seen["answer"]) == ("succeeded", "done")
    assert seen["steps"][0]["call"] is not None
    listed = client.get(RUNS, {"workspace": acts.workspace.slug, "state": "succeeded", "agent": run["agent"]}).json()
    assert run["id"] in [row["id"] for row in listed["results"]]


def test_the_same_key_and_body_start_one_run(acts, post, body):
    key = fresh("key")
    first, second = post("alice", RUNS, body, key=key), post("alice", RUNS, body, key=key)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]
    assert trail(Run.objects.get(pk=first.json()["id"])).count("agents.run.created") == 1


def test_many_requests_with_one_key_at_once_start_one_run(acts, body):
    key, how = fresh("key"), {"by": acts.people["alice"], "now": acts.now, "correlation_id": "test"}
    asked = {"environment": "development", "agent": body["agent"], "goal": "Do it.", "key": key}
    started = at_once(*[lambda: runs.start(acts.workspace, **asked, **how)] * 6)
    assert len({run.pk for run, _ in started}) == 1
    assert [new for _, new in started].count(True) == 1
    assert Run.objects.filter(key=key).count() == 1


def test_another_body_under_the_same_key_is_refused(post, body):
    key = fresh("key")
    assert post("alice", RUNS, body, key=key).status_code == 201
    answer = post("alice", RUNS, body | {"goal": "Something else."}, key=key)
    assert (answer.status_code, answer.json()["code"]) == (422, "key_reused")


def test_the_same_key_of_another_starter_is_another_run(post, body):
    key = fresh("key")
    assert post("alice", RUNS, body, key=key).status_code == 201
    assert post("olga", RUNS, body, key=key).status_code == 201


@pytest.mark.parametrize(
    ("who", "status", "code"),
    [("alice", 201, None), ("olga", 201, None), ("bob", 403, "role_missing"), ("dave", 403, "role_missing"),
     ("mallory", 404, "not_found")],
)  # fmt: skip
def test_who_may_start_a_run_in_development(post, body, who, status, code):
    before = Run.objects.count()
    answer = post(who, RUNS, body)
    assert (answer.status_code, answer.json().get("code") or None) == (status, code)
    assert Run.objects.count() == before + (status == 201)


def test_an_author_starts_nothing_outside_development(post, body):
    assert post("alice", RUNS, body | {"environment": "staging"}).json()["code"] == "role_missing"
    # An operator may; there is just nothing live.
    assert post("olga", RUNS, body | {"environment": "staging"}).json()["code"] == "no_live_release"


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"goal": "  "}, 400, "invalid"),
        ({"goal": "x" * 50_001}, 400, "goal_invalid"),
        ({"agent": "nobody"}, 409, "no_live_release"),
        ({"environment": "nowhere"}, 404, "environment_unknown"),
        ({"workspace": "elsewhere"}, 404, "not_found"),
        ({"inputs": {"a": 1}}, 400, "inputs_invalid"),
        ({"on_behalf_of": "somebody"}, 403, "on_behalf_of_forbidden"),
        ({"unheard_of": 1}, 400, "member_unknown"),
        ({"goal": None}, 400, "invalid"),
    ],
)
def test_a_wrong_request_starts_nothing_and_says_what_is_wrong(post, body, change, status, code):
    before = Run.objects.count()
    answer = post("alice", RUNS, body | change)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer["Content-Type"] == "application/problem+json"
    assert Run.objects.count() == before


def test_a_run_needs_a_key(post, body):
    assert post("alice", RUNS, body, key="").json()["code"] == "idempotency_key_missing"
    assert post("alice", RUNS, body, key="k" * 256).json()["code"] == "idempotency_key_invalid"


def test_nobody_is_asked_to_sign_in(body, client_for):
    assert client_for().post(RUNS, body).status_code == 401
    assert client_for().get(RUNS).status_code == 401


def test_an_agent_starts_and_sees_its_own_runs_alone(acts, post, body, agent, client_for):
    own = post(agent, RUNS, {"goal": "Do it."})
    assert own.status_code == 201, own.content
    other = post("alice", RUNS, body).json()["id"]
    client = client_for()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {agent['key']}")
    assert [row["id"] for row in client.get(RUNS).json()["results"]] == [own.json()["id"]]
    assert client.get(f"{RUNS}{own.json()['id']}/").status_code == 200
    assert client.get(f"{RUNS}{other}/").status_code == 404
    assert post(agent, f"{RUNS}{other}/cancellations/").status_code == 404
    assert post(agent, f"{RUNS}{own.json()['id']}/cancellations/").status_code == 201


def test_an_agent_without_the_scope_or_of_another_agent_starts_nothing(acts, post, agent):
    assert post({"key": acts.key(agent=acts.last)}, RUNS, {"goal": "x"}).json()["code"] == "scope_missing"
    assert post(agent, RUNS, {"goal": "x", "agent": "other"}).json()["code"] == "session_forbidden"
    assert post(agent, RUNS, {"goal": "x", "workspace": "elsewhere"}).status_code == 404


def test_a_stranger_sees_nothing(acts, post, body, client_for):
    run = post("alice", RUNS, body).json()["id"]
    client = client_for(acts.people["mallory"])
    assert client.get(f"{RUNS}{run}/").status_code == 404
    assert client.get(RUNS, {"workspace": acts.workspace.slug}).status_code == 404
    assert post("mallory", f"{RUNS}{run}/cancellations/").status_code == 404
    assert states_of(Run.objects.get(pk=run))[0] == "queued"


def test_a_cancelled_run_says_what_could_not_be_undone(acts, post):
    value = fresh()
    script = [{"when": {"step": 1}, "call": [call("put"), call("careful")]}, {"say": "done"}]
    run = acts.run(script, goal=value)
    answer = post("olga", f"{RUNS}{run.pk}/cancellations/")
    assert answer.status_code == 201
    assert (answer.json()["state"], answer.json()["message"]) == ("cancelled", "Somebody cancelled the run.")
    assert [change["name"] for change in answer.json()["not_undone"]] == ["put"]
    assert len(effects(value)) == 1
    assert post("olga", f"{RUNS}{run.pk}/cancellations/").status_code == 201


def test_an_ended_run_cannot_be_cancelled(acts, post, body):
    run = acts.work(Run.objects.get(pk=post("alice", RUNS, body).json()["id"]))
    answer = post("alice", f"{RUNS}{run.pk}/cancellations/")
    assert (answer.status_code, answer.json()["code"]) == (409, "run_ended")


def test_a_dead_step_is_requeued_by_an_operator(acts, post, body):
    run = Run.objects.get(pk=post("alice", RUNS, body).json()["id"])
    step = open_step(run)
    for _ in range(leases.POISON):
        leases.claim(step.pk)
        lapse(step)
    leases.claim(step.pk)
    address = f"/api/v1/steps/{step.pk}/requeues/"
    assert post("mallory", address).status_code == 404
    assert post("bob", address).json()["code"] == "role_missing"
    assert states_of(run) == ("waiting", "person", "poison")
    answer = post("olga", address)
    assert (answer.status_code, answer.json()["state"]) == (201, "ready")
    assert post("olga", address).json()["code"] == "step_not_dead"
    assert acts.work(run).state == "succeeded"


def test_the_pages_of_a_list_follow_one_another(acts, post, body, client_for):
    started = [post("alice", RUNS, body).json()["id"] for _ in range(3)]
    client = client_for(acts.people["alice"])
    seen, address = [], f"{RUNS}?workspace={acts.workspace.slug}&limit=2"
    while address and len(seen) < 3:
        page = client.get(address).json()
        seen += [row["id"] for row in page["results"]]
        address = page["next"]
    assert seen[:3] == started[::-1]


def test_starting_and_reading_cost_a_known_number_of_queries(
    acts, post, body, client_for, django_assert_max_num_queries
):
    post("alice", RUNS, body)
    client = client_for(acts.people["alice"])
    run = post("alice", RUNS, body).json()["id"]
    with django_assert_max_num_queries(12):
        client.get(f"{RUNS}{run}/")
