"""Lists of five hundred rows: each page stays readable, and every row stands on one of the list's pages."""

import html
import re
import secrets
from datetime import timedelta

import pytest

from agents import views as runs
from agents.models import Run, Step
from audit.uuid7 import uuid7
from gateway.models import Alarm, Call, Credential, Hold
from gateway.views import holds
from registry.models import (
    Activation,
    Approval,
    Artifact,
    Lifecycle,
    Membership,
    Pdp,
    Person,
    Pin,
    Proposal,
    Slot,
    Stop,
    Version,
    Workspace,
)
from registry.views import portions, releases
from tests.pages.conftest import furnished

MANY = 500
LARGEST = 100_000  # bytes of HTML, as in tests/browser/test_pages.py


def copies(model, like=None, **changes):
    """Store many rows like `like`, with `changes` (functions of the number), past every check; return them."""
    fields = [field for field in model._meta.concrete_fields if not field.primary_key]
    kept = {field.attname: getattr(like, field.attname) for field in fields} if like is not None else {}
    rows = []
    for number in range(MANY):
        changed = {name: value(number) if callable(value) else value for name, value in changes.items()}
        key = {"id": uuid7()} if model._meta.pk.name == "id" else {}
        rows.append(model(**(kept | key | changed)))
    return model._base_manager.using("owner").bulk_create(rows)


class Crowd:
    """A workspace with five hundred of everything that a page lists."""

    def __init__(self):
        self.steward = steward = furnished()
        self.story = steward.story()
        self.workspace, self.people, self.now = steward.workspace, steward.people, steward.now
        self.place = steward.build.environment()
        soon, word = self.now + timedelta(hours=1), secrets.token_hex(4)
        adam = Person.objects.get(pk=self.people["adam"].pk)
        them = copies(Person, adam, username=lambda n: f"m{n}-{word}", email=lambda n: f"m{n}-{word}@example.com")
        copies(Membership, Membership.objects.get(person=adam), person_id=lambda n: them[n].pk)
        copies(Pdp, None, kind="opa", name=lambda n: f"opa-{n}", environment=self.place, last_seen=self.now)
        copies(Alarm, None, workspace_id=self.workspace.pk, environment="development", kind="bypassed",
               count=1, record=lambda n: uuid7(), reasons={"call_unknown": 1})  # fmt: skip
        copies(Credential, Credential.objects.filter(workspace=self.workspace, kind="agent").first())
        how = {"workspace": self.workspace, "scope": "tool", "target": lambda n: f"wild-{n}", "reason": "Wild."}
        copies(Stop, None, **how, by=adam, at=self.now)
        copies(Stop, None, **how, by=adam, at=self.now, lifted_by=adam, lifted_at=self.now)
        self.versions(soon)
        self.holds(soon)
        self.runs()
        elsewhere = copies(Workspace, self.workspace, slug=lambda n: f"x{n}-{word}", name=lambda n: f"Place {n}")
        them = {"person": self.people["mallory"], "workspace_id": lambda n: elsewhere[n].pk, "created_at": self.now}
        copies(Membership, None, **them)

    def versions(self, soon):
        """Make many versions of a prompt, many proposals and approvals of one, many releases that pin it and live."""
        build = self.steward.build
        self.prompt = one = build.version("prompt", "long")
        proposal = build.propose(one)
        [approval] = build.approve(proposal, "bob")
        copies(Approval, approval, withdrawn_at=self.now)
        copies(Proposal, proposal, state="withdrawn", concluded_at=self.now)
        digests = {"digest": lambda n: f"sha256:{secrets.token_hex(32)}"}
        newer = copies(Version, one, number=lambda n: n + 2, **digests)
        copies(Lifecycle, None, version_id=lambda n: newer[n].pk, changed_at=self.now)
        agent = Artifact.objects.get(workspace=self.workspace, kind="agent", name="steward")
        agents = copies(Artifact, agent, name=lambda n: f"steward-{n:03}")
        release = Version.objects.filter(artifact=agent).first()
        named = {"artifact_id": lambda n: agents[n].pk, "name": lambda n: agents[n].name}
        releases = copies(Version, release, **named, **digests)
        copies(Lifecycle, None, version_id=lambda n: releases[n].pk, changed_at=self.now)
        copies(Pin, None, version_id=lambda n: releases[n].pk, part_id=one.pk)
        live = {"artifact_id": lambda n: agents[n].pk, "version_id": lambda n: releases[n].pk}
        copies(Slot, Slot.objects.get(artifact=agent), **live)
        glass = {"kind": "break_glass", "reason": "Fire.", "expires_at": soon, "review_due_at": soon}
        copies(Activation, Activation.objects.filter(artifact=agent).first(), **live, **glass)

    def holds(self, soon):
        """Make many calls parked, and many that were decided."""
        for pk, state in ((self.story["holds"]["open"], "open"), (self.story["holds"]["rejected"], "rejected")):
            hold = Hold.objects.select_related("call").get(pk=pk)
            calls = copies(Call, hold.call, key=lambda n: secrets.token_hex(8))
            copies(Hold, hold, call_id=lambda n, calls=calls: calls[n].pk, expires_at=soon, state=state)

    def runs(self):
        """Make many runs of which a step was given up."""
        run = Run.objects.get(pk=self.story["runs"]["waiting"])
        runs = copies(Run, run, key=lambda n: secrets.token_hex(8), wait="person")
        step = Step.objects.filter(run=run).first()
        dead = {"state": "dead", "call_id": None, "finished_at": self.now, "key": lambda n: secrets.token_hex(8)}
        copies(Step, step, run_id=lambda n: runs[n].pk, **dead)
        self.run = self.story["runs"]["done"]
        long = {"no": lambda n: n + 100, "name": lambda n: f"step-{n}", "call_id": None}
        copies(Step, Step.objects.filter(run=self.run).first(), key=lambda n: secrets.token_hex(8), **long)


