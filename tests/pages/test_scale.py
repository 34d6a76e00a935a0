"""With many calls, pages find what they show by indexes, and miss nothing of it."""

import json
import secrets
from itertools import combinations
from uuid import UUID

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from benchmarks import seed
from gateway import listing
from gateway.listing import Filters
from gateway.models import Call, SessionLabel

LARGE = {"gateway_call", "gateway_attempt", "audit_record", "audit_leaf"}  # here; of few rows, to read all is cheapest
COUNT = 24_000


@pytest.fixture(scope="module")
def _crowd(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        made = seed.make(f"crowd-{secrets.token_hex(3)}", COUNT, newest=5, using="owner", say=lambda line: None)
        seed.integrate(made.workspace.pk, using="owner", say=lambda line: None)
        with connections["owner"].cursor() as cursor:
            cursor.execute("ANALYZE")
        yield made
        for one in connections.all(initialized_only=True):
            one.close()


@pytest.fixture
def crowd(_crowd, db):
    return _crowd


@pytest.fixture
def some(crowd):
    """A call in the middle that was completed in a run."""
    rows = Call.objects.filter(workspace_id=crowd.workspace.pk, state="completed", run__isnull=False)
    return rows.order_by("id")[500]


@pytest.fixture
def choices(some):
    """One value for each filter, as an address gives it."""
    return {
        "agent": some.agent,
        "name": some.name,
        "verdict": "deny",
        "code": seed.OLD_CODE,
        "label": "untrusted",
        "environment": "production",
        "text": "git",
        "state": "failed",
        "since": some.opened_at.isoformat(),
        "run": some.run["id"],
        "session": str(some.session_id),
        "credential": str(some.credential_id),
    }


def plan_of(sql):
    """Return how the database would answer a query."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}".replace("%", "%%"), [])
        plan = cursor.fetchone()[0]
    return (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]


def walk(plan):
    """Yield every node of a plan."""
    yield plan
    for inner in plan.get("Plans", ()):
        yield from walk(inner)


def scans(plan):
    """Return the tables that a plan reads from end to end."""
    return {node["Relation Name"] for node in walk(plan) if node["Node Type"] == "Seq Scan"}


def read_whole(client, address):
    """Return the queries of a page that read a large table from end to end."""
    with CaptureQueriesContext(connection) as captured:
        answer = client.get(address)
    assert answer.status_code == 200, address
    found = []
    for query in captured.captured_queries:
        if query["sql"].lstrip().upper().startswith(("SELECT", "WITH")):
            found += [f"{table}: {query['sql']}" for table in scans(plan_of(query["sql"])) & LARGE]
    return found


@pytest.mark.parametrize("count", [1, 2], ids=["one filter", "two filters"])
def test_no_filters_make_a_page_read_a_large_table(count, crowd, visitor, choices):
    client, there = visitor(crowd.person), f"/w/{crowd.workspace.slug}/calls/"
    for names in combinations(choices, count):
        query = "&".join(f"{name}={choices[name].replace('+', '%2B')}" for name in names)
        assert read_whole(client, f"{there}?{query}") == [], names


DRIVES = {
    "agent": "call_of_agent",
    "name": "call_of_name",
    "code": "call_of_code",
    "credential": "call_of_credential",
    "session": "call_of_session",
    "verdict": "call_not_done",
}


@pytest.mark.parametrize("name", DRIVES)
def test_the_index_that_is_meant_drives_and_nothing_is_sorted(name, crowd, choices, monkeypatch):
    """Where few calls fit: that is where a planner would rather sort, or walk back through all of them."""
    monkeypatch.setattr(listing, "WINDOW", 200)  # as much smaller than what shares a value as at a million calls
    given = choices[name]
    chosen = Filters(environment="nowhere", **{name: UUID(given) if name in ("credential", "session") else given})
    with CaptureQueriesContext(connection) as captured:
        listing.page(crowd.workspace.pk, chosen)
    plans = [plan_of(query["sql"]) for query in captured.captured_queries if "gateway_call c" in query["sql"]]
    assert plans
    for plan in plans:
        nodes = list(walk(plan))
        assert {node["Index Name"] for node in nodes if "Index Name" in node} == {DRIVES[name]}
        assert not any("Sort" in node["Node Type"] for node in nodes)


def test_no_search_makes_a_page_read_a_large_table(crowd, visitor, some):
    client, there = visitor(crowd.person), f"/w/{crowd.workspace.slug}/calls/"
    for text in ("e", "git deny", "key-", some.key, some.correlation_id, some.pk, some.session_id, "zzzz", "019a key"):
        assert read_whole(client, f"{there}?text={text}") == [], text
    for page in ("", f"?before={some.pk}", f"?after={some.pk}", f"?before={some.pk}&name={some.name}"):
        assert read_whole(client, there + page) == [], page


def test_no_other_page_reads_a_large_table(crowd, visitor, some):
    client, there = visitor(crowd.person), f"/w/{crowd.workspace.slug}/"
    call = crowd.sampled[0]
    row = Call.objects.get(pk=call)
    for page in (
        "", f"calls/{call}/", f"calls/{some.pk}/", "holds/", "holds/?state=decided", "runs/", f"runs/{crowd.run}/",
        "trail/", "trail/?event=gateway.call.lost", f"trail/?correlation_id={row.correlation_id}",
        f"trail/{row.decided_record}/",
    ):  # fmt: skip
        assert read_whole(client, there + page) == [], page


@pytest.fixture(scope="module")
def _calls(_crowd, django_db_blocker):
    """Every call, the newest first."""
    columns = ("id", "agent", "name", "code", "environment", "state", "session_id", "key")
    with django_db_blocker.unblock():
        rows = Call.objects.filter(workspace_id=_crowd.workspace.pk).order_by("-id")
        return list(rows.values_list(*columns, named=True))


def naive(calls, chosen):
    """Return the ids that fit, by looking at every call."""
    labelled = set(SessionLabel.objects.filter(label=chosen.label).values_list("root_id", flat=True))
    fitting = []
    for call in calls:
        fits = [
            not chosen.agent or call.agent == chosen.agent,
            not chosen.name or call.name == chosen.name,
            not chosen.code or call.code == chosen.code,
            not chosen.environment or call.environment == chosen.environment,
            not chosen.state or call.state == chosen.state,
            not chosen.verdict or call.state in listing.VERDICTS[chosen.verdict],
            not chosen.label or call.session_id in labelled,
            chosen.session is None or call.session_id == chosen.session,
            all(
                word in call.name or word in call.agent or word in call.code or call.key.startswith(word)
                for word in chosen.text.split()
            ),
        ]
        if all(fits):
            fitting.append(call.id)
    return fitting


@pytest.mark.parametrize(
    "chosen",
    [
        Filters(verdict="deny", environment="staging"),
        Filters(label="pii", agent="analyst"),
        Filters(label="quarantine", verdict="allow"),
        Filters(text="git", verdict="deny"),
        Filters(text="invoice limited"),
        Filters(code=seed.OLD_CODE, name="git_log"),
        Filters(agent="clerk", name="deploy", state="failed"),
        Filters(environment="nowhere"),
    ],
    ids=lambda chosen: "-".join(f"{name}" for name in chosen.__slots__ if getattr(chosen, name)),
)
def test_pages_that_end_early_lose_nothing_in_either_direction(chosen, crowd, _calls, monkeypatch):
    monkeypatch.setattr(listing, "WINDOW", 700)
    monkeypatch.setattr(listing, "LABEL_WINDOW", 700)
    workspace = crowd.workspace.pk
    expected = naive(_calls, chosen)
    forth, before = [], None
    while True:
        page = listing.page(workspace, chosen, before=before, size=40)
        forth += [call.pk for call in page.calls]
        if page.older is None:
            break
        before = page.older
    assert forth == expected
    oldest = _calls[-1].id
    back, after = [], oldest
    while after is not None:
        page = listing.page(workspace, chosen, after=after, size=40)
        back = [call.pk for call in page.calls] + back
        after = page.newer
    assert back == [pk for pk in expected if pk != oldest]


def test_a_page_that_ends_early_says_how_far_it_looked(crowd, visitor, monkeypatch):
    monkeypatch.setattr(listing, "WINDOW", 700)
    answer = visitor(crowd.person).get(f"/w/{crowd.workspace.slug}/calls/?environment=nowhere")
    text = answer.content.decode()
    assert "None among the calls looked at." in text and "Look further back" in text
    assert "No call fits these filters." not in text


def test_a_beginning_of_too_many_keys_says_that_it_is_not_all(crowd, visitor):
    text = visitor(crowd.person).get(f"/w/{crowd.workspace.slug}/calls/?text=key-").content.decode()
    assert "More than 1,000 calls have a key or correlation id that begins so." in text


def test_an_id_finds_its_call_whatever_it_is_the_id_of(crowd, some):
    workspace = crowd.workspace.pk
    sampled = Call.objects.get(pk=crowd.sampled[0])

    def found(text):
        return [call.pk for call in listing.page(workspace, Filters(text=str(text))).calls]

    assert found(sampled.pk) == [sampled.pk]
    assert found(sampled.decided_record) == [sampled.pk]
    assert found(some.key) == [some.pk] and found(some.key[:12])[0:1] == [some.pk]
    assert some.pk in found(some.session_id) and some.pk in found(some.run["id"])
    assert len(found(some.correlation_id)) == seed.A_SESSION
    assert found(f"{some.name} {some.key}") == [some.pk] and found(f"zzzz {some.key}") == []
