"""A workspace with something behind every address, its people and credentials, and a stranger who rules another one.

Test modules that name `pytest_plugins = ["tests.shared"]` share one world per process; what they change is made fresh.
"""

import json
import secrets
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property

from django.db import connection, transaction
from django.test import Client, override_settings

from agents import leases, runs
from audit import jobs, publisher, records, sequencer
from gateway import alarms, breakers, credentials, sessions, states, trusts
from registry import (
    activations,
    comments,
    devices,
    memberships,
    opa,
    pdp_credentials,
    pdps,
    resolve,
    signers,
    stops,
    tokens,
    versions,
    workspaces,
)
from registry.models import FactorReset, Person
from registry.resolve import Contract
from tests.agents.acts import Acts, lapse, open_step
from tests.gateway import conftest as gateway
from tests.gateway.stage import fresh
from tests.registry import signatures
from tests.registry.builders import TOOL, publish

PEOPLE = ("mallory", "alice", "bob", "carol", "dave", "olga", "adam", "eve")
CREDENTIALS = ("agent", "foreign", "opa")  # opa: a decision point of the development environment
ROLES = ("anonymous", *PEOPLE, *CREDENTIALS)
SCOPES = ("tools:call", "models:call", "runs:start", "artifacts:write", "states:use")
DEVELOPMENT = {"environment": "development", "agent": "steward"}