@pytest.fixture(scope="module")
def _crowd(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        return Crowd()


@pytest.fixture
def crowd(_crowd, db):
    return _crowd


IDS = r"[0-9a-f-]{36}"
# Who reads the list, its page below the workspace, what names one row, and the parameter that leads on.
LISTS = {
    "members": ("adam", "settings/", r"changes/membership/(IDS)/", "people"),
    "decision points": ("adam", "settings/", r"opa (opa-\d+)", "decision-points"),
    "credentials": ("adam", "settings/", r"changes/credential/(IDS)/", "credentials"),
    "alarms": ("adam", "settings/", r"(<th scope=\"row\"><time)", "alarms"),
    "stops in force": ("adam", "stops/", r"stops/(IDS)/", "standing"),
    "lifted stops": ("adam", "stops/", r"stops/(IDS)/", "lifted"),
    "live releases": ("adam", "releases/", r"artifacts/agent/(steward-\d+)/\"", "in-development"),
    "unreviewed activations": ("adam", "releases/", r"activations/(IDS)/", "reviews"),
    "versions": ("adam", "artifacts/prompt/long/", r"prompt/long/(\d+)/", "versions"),
    "proposals of a version": ("adam", "artifacts/prompt/long/1/", r"proposals/(IDS)/\"", "proposals"),
    "approvals of a version": ("adam", "artifacts/prompt/long/1/", r"(> withdrawn<)", "approvals"),
    "releases that pin a version": ("adam", "artifacts/prompt/long/1/", r"artifacts/agent/(steward-\d+)/", "used-by"),
    "holds to decide": ("bob", "holds/", r"holds/(IDS)/", "mine"),
    "holds that others decide": ("alice", "holds/", r"holds/(IDS)/", "others"),
    "decided holds": ("adam", "holds/?state=decided", r"holds/(IDS)/", "before"),
    "steps of a run": ("adam", "runs/RUN/", r">(step-\d+)<", "before"),
    "dead letters": ("adam", "runs/?show=dead", r"runs/(IDS)/", "before"),
}


def walk(client, where, pattern, name):
    """Return what stands on the page and on those that its list leads on to."""
    base, seen = where.partition("?")[0], []
    while where:
        answer = client.get(where)
        assert answer.status_code == 200, where
        text = answer.content.decode()
        seen += re.findall(pattern.replace("IDS", IDS), text)
        links = [html.unescape(one) for one in re.findall(r'href="([^"]+)" rel="next"', text)]
        where = next((base + one for one in links if f"{name}=" in one.rpartition("&")[2]), "")
    return seen


@pytest.mark.parametrize("what", LISTS)
def test_a_list_of_five_hundred_rows_is_read_page_by_page(crowd, visitor, what, monkeypatch):
    who, path, pattern, name = LISTS[what]
    client, where = visitor(crowd.people[who]), f"/w/{crowd.workspace.slug}/{path.replace('RUN', crowd.run)}"
    assert len(client.get(where).content) < LARGEST
    # The whole of it in fewer and longer pages: the pages after the first are like it.
    for module in (portions, holds, runs):
        monkeypatch.setattr(module, "PAGE", 180)
    for module, size in ((runs, "STEPS"), (releases, "ROWS"), (releases, "FEW")):
        monkeypatch.setattr(module, size, 180)
    seen = walk(client, where, pattern, name)
    assert len(seen if "(<" in pattern or "(>" in pattern else set(seen)) >= MANY


@pytest.mark.parametrize(
    "path", ["", "settings/", "stops/", "releases/", "artifacts/", "holds/", "proposals/", "runs/"]
)
def test_a_page_stays_readable_with_five_hundred_of_everything(crowd, visitor, path):
    answer = visitor(crowd.people["adam"]).get(f"/w/{crowd.workspace.slug}/{path}")
    assert answer.status_code == 200
    assert len(answer.content) < LARGEST


def test_the_first_page_says_how_much_more_is_live_and_stopped(crowd, visitor):
    page = visitor(crowd.people["adam"]).get(f"/w/{crowd.workspace.slug}/").content.decode()
    assert re.search(r'/releases/#in-development">\d+ more</a>', page)
    assert re.search(r'/stops/">\d+ more stops</a>', page)


def test_who_belongs_to_five_hundred_workspaces_finds_each(crowd, visitor):
    mallory = visitor(crowd.people["mallory"])
    seen = walk(mallory, "/", r'class="strong" href="/w/(x\d+-\w+)/"', "workspaces")
    assert len(set(seen)) == MANY
    for path in ("/", f"/w/{seen[-1]}/settings/", "/account/"):
        assert len(mallory.get(path).content) < LARGEST
    assert '<a href="/">All workspaces</a>' in mallory.get(f"/w/{seen[-1]}/settings/").content.decode()


def test_who_is_signed_in_in_many_browsers_finds_each(people, visitor, monkeypatch):
    monkeypatch.setattr(portions, "PAGE", 2)
    given = {"username": people["carol"].username, "password": "correct horse"}
    for number in range(5):
        browser = visitor()
        assert browser.post("/login/", given, headers={"User-Agent": f"browser {number}"}).status_code == 302
    assert set(walk(browser, "/account/", r"(browser \d)", "sessions")) == {f"browser {number}" for number in range(5)}
