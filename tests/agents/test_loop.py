"""Plan, act, observe: a run asks its model, does what it is told as far as policy lets it, and ends with an answer."""

from agents import stories
from audit import sealed
from gateway import sessions
from tests.agents.acts import call, prompt, steps, trail
from tests.gateway.stage import effects, fresh


def test_a_run_acts_and_observes_until_the_model_stops(acts):
    value = fresh()
    script = [
        {"when": {"step": 1}, "call": [call("look"), call("put")]},
        {"when": {"tool": "put"}, "say": {"take": {"from": "look", "pointer": "/value"}}},
    ]
    run = acts.run(script, goal=value)
    assert (run.state, run.wait, run.code, stories.answer_of(run)) == ("succeeded", "", "", value)
    assert [step[:3] for step in steps(run)] == [
        ("model", "thinker", "done"),
        ("tool", "look", "done"),
        ("tool", "put", "done"),
        ("model", "thinker", "done"),
    ]
    assert len(effects(value)) == 2
    assert trail(run) == [
        "agents.run.created",
        "agents.run.started",
        *["agents.step.finished"] * 4,
        "agents.run.succeeded",
    ]


def test_every_step_is_a_governed_call_of_the_run_s_session(acts):
    run = acts.run([{"when": {"step": 1}, "call": [call("look")]}, {"say": "done"}])
    calls = [step.call for step in run.steps.order_by("no").select_related("call")]
    assert [(call.kind, call.state) for call in calls] == [
        ("model", "completed"), ("tool", "completed"), ("model", "completed"),
    ]  # fmt: skip
    assert {call.session_id for call in calls} == {run.session_id}
    assert [call.run for call in calls] == [
        {"id": str(run.pk), "step": number, "starter": acts.people["alice"].actor} for number in (1, 2, 3)
    ]
    assert {call.correlation_id for call in calls} == {run.correlation_id}


def test_a_denied_tool_call_is_an_observation_with_its_code_and_the_tool_does_not_run(acts):
    value = fresh()
    script = [
        {"when": {"step": 1}, "call": [call("forbidden")]},
        {"when": {"field": {"pointer": "/denied/code", "equals": "tool_denied"}}, "say": "understood"},
    ]
    run = acts.run(script, goal=value)
    assert (run.state, stories.answer_of(run)) == ("succeeded", "understood")
    assert steps(run)[1] == ("tool", "forbidden", "done", "tool_denied")
    assert effects(value) == []


def test_a_tool_that_the_release_does_not_pin_is_denied_and_the_run_goes_on(acts):
    script = [
        {"when": {"step": 1}, "call": [{"name": "format_disk", "arguments": {}}]},
        {"when": {"field": {"pointer": "/denied/code", "equals": "tool_unknown"}}, "say": "fine"},
    ]
    run = acts.run(script)
    assert run.state == "succeeded"
    assert steps(run)[1] == ("tool", "format_disk", "done", "tool_unknown")


def test_what_a_tool_reports_as_its_error_is_an_observation(acts):
    script = [
        {"when": {"step": 1}, "call": [call("look", "error")]},
        {"when": {"field": {"pointer": "/error/why", "equals": "the tool says no"}}, "say": "a pity"},
    ]
    assert acts.run(script).state == "succeeded"


def test_labels_of_a_result_change_what_the_run_may_do_next(acts):
    value = fresh()
    script = [
        {"when": {"step": 1}, "call": [call("web", "news"), call("mail")]},
        {"say": "done"},
    ]
    run = acts.run(script, goal=value)
    assert sessions.labels_of(run.session_id) == ["untrusted"]
    assert (run.state, run.wait) == ("waiting", "hold")
    assert steps(run)[2] == ("tool", "mail", "decided", "untrusted_destination")
    assert effects(value) == []