class World(Acts):
    """The workspace. alice is author, bob reviewer, carol security, dave auditor, olga operator, adam admin, eve may
    break the glass; anna, a second admin, only prepares things. mallory is admin of another workspace and not of this.
    """

    def __init__(self):
        stage = gateway._stage()
        super().__init__(stage.workspace, stage.people, stage.now)
        for person in self.people.values():
            # Who has no password is not asked for it again by the pages of their account.
            person.set_password("correct horse")
            person.save()
        self.slug, self.cookies, self.unused, self.handlers = self.workspace.slug, {}, {}, {}
        self.join("eve", "break_glass")
        self.join("anna", "admin")
        self.release = self.live()
        self.keys = {"agent": self.key(scopes=SCOPES), "foreign": self._foreign_key()}
        self.keys["opa"] = self.opa_credential()[1]
        self.principal = credentials.authenticate(self.keys["agent"])
        self.call(self.principal, "look")
        self.seal()

    def person(self, name="somebody"):
        """Return a new person, a member of nothing."""
        suffix = secrets.token_hex(4)
        return Person.objects.create_user(
            f"{name}-{suffix}", f"{name}-{suffix}@example.com", "correct horse", name=name.title()
        )

    def join(self, name, *roles):
        """Return the membership of a new person with `roles`."""
        self.people[name] = self.person(name)
        member = memberships.add(self.workspace, self.people[name], **self.by("adam"))
        for role in roles:
            memberships.grant(member, role, environment=None, **self.by("adam"))
        return member

    def by(self, name):
        """Return the keyword arguments of a change by that person, now."""
        return {"actor": self.people[name], "now": datetime.now(UTC), "correlation_id": "world"}

    def seal(self):
        """Put everything recorded so far under a checkpoint."""
        sequencer.drain(self.workspace.pk, using="sequencer")
        publisher.publish(self.workspace.pk, using="publisher")

    def client(self, role, *, csrf=False, page=False):
        """Return a client of that role: signed in, with a bearer key, or nobody."""
        headers = {"Authorization": f"Bearer {self.keys[role]}"} if role in CREDENTIALS else {}
        if page:
            headers["Accept"] = "text/html"
        client = Client(enforce_csrf_checks=csrf, headers=headers, raise_request_exception=False)
        # Loading the middleware costs more than most requests: clients share it.
        client.handler = self.handlers.setdefault(csrf, client.handler)
        if role in PEOPLE:
            if role not in self.cookies:
                client.force_login(self.people[role])
                self.cookies[role] = client.cookies["placet_session"].value
            client.cookies["placet_session"] = self.cookies[role]
        return client

    def send(self, role, method, path, body=None, *, form=False, csrf=False, **headers):
        """Send a request as that role and return the answer."""
        client = self.client(role, csrf=csrf, page=form)
        given = {"headers": headers} if headers else {}
        if form and method == "POST":
            return client.post(path, body or {}, **given)
        raw = b"" if body is None else json.dumps(body).encode()
        return client.generic(method, path, raw, content_type="application/json", **given)

    def ask(self, row):
        """Return a request for a row of the matrix that has not been carried out yet."""
        if row not in self.unused:
            self.unused[row] = row.ask(self)
        return self.unused[row]

    def mark(self):
        """Return the id of the newest record of the workspace."""
        return records.newest(self.workspace.pk, limit=1)[0].id

    def since(self, mark):
        """Return the events on record since then, in order."""
        with connection.cursor() as cursor:
            said = "SELECT event FROM audit_record WHERE workspace = %s AND id > %s ORDER BY id"
            cursor.execute(said, [self.workspace.pk, mark])
            return [event for (event,) in cursor.fetchall()]

    # What a request can be about. Each of these makes a new one.

    def member(self, *roles):
        """Return a new member."""
        return self.join(fresh("member"), *roles)

    def grant(self, actor="adam"):
        """Return a grant that `actor` made."""
        return memberships.grant(self.member(), "reviewer", environment=None, **self.by(actor))

    def signer(self, actor="adam"):
        """Return a signer that `actor` added."""
        pem = signatures.pem(signatures.key())
        return signers.add(self.workspace, name="CI", public_key=pem, **self.by(actor))

    def environment(self):
        """Return an unprotected environment without anything live."""
        name = f"e-{secrets.token_hex(4)}"
        return workspaces.add_environment(self.workspace, name, protected=False, **self.by("adam"))

    def reset(self):
        """Return a reset of a new member's factors by anna."""
        at = datetime.now(UTC)
        return FactorReset.objects.create(person=self.member().person, by=self.people["anna"], reason="Lost.", at=at)

    def trust(self):
        """Return a trust in an issuer that adam made."""
        from tests.matrix import JWKS

        return trusts.create(
            self.build.environment(), name="IdP", issuer=fresh("https://idp"), audience="placet", jwks_url="",
            jwks=JWKS, algorithms=["Ed25519"], claim="sub", behalf_claim="", longest_seconds=600, **self.by("adam"),
        )  # fmt: skip

    def version(self, *, deprecated=False, ghost=False):
        """Return a version of a tool, alice's; with `ghost` one commit in it is nobody's."""
        more = {"provenance": {"identities": ["ghost@example.org"]}} if ghost else {}
        row = versions.create(self.workspace, kind="tool", name=fresh("tool"), content=TOOL, **self.by("alice"), **more)
        if deprecated:
            versions.deprecate(row, reason="Old.", **self.by("alice"))
        return row

    def proposal(self, version=None, *, approved=False):
        """Return an open or approved proposal of alice's for development."""
        proposal = self.build.propose(version or self.version())
        if approved:
            self.build.approve(proposal, "bob")
        return proposal

    def approval(self):
        """Return bob's approval of an open proposal."""
        return self.build.approve(self.proposal(), "bob")[0]

    def comment(self):
        """Return alice's comment on an open proposal, not settled."""
        how = self.by("alice")
        how["author"] = how.pop("actor")
        return comments.add(self.proposal(), text="Why?", **how)

    def agent_version(self):
        """Return a version of a release of an agent that is live nowhere."""
        return self.build.release([], name=fresh("agent"))

    def lived(self):
        """Return a version of a release that is live in staging by agreement."""
        version = self.agent_version()
        self.build.live(version, "staging")
        return version

    def glass_broken(self):
        """Return eve's break-glass activation, live in staging and unreviewed."""
        where = self.build.environment("staging")
        how = self.by("eve") | {"reason": "Fire.", "minutes": 5}
        activation = activations.break_glass(self.agent_version(), where, **how)
        publish(activation)
        return activations.finish(activation, **self.build.how)

    def stop(self):
        """Return a stop of an agent that does not exist."""
        how = self.by("olga")
        how["by"] = how.pop("actor")
        return stops.set(self.workspace, scope="agent", target=fresh("agent"), reason="Wild.", **how)

    def access_token(self):
        """Return a new access token of alice's."""
        how = {"now": datetime.now(UTC), "correlation_id": "world", "actor": self.people["alice"].actor}
        return tokens.create(self.people["alice"], name="a laptop", **how)[0]

    def forget_devices(self):
        """Delete the logins of devices: only so many are begun in ten minutes."""
        from registry.models import DeviceLogin

        DeviceLogin.objects.all().delete()

    def device(self, *, confirmed=False):
        """Return a device's login and its code; with `confirmed`, bob has confirmed it."""
        now = datetime.now(UTC)
        row, code = devices.begin(machine="a laptop", address=f"10.0.{secrets.randbelow(256)}.1", hours=1)
        if confirmed:
            devices.decide(row, person=self.people["bob"], confirm=True, now=now, correlation_id="world")
        return row, code

    def credential(self):
        """Return a credential of alice's."""
        return credentials.authenticate(self.key()).id

    def opa_credential(self):
        """Return a credential of decision points of the development environment, and its key."""
        how = {"name": fresh("opa"), "expires_at": datetime.now(UTC) + timedelta(days=1)}
        return pdp_credentials.create(self.build.environment(), **how, **self.by("olga"))

    def pdp(self):
        """Return a decision point that has reported."""
        name = fresh("opa")
        pdps.report(self.build.environment(), opa.Status(name, "1.20.2", "", ""))
        return name

    def alarm(self):
        """Return an alarm about a decision that nobody asked for."""
        place = alarms.Place(self.workspace.pk, "development")
        how = {"now": datetime.now(UTC), "correlation_id": "world"}
        with transaction.atomic():
            return alarms.raise_alarm("bypassed", place, [alarms.Case("call_unknown", fresh(), None)], **how)

    def session(self):
        """Return a session that the agent opened."""
        how = {"now": datetime.now(UTC), "correlation_id": "world", **DEVELOPMENT}
        return sessions.open(self.principal, workspace=self.workspace.pk, **how).pk

    def finished(self):
        """Return a call of the agent's that was carried out."""
        return self.call(self.principal, "look").call

    def lost(self):
        """Return a call of which nobody knows what became of it."""
        return self.call(self.principal, "launch", "lost").call

    def hold(self):
        """Return the hold of a parked call of the agent's."""
        from gateway.models import Hold

        return Hold.objects.get(pk=self.call(self.principal, "careful").hold)

    def state(self):
        """Return something that the agent remembers."""
        how = {"expected": None, "session": None, "now": datetime.now(UTC), "correlation_id": "world"}
        return states.write(self.principal, fresh("key"), {"n": 1}, **how)

    def breaker(self):
        """Return the open breaker of a tool that has failed."""
        tool = Contract("tool", fresh("tool"), "", {})
        pk = breakers.id_of(self.resolved, tool)
        with override_settings(PLACET_BREAKER_FAILURES=1):
            given = breakers.admit(breakers.Seen(pk), under_way=0, seconds=1)
            breakers.report(given, self.resolved, tool, "tool_unreachable", patient=True, correlation_id="world")
        return pk

    @cached_property
    def resolved(self):
        """What is live of the agent."""
        return resolve.live(self.workspace.pk, **DEVELOPMENT)

    def begun(self, by=None):
        """Return a run that the agent started, or `by`."""
        how = {"now": datetime.now(UTC), "correlation_id": "world", "goal": "Do it.", "key": fresh("key")}
        return runs.start(self.workspace, by=by or self.principal, **how, **DEVELOPMENT)[0]

    def dead_step(self):
        """Return a step that was given up."""
        step = open_step(self.begun())
        for _ in range(leases.POISON):
            leases.claim(step.pk)
            lapse(step)
        leases.claim(step.pk)
        return step

    def record(self):
        """Return the id of a record that is in the tree."""
        return records.newest(self.workspace.pk, event="registry.workspace.created")[0].id

    def checkpoint(self):
        """Return the id of the newest checkpoint."""
        from audit import checkpoints

        return checkpoints.newest(self.workspace.pk, limit=1)[0].id

    def export(self):
        """Return the id of an export that dave asked for."""
        return self.send("dave", "POST", "/api/v1/exports/", {"workspace": self.slug}).json()["id"]

    def export_file(self):
        """Return the id of an export that dave asked for on the page, and that a worker has written."""
        answer = self.send("dave", "POST", f"/w/{self.slug}/trail/exports/", {"format": "csv"}, form=True)
        self.work()
        return answer.headers["Location"].rstrip("/").rpartition("/")[2]

    def work(self):
        """Do what a worker does on the trail."""
        jobs.work(lambda: datetime.now(UTC), using="worker")

    def _foreign_key(self):
        mallory = self.people["mallory"]
        founders = [(mallory, role, None) for role in ("author", "reviewer", "operator", "auditor", "security")]
        other = workspaces.init(f"w-{secrets.token_hex(5)}", "Elsewhere", admin=mallory, now=self.now, members=founders)
        how = {"owner": mallory, "scopes": SCOPES, "expires_at": self.now + timedelta(days=1)}
        self.other = other
        return credentials.create(other, actor=mallory, now=self.now, **how, **DEVELOPMENT)[1]


@contextmanager
def unrecordable():
    """Let the database refuse every record that this connection appends, as it would with a full disk."""
    with connection.cursor() as cursor:
        cursor.execute("SET placet.refuse = 'on'")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SET placet.refuse = 'off'")
