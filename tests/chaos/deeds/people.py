"""What people and credentials do at the gateway: holds, sessions, states, credentials, stops."""

from datetime import timedelta
from uuid import UUID

from gateway import credentials, holds, pep, sessions, states
from gateway.exchange import Request
from gateway.models import Credential, Hold, State
from registry import stops
from registry.models import Person, Stop, Workspace
from tests.chaos.deeds.deed import Deed, how, lapse
from tests.gateway.stage import fresh, query


def person(pk):
    """Return a person by key."""
    return Person.objects.get(pk=pk)


class Held(Deed):
    """Somebody decides a parked call; who executes it afterwards is a deed of its own."""

    known = ("already_decided", "hold_closed")

    def __init__(self, verdict):
        self.verdict = verdict

    def prepare(self, scene):
        value = fresh()
        agent = scene.agent()
        parked = scene.call(agent, "careful", value, key=value)
        assert parked.status == "parked"
        return {"hold": str(parked.hold), "by": scene.person("bob"), "credential": str(agent.id), "value": value}

    def do(self, order):
        row = Hold.objects.get(pk=order["hold"])
        decide = {"approve": holds.approve, "reject": holds.reject}[self.verdict]
        decide(row.pk, approver=person(order["by"]), digest=row.digest, **how())

    def check(self, scene, order):
        row = Hold.objects.get(pk=order["hold"])
        assert row.state == {"approve": "approved", "reject": "rejected"}[self.verdict]
        assert scene.events(row.call_id).count(f"hold.{row.state}") == 1
        assert scene.effects(order["value"]) == []


class Released(Held):
    """An approved call is decided again and executed."""

    def __init__(self):
        super().__init__("approve")

    def prepare(self, scene):
        order = super().prepare(scene)
        super().do(order)
        return order

    def do(self, order):
        return pep.release(UUID(order["hold"]), **{"now": how()["now"]})

    def ask(self, order):
        principal = credentials.principal_of(UUID(order["credential"]))
        request = Request("tool", "careful", {"value": order["value"]}, order["value"], "chaos")
        return pep.call(principal, request, now=how()["now"])

    def recover(self, scene, order):
        lapse(order["credential"])
        outcome = self.do(order)
        if outcome.status == "unknown":
            outcome = self.ask(order)  # its agent repeats it: what nobody can vouch for may be tried again
        if outcome.status == "parked":
            # The approval was used for an attempt that nobody can vouch for: a person is asked again.
            order["hold"] = str(outcome.hold)
            super().do(order)
            outcome = self.do(order)
        assert outcome.status == "finished", outcome

    def check(self, scene, order):
        assert len({effect["key"] for effect in scene.effects(order["value"])}) == 1
        call = Hold.objects.get(pk=order["hold"]).call_id
        assert scene.events(call).count("call.completed") == 1


class Expired(Held):
    """The sweeper closes a hold that nobody has decided."""

    def __init__(self):
        super().__init__("expire")

    def prepare(self, scene):
        order = super().prepare(scene)
        query("UPDATE gateway_hold SET expires_at = now() WHERE id = %s", order["hold"])
        return order

    def do(self, order):
        holds.expire(now=how()["now"])

    def check(self, scene, order):
        row = Hold.objects.get(pk=order["hold"])
        assert (row.state, scene.events(row.call_id).count("hold.expired")) == ("expired", 1)
        assert query("SELECT state FROM gateway_call WHERE id = %s", row.call_id) == [("denied",)]


class Session(Deed):
    """A session is opened, closed, or expires."""

    def __init__(self, what):
        self.what = what

    def prepare(self, scene):
        agent = scene.agent(scopes=("tools:call", "states:use"))
        order = {"workspace": str(scene.workspace.pk), "by": scene.person("alice"), "credential": str(agent.id)}
        if self.what != "open":
            order["session"] = str(self.opened(order).pk)
        if self.what == "expire":
            query("UPDATE gateway_session SET expires_at = now() WHERE id = %s", order["session"])
        return order

    def opened(self, order):
        where = {
            "environment": "development",
            "agent": "steward",
            "bind": credentials.principal_of(order["credential"]),
        }
        return sessions.open(person(order["by"]), workspace=UUID(order["workspace"]), **where, **how())

    def do(self, order):
        if self.what == "open":
            self.opened(order)
        elif self.what == "close":
            sessions.close(UUID(order["session"]), by=person(order["by"]), **how())
        else:
            sessions.expire(now=how()["now"])

    def check(self, scene, order):
        rows = query(
            """SELECT s.state, (SELECT count(*) FROM audit_record r WHERE r.workspace = s.workspace_id
                      AND r.event LIKE 'gateway.session.%%'
                      AND convert_from(r.body, 'UTF8')::jsonb #>> '{subjects,session}' = s.id::text)
               FROM gateway_session s WHERE s.credential_id = %s""",
            order["credential"],
        )
        # Each that is there was put on record as it came, and as it ended.
        wanted = {"open": ("open", 1), "close": ("closed", 2), "expire": ("expired", 2)}[self.what]
        assert rows
        assert set(rows) == {wanted}


