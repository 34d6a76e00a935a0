"""What an operator does when a database has to come back: restore a backup, accept what it lacks.

On a server of its own, and in processes that take a database there and a PLACET_HOME for theirs.
"""

import atexit
import json
import shutil
from functools import cache
from pathlib import Path
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connections

from audit import fsck, losses
from config import backups, recovery, restoration, terms
from config.embedded import postgres
from config.env import Environment
from registry.models import Person
from tests.chaos.deeds.deed import Deed, how
from tests.gateway.effects import until
from tests.recovery.place import Place

WHY = "The disk of db1 was lost."
_UNDER_WAY = "SELECT count(*) FROM pg_stat_activity WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid()"
_EPOCH = """
SELECT (SELECT l.index FROM audit_record r JOIN audit_leaf l ON l.record = r.id WHERE r.event = %s),
       (SELECT min(size) FROM audit_checkpoint WHERE note LIKE '%%/epoch-2/log/%%'),
       (SELECT max(size) FROM audit_checkpoint), (SELECT size FROM audit_head)
"""
_ENTERS = "SELECT has_database_privilege('placet_' || unnest(%s::text[]), current_database(), 'CONNECT')"
RUNTIME = [role for role in postgres.ROLES if role != "owner"]


class Origin:
    """An installation with one workspace, a backup of it, and what came after: two more records and their checkpoint.

    :ivar home: its PLACET_HOME. :ivar log: the workspace. :ivar late: the checkpoint that the backup lacks.
    """

    def __init__(self):
        self.place = Place().up()
        atexit.register(self.place.__exit__)
        self.home, self.log = self.place.home, self.place.act("found")["workspace"]
        self.early = self.place.seal()[self.log]
        self.place.manage("backup", self.home / "backup")
        self.sizes = backups.read(self.home / "backup").logs
        self.place.act("write", self.log, 2)
        self.late = self.place.seal()[self.log]

    def attempt(self, *, restored=None):
        """Return an order: a new PLACET_HOME with the keys, and an empty database, or a copy of a restored one."""
        name = f"r{uuid4().hex[:12]}"
        home = self.home / "attempts" / name
        shutil.copytree(restored["home"] if restored else self.home / "keys", home if restored else home / "keys")
        template = restored["database"] if restored else "template0"
        self.place.query(f"CREATE DATABASE {name} OWNER placet_owner TEMPLATE {template}")
        self.place.query(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
        if not restored:
            roles = ", ".join(f"placet_{role}" for role in RUNTIME)
            self.place.query(f"GRANT CONNECT ON DATABASE {name} TO {roles}")
        return {"home": str(home), "database": name, "server": str(self.home)}

    def drop(self, order):
        """Remove what an attempt has left."""
        self.place.query(f"DROP DATABASE {order['database']} WITH (FORCE)")
        shutil.rmtree(order["home"])

    def ask(self, order, statement, *values):
        """Return the rows of a query in the database of an attempt."""
        self.place.database, before = order["database"], self.place.database
        try:
            return self.place.query(statement, *values)
        finally:
            self.place.database = before


@cache
def origin():
    """Return the installation that all of this begins with; made once."""
    return Origin()


def enter(order):
    """Take the order's database and home for this process's own."""
    server = Path(order["server"])
    settings.PLACET_HOME, settings.PLACET_KEYS = Path(order["home"]), Path(order["home"]) / "keys"
    connections.close_all()
    owner = {"USER": "placet_owner", "PASSWORD": Environment(placet_home=server).secret("database_owner")}
    where = {"HOST": str(server / "sockets"), "NAME": order["database"]}
    connections.settings["default"] = connections.settings["default"] | owner | where
    for begun in connections.all(initialized_only=True):
        del connections[begun.alias]


class Recovering(Deed):
    """One of these; who tries again is a process of its own, too, which finds what the dead have left."""

    #: As which the victim knows it.
    name = ""

    def do(self, order):
        enter(order)
        self.act(order)

    def act(self, order):
        """Do it, in the place of the order."""
        raise NotImplementedError

    def recover(self, scene, order):
        until(lambda: origin().place.query(_UNDER_WAY) == [(0,)])
        answer = scene.order(self.name, order)
        assert answer["status"] == 0, answer["told"]


class Restored(Recovering):
    """A backup is restored into an empty database, which stays shut."""

    name = "recovery:restore"

    def prepare(self, scene):
        return origin().attempt()

    def act(self, order):
        try:
            restoration.restore(Path(order["server"]) / "backup")
        except restoration.Refused:
            # It is whole already, and nothing is restored over it.
            assert json.loads((Path(order["home"]) / "restored.json").read_text())["whole"]

    def check(self, scene, order):
        here = origin()
        told = json.loads((Path(order["home"]) / "restored.json").read_text())
        assert (told["whole"], told["own"], told["logs"]) == (True, [here.log], {here.log: here.sizes[UUID(here.log)]})
        assert here.ask(order, "SELECT size FROM audit_head") == [(here.sizes[UUID(here.log)],)]
        assert set(here.ask(order, _ENTERS, RUNTIME)) == {(False,)}
        here.drop(order)


class Accepted(Recovering):
    """An operator goes on with a restored database, though something is lost or nothing speaks for it."""

    #: What happens in it must not happen twice, and knows no key.
    unsafe = True
    about = ("config.", "audit.losses.")

    def __init__(self, what):
        self.what, self.name = what, f"recovery:{what}"

    def prepare(self, scene):
        here = origin()
        order = here.attempt(restored=self.restored(scene))
        if self.what == "lost":
            # What the publisher kept last was found on the old machine, and was there when the backup was restored.
            home = Path(order["home"])
            (home / "checkpoints" / f"{here.log}.note").write_text(here.late)
            told = json.loads((home / "restored.json").read_text())
            (home / "restored.json").write_text(json.dumps(told | {"own": []}))
        return order | {"workspace": here.log, "lost": int(here.late.splitlines()[1])}

    @staticmethod
    @cache
    def restored(scene):
        order = origin().attempt()
        answer = scene.order(Restored.name, order)
        assert answer["status"] == 0, answer["told"]
        return order

    def act(self, order):
        if order.get("look"):
            report = fsck.check(UUID(order["workspace"]))
            assert (report.problems, report.leaves) == ([], report.records)
            return
        accepted = terms.Terms(WHY, unproven=True)
        if self.what == "lost":
            accepted = terms.Terms(WHY, {UUID(order["workspace"]): order["lost"]})
        recovery.accept(recovery.Evidence(), accepted, by=Person.objects.get(username="olga"), **how())

    def check(self, scene, order):
        """Once on record, once stopped, in one new epoch whose first checkpoint covers the record; and open."""
        here, home = origin(), Path(order["home"])
        answer = scene.order(self.name, order | {"look": True})
        assert answer["status"] == 0, answer["told"]
        told = here.ask(order, "SELECT event, count(*)::int FROM audit_record GROUP BY event")
        assert dict(told)[losses.ACKNOWLEDGED] == dict(told)["registry.stop.created"] == 1
        assert dict(told)[recovery.RESTORED] >= 1  # each who set about it said why
        assert len((home / "keys" / f"checkpoint-{here.log}.pub").read_text().splitlines()) == 2
        [(covered, first, last, size)] = here.ask(order, _EPOCH, losses.ACKNOWLEDGED)
        assert covered < first <= last == size
        newest = (home / "checkpoints" / f"{here.log}.note").read_text()
        assert "/epoch-2/log/" in newest.splitlines()[0] and int(newest.splitlines()[1]) == size
        aside = [path.read_text() for path in (home / "checkpoints").glob("*.lost-*.note")]
        assert aside == ([here.late] if self.what == "lost" else [])
        assert not (home / "restored.json").exists()
        assert set(here.ask(order, _ENTERS, RUNTIME)) == {(True,)}
        here.drop(order)


DEEDS = {one.name: one for one in (Restored(), Accepted("lost"), Accepted("unproven"))}
