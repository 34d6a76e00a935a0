"""Every address and method of Placet, a request that is right for it, and what each role is answered.

A route is written as the resolver writes it. `ask` makes the request against a fresh object, so that a refusal is about
the role and nothing else: for every row at least one role is let through with the very same request.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from django.db import connections

from tests.gateway.stage import fresh
from tests.registry import signatures
from tests.registry.builders import TOOL
from tests.world import DEVELOPMENT, PEOPLE, ROLES, World

OTHERS = [name for name in PEOPLE if name != "alice"]
MEMBERS = "alice bob carol dave olga adam eve"
V1 = "api/v1/"
JWKS = {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}


@dataclass(frozen=True)
class Ask:
    """One request. `about` fills the route: member -> value, in any text form."""

    about: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | list[Any] | None = None
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Row:
    """One method of one route.

    :param answers: role -> status. :param event: what a success puts on record; "" for what changes nothing that is
        governed. :param note: what kind of request it is, where a route takes several.
    """

    method: str
    route: str
    answers: Mapping[str, int]
    ask: Callable[[World], Ask]
    event: str = ""
    note: str = ""

    @property
    def page(self) -> bool:
        """Say whether people see it in a browser."""
        return not self.route.startswith((V1, "log/", "opa/"))

    @cached_property
    def allowed(self) -> list[str]:
        """Return the roles that are let through."""
        return [role for role, status in self.answers.items() if status < 400 and not self._led_away(role)]

    @cached_property
    def refused(self) -> list[str]:
        """Return the roles that are not."""
        return [role for role in ROLES if role not in self.allowed]

    def path(self, ask: Ask) -> str:
        """Return the address of the request."""
        path = "/" + self.route
        for name, value in ask.about.items():
            path = path.replace(f"<{name}>", str(value))
        assert "<" not in path, path
        return path + ("?" + urlencode(ask.query) if ask.query else "")

    def send(self, world: World, role: str, ask: Ask, *, csrf: bool = False) -> Any:
        """Send the request as that role."""
        body = ask.body
        answer = world.send(role, self.method, self.path(ask), body, form=self.page, csrf=csrf, **ask.headers)
        if answer.status_code < 400 and role in self.allowed:
            world.unused.pop(self, None)
        return answer

    def __str__(self) -> str:
        return f"{self.method} {self.route}{' ' + self.note if self.note else ''}"

    def _led_away(self, role: str) -> bool:
        return role in _UNKNOWN and self.answers[role] == 302 and self.route.partition("/")[0] in _FOR_PEOPLE


# Roles that have no session of a browser: a page leads them to the login.
_UNKNOWN = ("anonymous", "agent", "foreign", "opa")
_FOR_PEOPLE = ("", "w", "account", "device", "access-tokens")


def may(names: str, status: int = 200, **others: int) -> dict[str, int]:
    """Return the answers of a REST address: `status` to those named, 404 to strangers, 403 to the rest."""
    base = dict.fromkeys(ROLES, 403) | {"anonymous": 401, "mallory": 404, "opa": 401}
    return base | dict.fromkeys(names.split(), status) | others


def visits(names: str, status: int = 200, **others: int) -> dict[str, int]:
    """Return the answers of a page: who has no session is led to the login, to strangers it does not exist."""
    return may(names, status, anonymous=302, agent=302, foreign=302, opa=302) | others


def signed_in(status: int) -> dict[str, int]:
    """Return the answers of a page of one's own account: the same for every person."""
    return everybody(status, anonymous=302, agent=302, foreign=302, opa=302)


def everybody(status: int = 200, **others: int) -> dict[str, int]:
    """Return the same answer for all."""
    return dict.fromkeys(ROLES, status) | others


def nothing(world: World) -> Ask:
    """Ask for an address that needs no more."""
    return Ask()


def mine(world: World) -> Ask:
    """Ask for a list of the workspace."""
    return Ask(query={"workspace": world.slug})


def here(world: World) -> Ask:
    """Ask for a page of the workspace."""
    return Ask({"slug:slug": world.slug})


def one(make: Callable[[World], Any], name: str = "pk", **body: Any) -> Callable[[World], Ask]:
    """Return what asks about the row, or the id, that `make` makes."""
    return lambda world: Ask({f"uuid:{name}": _id(make(world))}, body or None)


def on_page(make: Callable[[World], Any], **body: Any) -> Callable[[World], Ask]:
    """Return what asks for the page of the row that `make` makes."""
    return lambda world: Ask({"slug:slug": world.slug, "uuid:pk": _id(make(world))}, body or None)


def sends(**body: Callable[[World], Any] | Any) -> Callable[[World], Ask]:
    """Return what sends `body`; its functions make what is new each time."""
    return lambda world: Ask(body={name: each(world) if callable(each) else each for name, each in body.items()})


def workspace(world: World) -> str:
    """Return the slug of the workspace."""
    return world.slug


