"""Tokens: what stands for a value on its way out, and the sealed vault that gives the value back.

A token belongs to one tree of sessions. The same value has the same token there, so that a model can tell that two
mentions are of one person; in another tree it has another one, so that tools cannot match people across conversations.
What a tool or model answers is given its values back before anybody sees it, for tokens of the same tree alone.
"""

import base64
import hmac
import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.backends.utils import CursorWrapper

from audit import canonical, keys, sealed
from audit.canonical import JSON
from audit.uuid7 import uuid7
from gateway.facts import Facts

TOKEN = re.compile(r"tok_[a-z0-9_]{1,60}_[a-z2-7]{20}")
_MARK = b"tok_"
_KEEP = """
INSERT INTO gateway_token (id, workspace_id, root_id, token, value, call) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (root_id, token) DO NOTHING
"""


class Book:
    """The tokens of one attempt. `minted`: token -> value; a decision that is recorded keeps them."""

    def __init__(self, root: UUID) -> None:
        self.root = root
        self.minted: dict[str, JSON] = {}

    def mint(self, kind: str, value: JSON) -> str:
        """Return the token of `value`, the same each time in this tree of sessions. HMAC-SHA256, 100 bits of it."""
        told = self.root.bytes + kind.encode() + b"\0" + canonical.dumps(value)
        mac = hmac.digest(keys.secret("tokens.hmac"), told, "sha256")
        token = f"tok_{kind.replace('.', '_')[:60]}_{base64.b32encode(mac)[:20].decode().lower()}"
        self.minted[token] = value
        return token


def keep(cursor: CursorWrapper, facts: Facts) -> None:
    """Seal what the tokens of this attempt stand for, in the transaction of its decision."""
    if not facts.tokens:
        return
    root, workspace = facts.resolved.session.root, facts.principal.workspace
    known = _values(cursor, root, list(facts.tokens))
    for token, value in facts.tokens.items():
        if token not in known:
            box = sealed.seal_blob(value, workspace=workspace, subject=facts.subject)
            cursor.execute(_KEEP, [uuid7(), workspace, root, token, box, facts.claim.id])


def restore(facts: Facts, result: JSON, *, form: bytes) -> JSON:
    """Return `result` with the values that its tokens stand for; of erased values the token stays.

    :param form: the canonical JSON of `result`. Where no token can be in it, `result` itself comes back.
    """
    if _MARK not in form:
        return result
    values: dict[str, JSON] = dict(facts.tokens)
    missing = sorted(_named(result) - values.keys())
    if missing:
        with connection.cursor() as cursor:
            boxes = _values(cursor, facts.resolved.session.root, missing)
        for token, box in boxes.items():
            try:
                values[token] = sealed.open_blob(box)
            except sealed.Erased:
                continue
    return _restored(result, values)


def _values(cursor: CursorWrapper, root: UUID, tokens: list[str]) -> dict[str, UUID]:
    cursor.execute("SELECT token, value FROM gateway_token WHERE root_id = %s AND token = ANY(%s)", [root, tokens])
    return dict(cursor.fetchall())


def _named(value: Any) -> set[str]:
    if isinstance(value, str):
        return set(TOKEN.findall(value))
    if isinstance(value, Mapping):
        return {token for key, member in value.items() for token in (*TOKEN.findall(key), *_named(member))}
    if isinstance(value, list | tuple):
        return {token for member in value for token in _named(member)}
    return set()


def _restored(value: Any, values: Mapping[str, JSON]) -> Any:
    if isinstance(value, str):
        if value in values:
            return values[value]
        return TOKEN.sub(lambda found: str(values.get(found[0], found[0])), value)
    if isinstance(value, Mapping):
        return {_restored_key(key, values): _restored(member, values) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_restored(member, values) for member in value]
    return value


def _restored_key(key: str, values: Mapping[str, JSON]) -> str:
    return TOKEN.sub(lambda found: str(values.get(found[0], found[0])), key)
