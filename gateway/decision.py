"""PURE. What the policies said about one call: a value. Anything but a clear allow is a deny.

The document comes from the router of a bundle (policies/schemas/decision-output.v1.json). Nothing here guesses:
a member that is missing or of another type makes the whole decision a deny with a code of its own.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

JSON = Any
LAYERS = ("floor", "baseline", "release")
_CODE = re.compile(r"[a-z][a-z0-9_]{0,79}")
_MOST = 1000  # reasons, obligations
_LONGEST = 2000  # characters of a message
# Obligation kinds that need members; the rest is checked by who carries them out.
_NEEDED: Mapping[str, Mapping[str, type]] = {
    "hold": {"code": str},
    "cap": {"path": str},
    "label": {"label": str},
}


@dataclass(frozen=True)
class Reason:
    """Why. `layer`: floor, baseline, release, or pdp when no policy spoke."""

    code: str
    message: str
    layer: str


@dataclass(frozen=True)
class Decision:
    """The verdict on one call.

    :param engine: name and version of the engine that evaluated; empty if none did.
    :param revision: the bundle revision that answered.
    :param failure: code of what went wrong on our side, None if the policies spoke.
    :param decision_id: under which an OPA server logs the decision itself; empty if it does not.
    :param difference: in shadow mode, what the second engine said otherwise: digests, no values.
    """

    allow: bool
    reasons: tuple[Reason, ...] = ()
    obligations: tuple[Mapping[str, JSON], ...] = ()
    labels: tuple[str, ...] = ()
    engine: str = ""
    revision: str = ""
    failure: str | None = None
    layers: Mapping[str, bool] = field(default_factory=dict)
    decision_id: str = ""
    difference: Mapping[str, JSON] | None = None

    @property
    def verdict(self) -> Literal["allow", "deny", "hold"]:
        """Return hold if a person has to agree first; a deny wins over a hold."""
        if self.allow is not True:
            return "deny"
        return "hold" if any(one["kind"] == "hold" for one in self.obligations) else "allow"

    @property
    def codes(self) -> tuple[str, ...]:
        """Return the reason codes, each once, in order."""
        return tuple(dict.fromkeys(reason.code for reason in self.reasons))


class _Incomplete(ValueError):
    """A member that must be there is not."""


class _Malformed(ValueError):
    """A member is of another type than it must be."""


def deny(code: str, message: str, *, engine: str = "", revision: str = "") -> Decision:
    """Return the deny for a failure of ours, with its code."""
    reason = Reason(code, message, "pdp")
    return Decision(allow=False, reasons=(reason,), engine=engine, revision=revision, failure=code)


def parse(document: JSON, *, engine: str = "", revision: str = "") -> Decision:
    """Return the decision that `document` is; never raises.

    Not an object: policy_undefined. A member missing: policy_incomplete. Of another type: policy_malformed.
    """
    if document is None:
        return deny("policy_undefined", "The policies gave no decision.", engine=engine, revision=revision)
    try:
        allow, layers = _verdict(document)
        reasons = tuple(_reason(one) for one in _list(document, "reasons"))
        obligations = tuple(_obligation(one) for one in _list(document, "obligations"))
        labels = tuple(_label(one) for one in _list(document, "labels"))
    except _Incomplete as error:
        return deny("policy_incomplete", str(error), engine=engine, revision=revision)
    except _Malformed as error:
        return deny("policy_malformed", str(error), engine=engine, revision=revision)
    if not allow and not reasons:
        silent = next(layer for layer in LAYERS if not layers[layer])
        reasons = (Reason("denied_without_reason", "A policy denied the call and gave no reason.", silent),)
    return Decision(allow, reasons, obligations, tuple(dict.fromkeys(labels)), engine, revision, None, layers)


def _verdict(document: JSON) -> tuple[bool, dict[str, bool]]:
    allow = _member(document, "allow", bool)
    said = _member(document, "layers", dict)
    layers = {layer: _member(said, layer, bool, of="layers") for layer in LAYERS}
    if allow is not all(layers.values()):
        raise _Malformed("The decision is not what its layers say.")
    return allow, layers


def _reason(value: JSON) -> Reason:
    code = _code(value, of="a reason")
    message = _member(value, "message", str, of="a reason")
    layer = _member(value, "layer", str, of="a reason")
    if layer not in LAYERS:
        raise _Malformed("A reason names a layer that there is not.")
    return Reason(code, message[:_LONGEST], layer)


def _obligation(value: JSON) -> Mapping[str, JSON]:
    kind = _code(value, of="an obligation", name="kind")
    for name, wanted in _NEEDED.get(kind, {}).items():
        _member(value, name, wanted, of=f"the obligation {kind}")
    if kind == "hold":
        _code(value, of="the obligation hold")
    return dict(value)


def _label(value: JSON) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise _Malformed("A label is not a short text.")
    return value


def _code(value: JSON, *, of: str, name: str = "code") -> str:
    code: str = _member(value, name, str, of=of)
    if not _CODE.fullmatch(code):
        raise _Malformed(f"The {name} of {of} is not a snake_case word.")
    return code


def _list(document: JSON, name: str) -> list[JSON]:
    values: list[JSON] = _member(document, name, list)
    if len(values) > _MOST:
        raise _Malformed(f"The decision has more than {_MOST} {name}.")
    return values


def _member(value: JSON, name: str, wanted: type, *, of: str = "the decision") -> Any:
    if not isinstance(value, dict):
        raise _Malformed(f"{of[0].upper()}{of[1:]} is not an object.")
    if name not in value:
        raise _Incomplete(f"{of[0].upper()}{of[1:]} has no {name}.")
    found = value[name]
    # bool is an int to Python and none to a policy.
    if not isinstance(found, wanted) or (wanted is int and isinstance(found, bool)):
        raise _Malformed(f"The {name} of {of} is not of its type.")
    return found
