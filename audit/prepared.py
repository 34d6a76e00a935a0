"""Statements of the path of a call, whose plans the database keeps."""

from collections.abc import Iterable
from uuid import UUID


class Prepared(str):
    """A constant SQL text that each connection prepares once; its parameters travel beside it (config.database).

    Only texts that never vary: each keeps a plan in every connection. Parameters are not pasted into the text, so
    what the server cannot tell the type of needs a cast.
    """

    __slots__ = ()


def ids(values: Iterable[UUID]) -> str:
    """Return a uuid[] as the server reads it: to look for a list's type costs psycopg more than all the rest."""
    return "{" + ",".join(map(str, values)) + "}"


def texts(values: Iterable[str]) -> str:
    """Return a text[] as the server reads it."""
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join([f'"{value}"' for value in quoted]) + "}"


def blobs(values: Iterable[bytes]) -> str:
    """Return a bytea[] as the server reads it."""
    return "{" + ",".join([f'"\\\\x{value.hex()}"' for value in values]) + "}"
