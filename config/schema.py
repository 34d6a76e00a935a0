"""Does the schema of the database fit this code? Asked by `up`, by /readyz and by `restore`."""

from functools import lru_cache

from django.db import connections
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader

SHOWN = 5
_fits = False


def unknown(applied: set[tuple[str, str]]) -> list[str]:
    """Return those of the applied migrations that this code does not know: a newer Placet made the database."""
    return [".".join(key) for key in sorted(applied - known())]


def missing(*, using: str = "default") -> list[str]:
    """Return the migrations that this code needs and that the database has not got."""
    plan = MigrationExecutor(connections[using])
    steps = plan.migration_plan(plan.loader.graph.leaf_nodes())
    return [f"{step.app_label}.{step.name}" for step, _ in steps]


def problems() -> list[str]:
    """Return why this process cannot work with the database, as /readyz says it. What fitted once is not asked again.

    What is missing keeps a process from working; that a newer Placet has added something does not, by itself.
    """
    global _fits
    if not _fits:
        absent = missing()
        if absent:
            return [f"migrations are missing ({listed(absent)}): run `manage.py migrate`"]
        _fits = True
    return []


def listed(names: list[str]) -> str:
    """Return a few of the names, and how many more there are."""
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


@lru_cache(maxsize=1)
def known() -> frozenset[tuple[str, str]]:
    """Return (app, name) of every migration of this code."""
    return frozenset(MigrationLoader(None).disk_migrations)


def forget() -> None:
    """Forget that the schema fitted."""
    global _fits
    _fits = False
