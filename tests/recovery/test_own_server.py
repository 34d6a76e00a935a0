"""Backup and restore where DATABASE_URL names a PostgreSQL of somebody's own, reached over TCP as the owner."""

import json
import secrets

from config.env import Environment
from tests.recovery.place import Place


class Served(Place):
    """An installation whose database answers on a TCP port, and whose commands know it by its URL alone."""

    def __init__(self):
        super().__init__()
        # An address of its own on this machine, so that the port need not be another.
        self.address = f"127.{'.'.join(str(1 + secrets.randbelow(253)) for _ in 'abc')}"
        rules = self.home / "postgres" / "pg_hba.conf"
        rules.write_text(rules.read_text().replace("reject", "scram-sha-256"))

    def url(self):
        password = Environment(placet_home=self.home).secret("database_owner")
        return f"postgresql://placet_owner:{password}@{self.address}:5432/{self.database}"

    def environment(self, **more):
        return super().environment(**more) | {"DATABASE_URL": self.url()}

    def up(self):
        return super().up(listen_addresses=self.address)


def test_a_backup_of_one_database_is_restored_into_another_and_shut_until_accepted(tmp_path):
    with Served().up() as place:
        workspace = place.act("found")["workspace"]
        place.act("write", workspace, 3)
        note = tmp_path / "kept.note"
        note.write_text(place.seal()[workspace])
        place.manage("backup", tmp_path / "backup")
        assert "not empty" in place.manage("restore", tmp_path / "backup", fails=1)
        place.query("CREATE DATABASE other OWNER placet_owner")
        place.database = "other"
        assert "Restored" in place.manage("restore", tmp_path / "backup")
        assert "permission denied" in place.manage("fsck", fails=1)
        how = ("recovery", "accept", "--as", "olga", "--reason", "Moved to another server.")
        assert "open again" in place.manage(*how, "--checkpoint", note)
        assert "whole" in place.manage("fsck")
        place.act("write", workspace, 1)
        place.seal()
        assert "whole, proven" in place.manage("recovery", "check", "--checkpoint", note)
        # What the runtime roles may do came along, and what nobody may.
        may = "SELECT has_table_privilege('placet_web', 'audit_record', %s)"
        assert (place.query(may, "INSERT"), place.query(may, "UPDATE")) == ([(True,)], [(False,)])
        manifest = json.loads((tmp_path / "backup" / "manifest.json").read_text())
        assert place.url().split(":")[2].split("@")[0] not in json.dumps(manifest)
