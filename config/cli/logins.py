"""Where logins are kept: one file that only its owner can read, with a token for each server."""

import contextlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from config.cli.failures import Failure

USUAL_URL = "http://127.0.0.1:8000"


@dataclass(frozen=True)
class Login:
    """What is kept of one server. `workspace`: the one that is meant when none is named."""

    url: str
    token: str
    username: str = ""
    expires_at: str = ""
    workspace: str = ""


def path() -> Path:
    """Return the file: below XDG_CONFIG_HOME, else ~/.config."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "placet" / "logins.json"


def url() -> str:
    """Return the server that is meant: PLACET_URL, else the one that was logged in to last."""
    return (os.environ.get("PLACET_URL") or str(_read().get("current") or USUAL_URL)).rstrip("/")


def find(address: str) -> Login | None:
    """Return the login for a server: PLACET_TOKEN for any, else what is kept."""
    workspace = os.environ.get("PLACET_WORKSPACE", "")
    if os.environ.get("PLACET_TOKEN"):
        return Login(address, os.environ["PLACET_TOKEN"], workspace=workspace)
    kept = _read().get("logins", {}).get(address)
    if kept is None:
        return None
    login = Login(**{name: str(kept.get(name, "")) for name in Login.__dataclass_fields__})
    return login if not workspace else Login(**{**asdict(login), "workspace": workspace})


def keep(login: Login) -> None:
    """Keep a login and make its server the current one."""
    document = _read()
    document.setdefault("logins", {})[login.url] = asdict(login)
    _write(document | {"current": login.url})


def forget(address: str) -> None:
    """Remove the login for a server."""
    document = _read()
    document.get("logins", {}).pop(address, None)
    _write(document)


def _read() -> dict[str, Any]:
    try:
        raw = path().read_text()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Failure(f"{path()} cannot be read: {error.strerror}.", code="logins_unreadable") from error
    with contextlib.suppress(ValueError):
        document = json.loads(raw)
        if isinstance(document, dict) and isinstance(document.get("logins", {}), dict):
            return document
    raise Failure(f"{path()} is damaged; delete it and run `placet login`.", code="logins_damaged")


def _write(document: dict[str, Any]) -> None:
    place = path()
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # mkstemp makes it 0600 from the start; renaming it keeps a reader from seeing half of it.
    handle, aside = tempfile.mkstemp(dir=place.parent, prefix=".logins-")
    with os.fdopen(handle, "w") as file:
        json.dump(document, file, indent=1)
    Path(aside).replace(place)
