"""A `tools/call` as a JSON-RPC message of a revision of MCP, and what a server says to it.

The frame is the one that the SDK's client would send (mcp.client.session and .streamable_http); a test compares them.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcp.shared.inbound import (
    MCP_METHOD_HEADER,
    MCP_NAME_HEADER,
    MCP_PROTOCOL_VERSION_HEADER,
    encode_header_value,
    mcp_param_headers,
    x_mcp_header_map,
)
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    METHOD_NOT_FOUND,
    PROTOCOL_VERSION_META_KEY,
    CallToolResult,
    Implementation,
    methods,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from audit import canonical
from audit.canonical import JSON
from audit.refusal import Refusal
from gateway.transport.outcome import TransportFailed

CLIENT = Implementation(name="placet", version="1")
CHANGED = "notifications/tools/list_changed"
DEEPEST = 66  # levels: the 64 of a result that the sanitiser reads, and the message around it
_METHOD = "tools/call"
_CLIENT: Mapping[str, JSON] = CLIENT.model_dump(by_alias=True, mode="json", exclude_none=True)
# Members of a result before 2026-07-28. Those of later revisions say nothing in an earlier one.
_EARLIER = frozenset({"_meta", "content", "structuredContent", "isError"})
# Far from the SDK's own ids, which begin at 1 and count requests in the same session; within 31 bits.
_FIRST, _BITS = 1 << 30, 30

Places = Mapping[tuple[str, ...], str]  # path of an argument -> the header that repeats it


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool. :param pin: the digest of the definition that was approved."""

    tool: str
    arguments: Mapping[str, JSON]
    pin: str
    meta: Mapping[str, JSON]


def identity() -> int:
    """Return an id that no answer to another request can have but by chance, nor a server guess."""
    return _FIRST + secrets.randbits(_BITS)


def is_modern(revision: str) -> bool:
    """Say whether each request carries its own envelope (since 2026-07-28) instead of belonging to a session."""
    return revision in MODERN_PROTOCOL_VERSIONS


def is_known(revision: str | None) -> bool:
    """Say whether we know how a request of this revision looks."""
    return revision in HANDSHAKE_PROTOCOL_VERSIONS or revision in MODERN_PROTOCOL_VERSIONS


def places(revision: str, input_schema: JSON) -> Places:
    """Return which arguments of a tool are repeated in headers (`x-mcp-header`, since 2026-07-28)."""
    return x_mcp_header_map(input_schema) if is_modern(revision) else {}


def revised(revision: str) -> dict[str, str]:
    """Return the headers that the revision demands of whatever is sent beside calls."""
    return {MCP_PROTOCOL_VERSION_HEADER: revision}


def headers(call: Call, revision: str, repeated: Places) -> dict[str, str]:
    """Return the headers that the revision demands of this call, beside those of every request."""
    told = revised(revision)
    if is_modern(revision):
        told[MCP_METHOD_HEADER] = _METHOD
        told[MCP_NAME_HEADER] = encode_header_value(call.tool)
        told |= mcp_param_headers(repeated, call.arguments)
    return told


def request(call: Call, number: int, revision: str) -> bytes:
    """Return the call as JSON-RPC. :raises TransportFailed: an argument has no canonical form."""
    meta = dict(call.meta)
    if is_modern(revision):
        meta |= {
            PROTOCOL_VERSION_META_KEY: revision,
            CLIENT_INFO_META_KEY: _CLIENT,
            CLIENT_CAPABILITIES_META_KEY: {},
        }
    params = {"name": call.tool, "arguments": call.arguments, "_meta": meta}
    try:
        return canonical.dumps({"jsonrpc": "2.0", "id": number, "method": _METHOD, "params": params})
    except canonical.NotCanonical as error:
        raise TransportFailed("arguments_unplaced", "no", str(error)) from error


def read(raw: bytes) -> dict[str, JSON]:
    """Return a message of the server. :raises TransportFailed: it is none, or not strict JSON."""
    try:
        said = canonical.loads(raw, max_bytes=len(raw), max_depth=DEEPEST, field="answer")
    except Refusal as refusal:
        nonsense = refusal.code in {"json_malformed", "json_not_utf8"}
        code = "tool_protocol_error" if nonsense else "tool_result_malformed"
        raise TransportFailed(code, "maybe", refusal.code) from refusal
    if type(said) is not dict or said.get("jsonrpc") != "2.0":
        raise TransportFailed("tool_protocol_error", "maybe", "the server's words are no JSON-RPC")
    return said


def result(said: Mapping[str, JSON], number: int, revision: str) -> CallToolResult:
    """Return what the message answers to request `number`.

    :raises TransportFailed: it answers another request, is an error, or not what the revision calls a result.
    """
    known = said.get("id")
    if "error" in said and "result" not in said and (known is None or (type(known) is int and known == number)):
        # No code of a server proves that nothing happened (see relay).
        raise TransportFailed("tool_protocol_error", "maybe", fault(said))
    if "error" in said or type(known) is not int or known != number:
        raise TransportFailed("tool_protocol_error", "maybe", "the server answered another request than ours")
    answer = said.get("result")
    if type(answer) is not dict:
        raise TransportFailed("tool_protocol_error", "maybe", "the server's answer has no result")
    if not is_modern(revision):
        answer = {name: answer[name] for name in answer if name in _EARLIER}
    try:
        methods.validate_server_result(_METHOD, revision, answer)
        return CallToolResult.model_validate(answer, by_name=False)
    except ValidationError as error:
        # A refusal to go on without input, or nonsense.
        raise TransportFailed("tool_protocol_error", "maybe", faults(error)) from None


def fault(said: Mapping[str, JSON]) -> str:
    """Return code and words of a JSON-RPC error, for the operator."""
    error = said.get("error")
    return f"{error.get('code')} {error.get('message')}"[:300] if isinstance(error, dict) else ""


def faults(error: ValidationError) -> str:
    """Return what is wrong with a result, and where; not the values, which may be anybody's: this goes to the log."""
    found = error.errors(include_input=False, include_context=False, include_url=False)
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['type']}" for one in found)[:300]


def refusal(said: Mapping[str, JSON]) -> bytes:
    """Return our answer to a request of the server: we are there, and offer neither a model nor a person nor files.

    :raises TransportFailed: its id is none.
    """
    number = said["id"]
    if type(number) not in (int, str):
        raise TransportFailed("tool_protocol_error", "maybe", "the server asks under an id that is none")
    answer: dict[str, Any] = {"jsonrpc": "2.0", "id": number}
    if said["method"] == "ping":
        return canonical.dumps(answer | {"result": {}})
    return canonical.dumps(answer | {"error": {"code": METHOD_NOT_FOUND, "message": "Not supported"}})
