"""Where the OPA server of an environment is."""

import functools
import hashlib
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db import connection

from gateway.pdp.post import Address


def of(workspace: UUID, environment: str) -> Address:
    """Return the address of the environment's OPA: OPA_URL with its names filled in, else our own one's socket."""
    if not settings.OPA_URL:
        return Address("localhost", 80, socket=str(own(workspace, environment)))
    return _filled(settings.OPA_URL, workspace, environment)


def own(workspace: UUID, environment: str) -> Path:
    """Return the socket of the OPA that we run beside us for the environment."""
    # A socket's path has at most 107 bytes: a digest, and not names of any length.
    short = hashlib.sha256(f"{workspace}/{environment}".encode()).hexdigest()[:16]
    path: Path = settings.PLACET_SOCKETS / f"opa-{short}.sock"
    return path


@functools.lru_cache(maxsize=1024)
def _filled(url: str, workspace: UUID, environment: str) -> Address:
    slug = ""
    if "{workspace}" in url:
        with connection.cursor() as cursor:
            cursor.execute("SELECT slug FROM registry_workspace WHERE id = %s", [workspace])
            slug = cursor.fetchone()[0]
    return Address.parse(url.replace("{workspace}", slug).replace("{environment}", environment))