def remembers(status: int, **others: int) -> dict[str, int]:
    """Return the answers of what only an agent's credential may ask for."""
    return everybody(403, anonymous=401, opa=401, agent=status) | others


def _remembered(world: World) -> Ask:
    return Ask({"str:key": world.state().key})


def _new_state(world: World) -> Ask:
    return Ask({"str:key": fresh("key")}, {"value": {"n": 1}}, headers={"If-None-Match": "*"})


def _replaced(world: World) -> Ask:
    state = world.state()
    return Ask({"str:key": state.key}, {"value": {"n": 2}}, headers={"If-Match": f'"{state.record}"'})


def _forgotten(world: World) -> Ask:
    state = world.state()
    return Ask({"str:key": state.key}, headers={"If-Match": f'"{state.record}"'})


def _id(row: Any) -> str:
    return str(getattr(row, "pk", row))


def _expiry(world: World) -> str:
    return (datetime.now(UTC) + timedelta(days=3)).isoformat()


def _about_version(world: World, **body: Any) -> Ask:
    version = world.version()
    return Ask(
        _named(world, version), {"environment": "development", "digest": version.digest, **body} if body else None
    )


def _named(world: World, version: Any) -> dict[str, Any]:
    named = {"slug:kind": version.kind, "str:name": version.name, "int:number": version.number}
    return {"slug:slug": world.slug, **named}


def _edited(world: World) -> Ask:
    content = TOOL | {"description": fresh("New.")}
    return Ask(_named(world, world.version()), {"rest": json.dumps(content)})


def _lost(world: World) -> Ask:
    version = world.lived()
    world.build.live(world.build.release([], name=version.name, budgets={"steps": 7}), "staging")
    body = {"environment": "staging", "digest": version.digest, "reason": "Fire."}
    return Ask(_named(world, version), body)


def _identified_page(world: World) -> Ask:
    body = {"identity": "ghost@example.org", "username": world.people["carol"].username}
    return Ask(_named(world, world.version(ghost=True)), body)


def _reviewed(world: World) -> Ask:
    proposal = world.proposal()
    return Ask({"uuid:pk": proposal.pk}, {"comment": "Good."}, headers={"If-Match": f'"{proposal.version.digest}"'})


def _verdict(world: World) -> Ask:
    proposal = world.proposal()
    body = {"verdict": "approve", "digest": proposal.version.digest, "comment": "Good."}
    return Ask({"slug:slug": world.slug, "uuid:pk": proposal.pk}, body)


def _activation_page(world: World) -> Ask:
    proposal = world.proposal(world.agent_version(), approved=True)
    return Ask({"slug:slug": world.slug, "uuid:pk": proposal.pk}, {"digest": proposal.version.digest})


def _held(world: World) -> Ask:
    hold = world.hold()
    return Ask({"uuid:hold": hold.pk}, {"digest": hold.digest, "comment": "Fine."})


def _held_page(world: World) -> Ask:
    hold = world.hold()
    return Ask({"slug:slug": world.slug, "uuid:pk": hold.pk}, {"verdict": "approve", "digest": hold.digest})


def _exported(world: World) -> Ask:
    # An installation lets few wait: each asks after the one before is done.
    world.work()
    return Ask({"slug:slug": world.slug}, {"format": "ndjson", "event": "registry."})


def _called(world: World) -> Ask:
    body = {"name": "put", "arguments": {"value": fresh()}}
    return Ask(body=body, headers={"Idempotency-Key": fresh("key")})


def _begun(world: World) -> Ask:
    body = {"workspace": world.slug, "goal": "Do it.", **DEVELOPMENT}
    return Ask(body=body, headers={"Idempotency-Key": fresh("key")})


def _admitted(world: World) -> Ask:
    body = {"subject": fresh("agent"), "agent": "steward", "scopes": ["tools:call"], "expires_at": _expiry(world)}
    return Ask({"uuid:trust": world.trust().pk}, body)


def _changed(world: World) -> Ask:
    return Ask({"slug:slug": world.slug, "slug:kind": "membership", "uuid:pk": _member(world).pk})


def _pushed(kind: str) -> Callable[[World], Ask]:
    def ask(world: World) -> Ask:
        version = world.lived() if kind == "rollback" else world.agent_version()
        body = {"kind": kind, "version": _id(version), "environment": "staging", "reason": "Fire."}
        return Ask(body=body)

    return ask


def _identified(world: World) -> Ask:
    body = {"identity": "ghost@example.org", "username": world.people["carol"].username}
    return Ask({"uuid:pk": world.version(ghost=True).pk}, body)


def _new_device(world: World) -> Ask:
    world.forget_devices()
    return Ask(body={"machine": "a laptop"})


def _confirmed_device(world: World) -> Ask:
    row, code = world.device(confirmed=True)
    return Ask({"uuid:pk": row.pk}, {"device_code": code})


def _manifest() -> dict[str, Any]:
    return {"kind": "tool", "name": fresh("tool"), "spec": TOOL, "source": "tool.yaml"}


