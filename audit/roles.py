"""Database roles: who may do what to which table, as migration operations."""

from django.db import migrations

ROLES = ("web", "worker", "sequencer", "publisher", "bundler")


def grant(table: str, **privileges: str) -> migrations.RunSQL:
    """Return an operation that grants `privileges` (role="SELECT, INSERT") on `table`; nothing is granted else."""
    for role in privileges:
        if role not in ROLES:
            raise ValueError(f"Unknown database role {role!r}; roles are {', '.join(ROLES)}.")
    forward = [f"GRANT {what} ON {table} TO placet_{role};" for role, what in privileges.items()]
    backward = [f"REVOKE {what} ON {table} FROM placet_{role};" for role, what in privileges.items()]
    return migrations.RunSQL("\n".join(forward), "\n".join(backward))
