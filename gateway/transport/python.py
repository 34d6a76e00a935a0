"""Functions of this process as tools, for tests alone: refused unless settings.PLACET_TEST_TRANSPORTS."""

import importlib
import time
from collections.abc import Callable, Mapping

from django.conf import settings

from audit.canonical import JSON
from gateway.transport.outcome import Contract, Result, Scope, TransportFailed

Function = Callable[[Mapping[str, JSON], str], JSON]
_functions: dict[str, Function] = {}


class ToolError(Exception):
    """Raised by a test's function to answer with an error of the tool itself; its argument is the content."""


def register(name: str) -> Callable[[Function], Function]:
    """Decorate `function(arguments, key) -> JSON` as the tool function `name`."""

    def keep(function: Function) -> Function:
        _functions[name] = function
        return function

    return keep


def invoke(
    contract: Contract, arguments: Mapping[str, JSON], *, key: str, deadline: float, scope: Scope, correlation_id: str
) -> Result:
    """Run the function in the caller's thread. :raises TransportFailed: the function's own, or it was too slow."""
    allowed = settings.PLACET_TEST_TRANSPORTS
    if not allowed:
        raise TransportFailed("transport_forbidden", "no", "the python transport is for tests")
    if isinstance(allowed, str):
        importlib.import_module(allowed)  # a worker process of a test learns its functions here
    name = contract.content["transport"]["function"]
    if name not in _functions:
        raise TransportFailed("tool_unreachable", "no", f"no function {name!r} is registered")
    try:
        content, is_error = _functions[name](arguments, key), False
    except ToolError as error:
        content, is_error = error.args[0], True
    except TransportFailed:
        raise
    except Exception as error:
        raise TransportFailed("tool_protocol_error", "maybe", repr(error)) from error
    if time.monotonic() > deadline:
        raise TransportFailed("tool_timeout", "maybe")
    return Result(content, is_error, {"transport": "python"})
