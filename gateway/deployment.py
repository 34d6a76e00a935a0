"""The operator's file: what the names in contracts stand for here. Launchers are commands, endpoints are addresses.

Contracts are proposed by authors; what runs and where it goes is the operator's alone, and so are the secrets.
"""

import os
import tomllib
from pathlib import Path
from typing import Any, TypeVar, cast

from django.conf import settings
from pydantic import BaseModel, ValidationError

from audit import canonical
from audit.refusal import Refusal

TABLES = ("launchers", "endpoints")
_ENVIRONMENT = "env:"
Entry = TypeVar("Entry", bound=BaseModel)
_read: tuple[Path, int, dict[str, Any], dict[str, Any]] | None = None  # path, time, text, entries by table


class DeploymentInvalid(Exception):
    """The file cannot be used; the text names the entry, the member and what is wrong."""


def entries(table: str, model: type[Entry]) -> dict[str, Entry]:
    """Return the entries of one table by name; an edited file counts from the next call on.

    :raises DeploymentInvalid: the file or an entry of this table is wrong.
    """
    global _read
    path = Path(settings.PLACET_LAUNCHERS)
    try:
        changed = path.stat().st_mtime_ns
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DeploymentInvalid(f"PLACET_LAUNCHERS cannot be read: {error}") from error
    read = _read
    if read is None or read[:2] != (path, changed):
        # No lock: two threads that parse the same text agree.
        read = _read = (path, changed, _parse(path), {})
    if table not in read[3]:
        members = read[2].get(table, {})
        read[3][table] = {name: _entry(path, table, name, given, model) for name, given in members.items()}
    return cast("dict[str, Entry]", read[3][table])


def secret(reference: str) -> str:
    """Return the secret that `reference` names: a file below PLACET_HOME/secrets, or `env:VARIABLE`.

    :raises DeploymentInvalid: there is none, or it is empty.
    """
    try:
        if reference.startswith(_ENVIRONMENT):
            value = os.environ.get(reference.removeprefix(_ENVIRONMENT), "")
        else:
            value = (Path(settings.PLACET_HOME) / "secrets" / reference).read_text()
    except (OSError, ValueError) as error:
        raise DeploymentInvalid(str(error)) from error
    if not value.strip():
        raise DeploymentInvalid(f"{reference} is empty")
    return value.strip()


def _parse(path: Path) -> dict[str, Any]:
    try:
        raw = path.read_bytes()
        document = canonical.loads(raw) if path.suffix == ".json" else tomllib.loads(raw.decode())
    except (OSError, ValueError, Refusal) as error:
        raise DeploymentInvalid(f"{path}: {error}") from error
    known = isinstance(document, dict) and document.keys() <= set(TABLES)
    if not known or not all(isinstance(table, dict) for table in document.values()):
        raise DeploymentInvalid(f"{path}: its members must be `launchers` and `endpoints`, tables of entries by name.")
    return cast("dict[str, Any]", document)


def _entry(path: Path, table: str, name: str, members: object, model: type[Entry]) -> Entry:
    if not isinstance(members, dict) or "name" in members:
        raise DeploymentInvalid(f"{path}: {table}.{name} must be a table; its name stands in the heading.")
    try:
        return model(**_filled(members), name=name)
    except ValidationError as error:
        problems = "; ".join(f"{table}.{name}.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise DeploymentInvalid(f"{path}: {problems}") from error


def _filled(value: Any) -> Any:
    """Return `value` with {root} (the installation) and {home} (PLACET_HOME) filled in wherever a string has them."""
    if isinstance(value, str):
        return value.replace("{root}", str(settings.BASE_DIR)).replace("{home}", str(settings.PLACET_HOME))
    if isinstance(value, dict):
        return {key: _filled(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_filled(member) for member in value]
    return value