def test_the_prompt_is_rendered_from_its_approved_template_and_the_goal_is_the_user_s_message(acts):
    told = prompt(
        template="You look after {{repository}}.",
        variables={"type": "object", "properties": {"repository": {"type": "string"}}, "required": ["repository"]},
    )
    inputs = {"repository": "{{x}} site"}
    run = acts.run([{"say": "done"}], tools=["look", "put"], prompt=told, goal="Say done.", inputs=inputs)
    asked = sealed.open_value(run.steps.get().call.decided_record, "/data/received")
    assert asked["messages"] == [
        {"role": "system", "content": "You look after {{x}} site."},
        {"role": "user", "content": "Say done."},
    ]
    assert asked["prompt"] == "brief"
    assert [tool["name"] for tool in asked["tools"]] == ["look", "put"]


def test_a_person_s_goal_is_trusted_and_the_run_acts_on_their_behalf(acts):
    run = acts.run([{"say": "done"}])
    assert (run.session.request_source, run.session.on_behalf_of) == ("user", acts.people["alice"].actor)
    assert run.session.idle_seconds is None  # waiting for a person is no idleness
    assert run.on_behalf_of == acts.people["alice"].actor


def test_the_goal_of_an_agent_is_only_claimed_and_its_labels_come_along(acts):
    acts.scripted([{"when": {"step": 1}, "call": [call("look")]}, {"say": "done"}], tools=["web"])
    agent = acts.agent(agent=acts.last, scopes=("tools:call", "models:call", "runs:start"))
    acts.call(agent, "web")
    run = acts.work(acts.start(by=agent))
    assert (run.state, run.session.request_source, run.on_behalf_of) == ("succeeded", "claimed", None)
    assert sessions.labels_of(run.session.root_id) == ["untrusted"]


def test_a_run_keeps_its_release_when_another_one_goes_live(acts):
    acts.scripted([{"say": "the old one"}], agent="changing")
    run = acts.start()
    acts.scripted([{"say": "the new one"}], agent="changing")
    assert stories.answer_of(acts.work(run)) == "the old one"
    assert stories.answer_of(acts.work(acts.start())) == "the new one"


def test_an_answer_in_the_agreed_form_is_accepted(acts):
    agreed = prompt(output_schema={"type": "object", "required": ["verdict"]})
    run = acts.run([{"say": {"verdict": "good"}}], prompt=agreed)
    assert (run.state, stories.answer_of(run)) == ("succeeded", '{"verdict":"good"}')


def test_an_answer_in_another_form_is_corrected_once(acts):
    agreed = prompt(output_schema={"type": "object", "required": ["verdict"]})
    script = [{"when": {"contains": "agreed form"}, "say": {"verdict": "good"}}, {"say": "good"}]
    run = acts.run(script, prompt=agreed)
    assert (run.state, len(steps(run))) == ("succeeded", 2)


def test_a_model_that_does_not_keep_to_the_agreed_form_fails_the_run(acts):
    agreed = prompt(output_schema={"type": "object", "required": ["verdict"]})
    run = acts.run([{"say": "good"}], prompt=agreed)
    assert (run.state, run.code, len(steps(run))) == ("failed", "output_invalid", 2)
    assert stories.answer_of(run) is None


def test_a_run_whose_data_subject_was_erased_cannot_go_on(acts):
    acts.scripted([{"when": {"step": 1}, "call": [call("look")]}, {"say": "done"}])
    agent = acts.agent(agent=acts.last, scopes=("runs:start",))
    run = acts.start(fresh(), by=agent)
    acts.work_once(run)
    how = {"actor": acts.people["adam"].actor, "now": acts.now, "correlation_id": "test"}
    sealed.erase(acts.workspace.pk, f"session:{run.session_id}", **how)
    run = acts.work(run)
    assert (run.state, run.code) == ("failed", "value_erased")
    assert stories.goal_of(run) is None


def test_a_run_ends_with_its_session(acts):
    run = acts.run([{"say": "done"}])
    run.session.refresh_from_db()
    assert run.session.state == "closed"


def test_a_model_that_gives_no_answer_is_asked_again_and_then_given_up(acts):
    run = acts.run([{"when": {"contains": "never"}, "say": "x"}])
    assert (run.state, run.wait, run.code) == ("waiting", "person", "retries_exhausted")