def _planned(world: World) -> Ask:
    return Ask(body={"workspace": world.slug, "environment": "development", "manifests": [_manifest()]})


def _slot(world: World) -> Any:
    from registry.models import Slot

    return Slot.objects.filter(workspace=world.workspace, artifact__name="steward").get()


def _activation(world: World) -> Any:
    from registry.models import Activation

    return Activation.objects.filter(workspace=world.workspace).latest("pk")


def _member(world: World) -> Any:
    from registry.models import Membership

    return Membership.objects.get(workspace=world.workspace, person=world.people["bob"])


def _grant(world: World) -> Any:
    return _member(world).grants.get(role="reviewer")


def _tile(place: str) -> Callable[[World], Ask]:
    return lambda world: Ask({"slug:workspace": world.slug, "str:level": "0", "path:place": place})


def _of_pdp(**body: Any) -> Callable[[World], Ask]:
    return lambda world: Ask({"slug:workspace": world.slug, "slug:environment": "development"}, body or None)


def _logs(world: World) -> Ask:
    return Ask({"slug:workspace": world.slug, "slug:environment": "development"}, [])


READERS, EXPORTERS = "carol dave olga adam", "dave adam"
SYSTEM = [
    Row("GET", "livez", everybody(), nothing),
    Row("GET", "readyz", everybody(), nothing),
    Row("GET", "metrics", everybody(), nothing),
    Row("GET", f"{V1}openapi.json", everybody(), nothing),
]
# Programs sign in on behalf of nobody yet, and then with a code that only they know.
ANYBODY = [
    Row("POST", f"{V1}device-logins/", everybody(201, opa=401), _new_device),
    Row("POST", f"{V1}device-logins/<uuid:pk>/tokens/", everybody(201, opa=401), _confirmed_device),
]
OWN_ROWS = everybody(404, anonymous=401, agent=403, foreign=403, opa=401)
SELF = [
    Row("GET", f"{V1}me/", everybody(200, anonymous=401, agent=403, foreign=403, opa=401), nothing),
    Row("GET", f"{V1}access-tokens/", everybody(200, anonymous=401, agent=403, foreign=403, opa=401), nothing),
    Row("GET", f"{V1}access-tokens/<uuid:pk>/", OWN_ROWS | {"alice": 200}, one(World.access_token)),
    Row(
        "DELETE", f"{V1}access-tokens/<uuid:pk>/", OWN_ROWS | {"alice": 204}, one(World.access_token),
        "registry.access_token.revoked",
    ),
]  # fmt: skip
REGISTRY = [
    Row("GET", f"{V1}workspaces/", may(MEMBERS), mine),
    Row("GET", f"{V1}workspaces/<uuid:pk>/", may(MEMBERS), one(lambda world: world.workspace)),
    Row("GET", f"{V1}memberships/", may(MEMBERS), mine),
    Row(
        "POST", f"{V1}memberships/", may("adam", 201),
        sends(workspace=workspace, username=lambda world: world.person().username), "registry.membership.created",
    ),
    Row("GET", f"{V1}memberships/<uuid:pk>/", may(MEMBERS), one(_member)),
    Row(
        "DELETE", f"{V1}memberships/<uuid:pk>/", may("adam", 204), one(World.member),
        "registry.membership.deactivated",
    ),
    Row("GET", f"{V1}grants/", may(MEMBERS), mine),
    Row(
        "POST", f"{V1}grants/", may("adam", 201), sends(membership=lambda world: _id(world.member()), role="author"),
        "registry.grant.created",
    ),
    Row("GET", f"{V1}grants/<uuid:pk>/", may(MEMBERS), one(_grant)),
    Row("DELETE", f"{V1}grants/<uuid:pk>/", may("adam", 204), one(World.grant), "registry.grant.revoked"),
    Row(
        "POST", f"{V1}grants/<uuid:pk>/confirmation/", may("adam", 201), one(lambda world: world.grant("anna")),
        "registry.grant.confirmed",
    ),
    Row("GET", f"{V1}signers/", may(MEMBERS), mine),
    Row(
        "POST", f"{V1}signers/", may("adam", 201),
        sends(workspace=workspace, name="CI", public_key=lambda world: signatures.pem(signatures.key())),
        "registry.signer.created",
    ),
    Row("GET", f"{V1}signers/<uuid:pk>/", may(MEMBERS), one(World.signer)),
    Row("DELETE", f"{V1}signers/<uuid:pk>/", may("carol adam", 204), one(World.signer), "registry.signer.revoked"),
    Row(
        "POST", f"{V1}signers/<uuid:pk>/confirmation/", may("adam", 201), one(lambda world: world.signer("anna")),
        "registry.signer.confirmed",
    ),
    Row(
        "POST", f"{V1}factor-resets/", may("adam", 201),
        sends(membership=lambda world: _id(world.member()), reason="Came by in person."), "registry.factor.reset",
    ),
    Row(
        "POST", f"{V1}factor-resets/<uuid:pk>/confirmation/", may("adam", 201), one(World.reset),
        "registry.factor.confirmed",
    ),
    Row("GET", f"{V1}environments/", may(MEMBERS), mine),
    Row(
        "POST", f"{V1}environments/", may("adam", 201), sends(workspace=workspace, name=lambda world: fresh("e")),
        "registry.environment.created",
    ),
    Row(
        "GET", f"{V1}environments/<uuid:pk>/", may(MEMBERS),
        one(lambda world: world.build.environment()),
    ),
    Row(
        "POST", f"{V1}environments/<uuid:pk>/protection/", may("adam", 201), one(World.environment),
        "registry.environment.protected",
    ),
    Row("GET", f"{V1}artifacts/", may(MEMBERS), mine),
    Row("GET", f"{V1}artifacts/<uuid:pk>/", may(MEMBERS), one(lambda world: world.release.artifact)),
    Row("GET", f"{V1}versions/", may(MEMBERS, agent=200, foreign=404), mine),
    Row(
        "POST", f"{V1}versions/", may("alice agent", 201, foreign=404),
        sends(workspace=workspace, kind="tool", name=lambda world: fresh("tool"), content=TOOL),
        "registry.version.created",
    ),
    Row("GET", f"{V1}versions/<uuid:pk>/", may(MEMBERS, agent=200, foreign=404), one(lambda world: world.release)),
    Row("GET", f"{V1}versions/<uuid:pk>/contributors/", may(MEMBERS), one(lambda world: world.release)),
    Row(
        "POST", f"{V1}versions/<uuid:pk>/contributors/", may("adam", 201), _identified,
        "registry.contributor.identified",
    ),
    Row("GET", f"{V1}versions/<uuid:pk>/checks/", may(MEMBERS), one(lambda world: world.release)),
    Row("POST", f"{V1}versions/<uuid:pk>/checks/", may("alice", 201), one(World.version), "registry.version.checked"),
    Row(
        "POST", f"{V1}versions/<uuid:pk>/deprecation/", may("alice olga", 201), one(World.version, reason="Old."),
        "registry.version.deprecated",
    ),
    Row(
        "POST", f"{V1}versions/<uuid:pk>/retirement/", may("olga", 201),
        one(lambda world: world.version(deprecated=True), reason="Old."), "registry.version.retired",
    ),
    Row(
        "POST", f"{V1}versions/<uuid:pk>/revocation/", may("carol adam", 201), one(World.version, reason="Leaky."),
        "registry.version.revoked",
    ),
    Row("GET", f"{V1}evidence/", may(MEMBERS), mine),
    Row("POST", f"{V1}plans/", may("alice agent", 200, foreign=404), _planned),
    Row("GET", f"{V1}manifests/", may(MEMBERS, agent=200, foreign=404), mine),
    Row(
        "POST", f"{V1}manifests/", may("alice agent", 201, foreign=404),
        lambda world: Ask(body={"workspace": world.slug, **_manifest()}), "registry.version.created",
    ),
    Row("GET", f"{V1}proposals/", may(MEMBERS, agent=200, foreign=404), mine),
    Row(
        "POST", f"{V1}proposals/", may("alice agent", 201, foreign=404),
        sends(version=lambda world: _id(world.version()), environment="development"), "registry.proposal.opened",
    ),
    Row("GET", f"{V1}proposals/<uuid:pk>/", may(MEMBERS, agent=200, foreign=404), one(World.proposal)),
    Row(
        "POST", f"{V1}proposals/<uuid:pk>/withdrawal/", may("alice adam", 201), one(World.proposal),
        "registry.proposal.withdrawn",
    ),
    Row("GET", f"{V1}proposals/<uuid:pk>/approvals/", may(MEMBERS), one(World.proposal)),
    Row("POST", f"{V1}proposals/<uuid:pk>/approvals/", may("bob", 201), _reviewed, "registry.approval.created"),
    Row("GET", f"{V1}proposals/<uuid:pk>/comments/", may(MEMBERS), one(World.proposal)),
    Row(
        "POST", f"{V1}proposals/<uuid:pk>/comments/", may(MEMBERS, 201), one(World.proposal, text="Why?"),
        "registry.comment.added",
    ),
    Row(
        "POST", f"{V1}comments/<uuid:pk>/resolutions/", may(MEMBERS, 201), one(World.comment),
        "registry.comment.resolved",
    ),
    Row(
        "POST", f"{V1}approvals/<uuid:pk>/withdrawal/", may("bob", 201), one(World.approval),
        "registry.approval.withdrawn",
    ),
    Row("GET", f"{V1}slots/", may(MEMBERS), mine),
    Row("GET", f"{V1}slots/<uuid:pk>/", may(MEMBERS), one(_slot)),
    Row("GET", f"{V1}slots/<uuid:pk>/history/", may(MEMBERS), one(_slot)),
    Row("GET", f"{V1}activations/", may(MEMBERS), mine),
    Row(
        "POST", f"{V1}activations/", may("olga", 201),
        sends(proposal=lambda world: _id(world.proposal(world.agent_version(), approved=True))),
        "registry.activation.requested",
    ),
    Row(
        "POST", f"{V1}activations/", may("olga", 201), _pushed("rollback"), "registry.activation.requested",
        "rollback",
    ),
    Row(
        "POST", f"{V1}activations/", may("eve", 201), _pushed("break_glass"), "registry.activation.requested",
        "break-glass",
    ),
    Row("GET", f"{V1}activations/<uuid:pk>/", may(MEMBERS), one(_activation)),
    Row(
        "POST", f"{V1}activations/<uuid:pk>/review/", may("bob carol adam", 201),
        one(World.glass_broken, comment="It was right."), "registry.activation.reviewed",
    ),
    Row("GET", f"{V1}stops/", may(MEMBERS), mine),
    Row(
        "POST", f"{V1}stops/", may("olga carol adam", 201),
        sends(workspace=workspace, scope="agent", target=lambda world: fresh("agent"), reason="Wild."),
        "registry.stop.created",
    ),
    Row("GET", f"{V1}stops/<uuid:pk>/", may(MEMBERS), one(World.stop)),
    Row("GET", f"{V1}stops/<uuid:stop>/report/", may(MEMBERS), one(World.stop, "stop")),
    Row("DELETE", f"{V1}stops/<uuid:pk>/", may("olga carol adam", 204), one(World.stop), "registry.stop.lifted"),
]  # fmt: skip
# A credential sees its own calls, sessions and runs, whatever workspace it asks about; the foreign one has none.
OWN = {"agent": 200, "foreign": 404}
GATEWAY = [
    Row("GET", f"{V1}tool-calls/", may(MEMBERS, **OWN), mine),
    # Only a credential makes calls. The foreign one has nothing live in its own workspace: denied there.
    Row(
        "POST", f"{V1}tool-calls/", everybody(401, agent=200, foreign=403), _called, "gateway.call.decided",
    ),
    Row("GET", f"{V1}tool-calls/<uuid:call>/", may(MEMBERS, agent=200, foreign=404), one(World.finished, "call")),
    Row(
        "POST", f"{V1}tool-calls/<uuid:call>/settlements/", may("bob olga", 201),
        one(World.lost, "call", outcome="happened"), "gateway.call.settled",
    ),
    Row("GET", f"{V1}sessions/", may(MEMBERS, **OWN), mine),
    Row(
        "POST", f"{V1}sessions/", may("alice bob carol olga agent", 201, foreign=409),
        sends(workspace=workspace, **DEVELOPMENT), "gateway.session.opened",
    ),
    Row("GET", f"{V1}sessions/<uuid:session>/", may(MEMBERS, agent=200, foreign=404), one(World.session, "session")),
    Row(
        "POST", f"{V1}sessions/<uuid:session>/closures/", may("carol olga adam agent", 201, foreign=404),
        one(World.session, "session"), "gateway.session.closed",
    ),
    Row("GET", f"{V1}credentials/", may(MEMBERS), mine),
    Row(
        "POST", f"{V1}credentials/", may("olga adam", 201),
        sends(workspace=workspace, scopes=["tools:call"], expires_at=_expiry, **DEVELOPMENT),
        "gateway.credential.created",
    ),
    Row("GET", f"{V1}credentials/<uuid:credential>/", may(MEMBERS), one(World.credential, "credential")),
    Row(
        "POST", f"{V1}credentials/<uuid:credential>/rotations/", may("alice olga adam", 201),
        lambda world: Ask({"uuid:credential": world.credential()}, {"expires_at": _expiry(world)}),
        "gateway.credential.rotated",
    ),
    Row(
        "POST", f"{V1}credentials/<uuid:credential>/revocations/", may("alice carol olga adam", 201),
        one(World.credential, "credential"), "gateway.credential.revoked",
    ),
    Row("GET", f"{V1}states/", may(MEMBERS), mine),
    # Only a credential remembers; the foreign one has nothing live in its own workspace, and does not see this one.
    Row("GET", f"{V1}states/<str:key>/", remembers(200, foreign=404), _remembered),
    Row("PUT", f"{V1}states/<str:key>/", remembers(201, foreign=409), _new_state, "gateway.state.written"),
    Row("PUT", f"{V1}states/<str:key>/", remembers(200, foreign=409), _replaced, "gateway.state.written", "replace"),
    Row("DELETE", f"{V1}states/<str:key>/", remembers(204, foreign=409), _forgotten, "gateway.state.deleted"),
    Row("GET", f"{V1}breakers/", may(MEMBERS), mine),
    Row("GET", f"{V1}breakers/<uuid:breaker>/", may(MEMBERS), one(World.breaker, "breaker")),
    Row(
        "POST", f"{V1}breakers/<uuid:breaker>/resets/", may("olga", 201), one(World.breaker, "breaker"),
        "gateway.breaker.closed",
    ),
    Row("GET", f"{V1}trusts/", may(MEMBERS), mine),
    Row(
        "POST", f"{V1}trusts/", may("adam", 201),
        sends(
            workspace=workspace, environment="development", name="IdP", issuer=lambda world: fresh("https://idp"),
            audience="placet", jwks=JWKS, algorithms=["Ed25519"],
        ),
        "gateway.trust.created",
    ),
    Row("GET", f"{V1}trusts/<uuid:trust>/", may(MEMBERS), one(World.trust, "trust")),
    Row(
        "POST", f"{V1}trusts/<uuid:trust>/revocations/", may("adam carol", 201), one(World.trust, "trust"),
        "gateway.trust.revoked",
    ),
    Row("POST", f"{V1}trusts/<uuid:trust>/credentials/", may("adam", 201), _admitted, "gateway.credential.created"),
    Row("GET", f"{V1}holds/", may(MEMBERS), mine),
    Row("GET", f"{V1}holds/<uuid:hold>/", may(MEMBERS), one(World.hold, "hold")),
    Row("POST", f"{V1}holds/<uuid:hold>/approvals/", may("bob", 201), _held, "gateway.hold.approved"),
    Row("POST", f"{V1}holds/<uuid:hold>/rejections/", may("bob", 201), _held, "gateway.hold.rejected"),
]  # fmt: skip
AGENTS = [
    Row("GET", f"{V1}runs/", may(MEMBERS, **OWN), mine),
    Row("POST", f"{V1}runs/", may("alice olga agent", 201, foreign=404), _begun, "agents.run.created"),
    Row("GET", f"{V1}runs/<uuid:run>/", may(MEMBERS, agent=200, foreign=404), one(World.begun, "run")),
    Row(
        "POST", f"{V1}runs/<uuid:run>/cancellations/", may("alice olga agent", 201, foreign=404),
        one(World.begun, "run"), "agents.cancellation.requested",
    ),
    Row(
        "POST", f"{V1}steps/<uuid:step>/requeues/", may("alice olga", 201), one(World.dead_step, "step"),
        "agents.step.requeued",
    ),
]  # fmt: skip
TRAIL = [
    Row("GET", f"{V1}records/", may(READERS), mine),
    Row("GET", f"{V1}records/<uuid:record>/", may(READERS), one(World.record, "record")),
    Row("GET", f"{V1}records/<uuid:record>/proof/", may(READERS), one(World.record, "record")),
    Row("GET", f"{V1}checkpoints/", may(READERS), mine),
    Row("GET", f"{V1}checkpoints/<uuid:checkpoint>/", may(READERS), one(World.checkpoint, "checkpoint")),
    Row(
        "GET", f"{V1}checkpoints/<uuid:checkpoint>/consistency/", may(READERS),
        lambda world: Ask({"uuid:checkpoint": world.checkpoint()}, query={"from": 1}),
    ),
    Row("GET", f"{V1}exports/", may(EXPORTERS), mine),
    Row("POST", f"{V1}exports/", may(EXPORTERS, 201), sends(workspace=workspace), "audit.export.created"),
    Row("GET", f"{V1}exports/<uuid:export>/", may(EXPORTERS), one(World.export, "export")),
    Row(
        "GET", f"{V1}exports/<uuid:export>/content/", may(EXPORTERS), one(World.export, "export"),
        "audit.export.downloaded",
    ),
    Row("GET", "log/<slug:workspace>/checkpoint", may(READERS), _tile("")),
    Row("GET", "log/<slug:workspace>/tile/entries/<path:place>", may(READERS), _tile("000.p/3")),
    Row("GET", "log/<slug:workspace>/tile/<str:level>/<path:place>", may(READERS), _tile("000.p/3")),
]  # fmt: skip
KEY = {"int:pk": 1}
# Who is signed in is asked again who they are before anything changes here: 302.
ACCOUNT = [
    Row("GET", "login/factor/", everybody(302), nothing),
    Row("POST", "login/factor/", everybody(302), nothing),
    Row("GET", "login/inactive/", everybody(), nothing),
    Row("GET", "login/cancelled/", everybody(), nothing),
    Row("GET", "account/", signed_in(200), nothing),
    *(
        Row(method, f"account/{path}", signed_in(302), nothing)
        for method in ("GET", "POST")
        for path in ("confirm/", "confirm/code/", "confirm/key/", "app/", "app/removal/", "codes/new/", "keys/")
    ),
    *(
        Row(method, f"account/{path}", signed_in(200), nothing)
        for method in ("GET", "POST")
        for path in ("password/", "confirm/password/")
    ),
    Row("GET", "account/sessions/", signed_in(200), nothing),
    Row("POST", "account/sessions/", signed_in(302), nothing),
    Row("GET", "account/codes/", signed_in(302), nothing),
    *(
        Row(method, "account/keys/<int:pk>/removal/", signed_in(302), lambda world: Ask(KEY))
        for method in ("GET", "POST")
    ),
]
OPA = [
    Row("GET", f"{V1}pdps/", may(MEMBERS), mine),
    Row("GET", f"{V1}pdp-credentials/", may(MEMBERS), mine),
    Row(
        "POST", f"{V1}pdp-credentials/", may("olga adam", 201),
        sends(workspace=workspace, environment="development", expires_at=_expiry), "registry.pdp_credential.created",
    ),
    Row("GET", f"{V1}pdp-credentials/<uuid:pk>/", may(MEMBERS), one(lambda world: world.opa_credential()[0])),
    Row(
        "POST", f"{V1}pdp-credentials/<uuid:pk>/rotations/", may("olga adam", 201),
        lambda world: Ask({"uuid:pk": world.opa_credential()[0].pk}, {"expires_at": _expiry(world)}),
        "registry.pdp_credential.rotated",
    ),
    Row(
        "POST", f"{V1}pdp-credentials/<uuid:pk>/revocations/", may("carol olga adam", 201),
        one(lambda world: world.opa_credential()[0]), "registry.pdp_credential.revoked",
    ),
    # Only a decision point of that very environment.
    Row("GET", "opa/bundles/<slug:workspace>/<slug:environment>", everybody(401, opa=200), _of_pdp()),
    Row(
        "POST", "opa/status/<slug:workspace>/<slug:environment>", everybody(401, opa=204),
        _of_pdp(labels={"id": "opa-1"}),
    ),
    Row("POST", "opa/logs/<slug:workspace>/<slug:environment>", everybody(401, opa=204), _logs),
    Row("GET", f"{V1}alarms/", may(MEMBERS), mine),
]  # fmt: skip