class Remembered(Deed):
    """An agent writes, reads and forgets a value by compare-and-set."""

    known = ("state_changed", "not_found")

    def __init__(self, what):
        self.what = what

    def prepare(self, scene):
        agent = scene.agent(scopes=("tools:call", "states:use"))
        order = {"credential": str(agent.id), "key": fresh("key")}
        if self.what != "write":
            row = self.written(order, session=None)
            order["record"] = str(row.record)
        if self.what == "read":
            query("UPDATE gateway_state SET labels = ARRAY['pii'] WHERE id = %s", row.pk)
        return order

    def written(self, order, **more):
        by = credentials.principal_of(order["credential"])
        return states.write(by, order["key"], {"n": 1}, expected=None, **({"session": None} | more), **how())

    def do(self, order):
        by = credentials.principal_of(order["credential"])
        if self.what == "write":
            self.written(order)
        elif self.what == "read":
            states.read(by, order["key"], session=None, **how())
        else:
            states.delete(by, order["key"], expected=UUID(order["record"]), session=None, **how())

    def check(self, scene, order):
        rows = list(State.objects.filter(key=order["key"]).values_list("version", flat=True))
        assert rows == ([] if self.what == "delete" else [1])
        event = {"write": "written", "read": "read", "delete": "deleted"}[self.what]
        assert scene.count(f"gateway.state.{event}", "{data,key}", order["key"]) == 1


class Credentialed(Deed):
    """A credential is made, rotated, revoked."""

    def __init__(self, what):
        self.what = what

    def prepare(self, scene):
        order = {"workspace": str(scene.workspace.pk), "by": scene.person("adam"), "owner": scene.person("alice")}
        order["name"] = fresh("name")
        if self.what != "create":
            order["credential"] = str(self.created(order).pk)
        return order

    def created(self, order):
        return credentials.create(
            Workspace.objects.get(pk=order["workspace"]),
            environment="development",
            agent="steward",
            owner=person(order["owner"]),
            scopes=["tools:call"],
            expires_at=how()["now"] + timedelta(days=1),
            actor=person(order["by"]),
            name=order["name"],
            **how(),
        )[0]

    def do(self, order):
        if self.what == "create":
            self.created(order)
            return
        row, by = Credential.objects.get(pk=order["credential"]), person(order["by"])
        if self.what == "rotate":
            credentials.rotate(row, expires_at=how()["now"] + timedelta(days=1), actor=by, **how())
        else:
            credentials.revoke(row, actor=by, **how())

    def check(self, scene, order):
        rows = Credential.objects.filter(name=order["name"])
        for row in rows:
            recorded = scene.count("gateway.credential.created", "{subjects,credential}", str(row.pk))
            assert recorded == 1
        if self.what == "revoke":
            assert rows.get().revoked_at is not None
            assert scene.count("gateway.credential.revoked", "{subjects,credential}", order["credential"]) == 1
        if self.what == "rotate":
            keys = query("SELECT count(*) FROM gateway_key WHERE credential_id = %s", order["credential"])
            turned = scene.count("gateway.credential.rotated", "{subjects,credential}", order["credential"])
            assert keys == [(1 + turned,)]


class Stopped(Deed):
    """A stop is set, or lifted."""

    def __init__(self, what):
        self.what = what

    def prepare(self, scene):
        order = {"workspace": str(scene.workspace.pk), "by": scene.person("olga"), "target": fresh("agent")}
        if self.what == "lift":
            order["stop"] = str(self.set(order).pk)
        return order

    def set(self, order):
        workspace = Workspace.objects.get(pk=order["workspace"])
        asked = {"scope": "agent", "target": order["target"], "reason": "It misbehaves.", "by": person(order["by"])}
        return stops.set(workspace, **asked, **how())

    def do(self, order):
        if self.what == "set":
            self.set(order)
        else:
            stops.lift(Stop.objects.get(pk=order["stop"]), by=person(order["by"]), **how())

    def check(self, scene, order):
        row = Stop.objects.get(target=order["target"])
        assert (row.lifted_at is None) == (self.what == "set")
        event = "created" if self.what == "set" else "lifted"
        assert scene.count(f"registry.stop.{event}", "{subjects,stop}", str(row.pk)) == 1


DEEDS = {
    "hold:approve": Held("approve"),
    "hold:reject": Held("reject"),
    "hold:release": Released(),
    "hold:expire": Expired(),
    **{f"session:{what}": Session(what) for what in ("open", "close", "expire")},
    **{f"state:{what}": Remembered(what) for what in ("write", "read", "delete")},
    **{f"credential:{what}": Credentialed(what) for what in ("create", "rotate", "revoke")},
    **{f"stop:{what}": Stopped(what) for what in ("set", "lift")},
}