def _inspection(world: World) -> Ask:
    # One that waits already is not asked for again.
    with connections["owner"].cursor() as cursor:
        cursor.execute(
            "UPDATE audit_job SET state = 'failed', problem = 'Given up.', finished_at = now()"
            " WHERE workspace = %s AND kind = 'inspection' AND state IN ('queued', 'running')",
            [world.workspace.pk],
        )
    return here(world)


W = "w/<slug:slug>/"
EDITED = f"{W}artifacts/<slug:kind>/<str:name>/<int:number>/"
PAGES = [
    Row("GET", "", everybody(302, mallory=302), nothing),
    Row("GET", "login/", everybody(302, anonymous=200, agent=200, foreign=200, opa=200), nothing),
    Row("POST", "login/", everybody(302, anonymous=200, agent=200, foreign=200, opa=200), nothing),
    Row("POST", "logout/", everybody(302), nothing),
    Row("POST", "theme/", everybody(302), sends(theme="dark")),
    Row("GET", "device/", visits(" ".join(PEOPLE)), nothing),
    Row(
        "POST", "device/", visits(" ".join(PEOPLE)),
        lambda world: Ask(body={"code": world.device()[0].code, "verdict": "confirm"}),
    ),
    Row("GET", "access-tokens/", visits(" ".join(PEOPLE)), nothing),
    Row(
        "POST", "access-tokens/<uuid:pk>/revocation/", visits("alice", 302, **dict.fromkeys(OTHERS, 404)),
        one(World.access_token), "registry.access_token.revoked",
    ),
    Row("GET", W, visits(MEMBERS), here),
    Row(
        "POST", f"{W}environment/", visits(MEMBERS, 302),
        lambda world: Ask({"slug:slug": world.slug}, {"environment": "staging", "next": f"/w/{world.slug}/"}),
    ),
    Row("GET", f"{W}search/", visits(MEMBERS), lambda world: Ask({"slug:slug": world.slug}, query={"q": "steward"})),
    Row("GET", f"{W}proposals/", visits(MEMBERS), here),
    Row("GET", f"{W}proposals/<uuid:pk>/", visits(MEMBERS), on_page(World.proposal)),
    Row("POST", f"{W}proposals/<uuid:pk>/verdict/", visits("bob", 302), _verdict, "registry.approval.created"),
    Row(
        "POST", f"{W}proposals/<uuid:pk>/withdrawal/", visits("alice adam", 302), on_page(World.proposal),
        "registry.proposal.withdrawn",
    ),
    Row(
        "POST", f"{W}proposals/<uuid:pk>/activation/", visits("olga", 302), _activation_page,
        "registry.activation.requested",
    ),
    Row(
        "POST", f"{W}proposals/<uuid:pk>/comments/", visits(MEMBERS, 302), on_page(World.proposal, text="Why?"),
        "registry.comment.added",
    ),
    Row(
        "POST", f"{W}comments/<uuid:pk>/resolution/", visits(MEMBERS, 302), on_page(World.comment, resolved="1"),
        "registry.comment.resolved",
    ),
    Row(
        "POST", f"{W}approvals/<uuid:pk>/withdrawal/", visits("bob", 302), on_page(World.approval),
        "registry.approval.withdrawn",
    ),
    Row("GET", f"{W}holds/", visits(MEMBERS), here),
    Row("GET", f"{W}holds/<uuid:pk>/", visits(MEMBERS), on_page(World.hold)),
    Row("POST", f"{W}holds/<uuid:pk>/verdict/", visits("bob", 302), _held_page, "gateway.hold.approved"),
    Row("GET", f"{W}stops/", visits(MEMBERS), here),
    Row(
        "POST", f"{W}stops/", visits("carol olga adam", 302),
        lambda world: Ask({"slug:slug": world.slug}, {"scope": "agent", "target": fresh("agent"), "reason": "Wild."}),
        "registry.stop.created",
    ),
    Row("GET", f"{W}stops/<uuid:pk>/", visits(MEMBERS), on_page(World.stop)),
    Row(
        "POST", f"{W}stops/<uuid:pk>/lifting/", visits("carol olga adam", 302), on_page(World.stop),
        "registry.stop.lifted",
    ),
    Row("GET", f"{W}releases/", visits(MEMBERS), here),
    Row(
        "POST", f"{W}activations/<uuid:pk>/review/", visits("bob carol adam", 302),
        on_page(World.glass_broken, comment="It was right."), "registry.activation.reviewed",
    ),
    Row("GET", f"{W}artifacts/", visits(MEMBERS), here),
    Row("GET", f"{W}artifacts/<slug:kind>/<str:name>/", visits(MEMBERS), _about_version),
    Row("GET", f"{W}artifacts/<slug:kind>/<str:name>/<int:number>/", visits(MEMBERS), _about_version),
    Row(
        "POST", f"{W}artifacts/<slug:kind>/<str:name>/<int:number>/proposals/", visits("alice", 302),
        lambda world: _about_version(world, proposed=True), "registry.proposal.opened",
    ),
    Row("GET", f"{EDITED}edition/", visits(MEMBERS), _about_version),
    Row("POST", f"{EDITED}edition/", visits("alice", 302), _edited, "registry.version.created"),
    Row(
        "POST", f"{EDITED}lifecycle/", visits("alice olga", 302),
        lambda world: _about_version(world, state="deprecated", reason="Old."), "registry.version.deprecated",
    ),
    Row("POST", f"{EDITED}rollback/", visits("olga", 302), _lost, "registry.activation.requested"),
    Row("POST", f"{EDITED}checks/", visits("alice", 302), _about_version, "registry.version.checked"),
    Row(
        "POST", f"{EDITED}contributors/", visits("adam", 302), _identified_page, "registry.contributor.identified",
    ),
    Row("GET", f"{W}calls/", visits(MEMBERS), here),
    Row("GET", f"{W}calls/<uuid:pk>/", visits(MEMBERS), on_page(World.finished)),
    Row(
        "POST", f"{W}calls/<uuid:pk>/settlement/", visits("bob olga", 302), on_page(World.lost, outcome="happened"),
        "gateway.call.settled",
    ),
    Row("GET", f"{W}calls/reasons/", visits(MEMBERS), here),
    Row(
        "POST", f"{W}calls/<uuid:pk>/disclosure/", visits("carol dave"),
        on_page(World.finished, reason="A customer asked."), "gateway.value.revealed",
    ),
    Row("GET", f"{W}runs/", visits(MEMBERS), here),
    Row("GET", f"{W}runs/<uuid:pk>/", visits(MEMBERS), on_page(World.begun)),
    Row(
        "POST", f"{W}runs/<uuid:pk>/cancellation/", visits("alice olga", 302), on_page(World.begun),
        "agents.cancellation.requested",
    ),
    Row(
        "POST", f"{W}steps/<uuid:pk>/requeue/", visits("alice olga", 302), on_page(World.dead_step),
        "agents.step.requeued",
    ),
    Row("GET", f"{W}trail/", visits(READERS), here),
    Row("GET", f"{W}trail/<uuid:pk>/", visits(READERS), on_page(World.record)),
    Row("POST", f"{W}trail/inspections/", visits(READERS, 302), _inspection, "audit.inspection.requested"),
    Row("POST", f"{W}trail/exports/", visits(EXPORTERS, 302), _exported, "audit.export.created"),
    Row("GET", f"{W}trail/exports/<uuid:pk>/", visits(EXPORTERS), on_page(World.export_file)),
    Row(
        "GET", f"{W}trail/exports/<uuid:pk>/content/", visits(EXPORTERS), on_page(World.export_file),
        "audit.export.downloaded",
    ),
    Row("GET", f"{W}settings/", visits(MEMBERS), here),
    Row("GET", f"{W}changes/<slug:kind>/<uuid:pk>/", visits(MEMBERS), _changed),
]  # fmt: skip
ROWS = [*SYSTEM, *ANYBODY, *SELF, *REGISTRY, *GATEWAY, *AGENTS, *TRAIL, *OPA, *ACCOUNT, *PAGES]
CHANGES = [row for row in ROWS if row.event]
MISSING = str(uuid4())
