"""The PDP: hands one decision input to a policy engine and brings back a decision. It never raises.

Every failure is a deny with a code of its own (docs/reference/policies.md). The engine is chosen by settings: one
class per engine, all with `evaluate`. The evaluators (gateway.pdp.embedded) and OPA servers (gateway.pdp.opa) hold the
same signed bundles.
"""

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import jsonschema_rs
import orjson
import structlog
from django.conf import settings

from audit import canonical
from gateway import decision, telemetry
from gateway.decision import Decision
from gateway.pdp.embedded import Embedded, load_frame, pool
from gateway.pdp.last_good import LastGood
from gateway.pdp.opa import Opa
from gateway.pdp.question import Engine, PdpFailed, Question, Reply
from gateway.pdp.shadow import Shadow
from registry import policies

__all__ = ["Engine", "PdpFailed", "Question", "Reply", "decide", "engine", "load_frame", "pool"]
ENGINES: dict[str, Callable[[], Engine]] = {
    "embedded": Embedded,
    "opa": lambda: LastGood(Opa(), Embedded()),
    "shadow": lambda: Shadow(Embedded(), Opa()),
}
log = structlog.get_logger(__name__)


def decide(
    document: Mapping[str, Any],
    *,
    workspace: UUID,
    environment: str,
    revision: str,
    deadline_ms: int,
    degradable: bool = False,
) -> Decision:
    """Return the decision on `document` (decision-input.v1.json) under the bundle `revision`; a deny if in doubt.

    :param deadline_ms: wall time that the caller gives; one evaluation may take at most
        PLACET_DECISION_TIMEOUT_MS of CPU.
    :param degradable: whether the last good policies may decide while an OPA server is away.
    """
    name = ""
    try:
        question = Question(
            _checked(document),
            workspace,
            environment,
            revision,
            policy=str(document["agent"]["policy"]),
            baseline=str(document["baseline"]),
            until=time.monotonic() + deadline_ms / 1000,
            degradable=degradable,
        )
        reply = engine().evaluate(question)
        name, revision = reply.engine, reply.revision
        answer = decision.parse(orjson.loads(reply.result), engine=name, revision=revision)
        answer = replace(answer, decision_id=reply.decision_id, difference=reply.difference)
    except PdpFailed as failed:
        answer = replace(
            decision.deny(failed.code, failed.detail, revision=revision),
            difference=failed.difference,
        )
    except Exception as error:
        # Every failure of the PDP is a deny.
        log.error("pdp failed", error=type(error).__name__, exc_info=True)
        answer = decision.deny("pdp_error", "The decision point failed.", engine=name, revision=revision)
    if answer.failure is not None:
        telemetry.PDP_FAILURES.labels(answer.failure).inc()
    return answer


@functools.cache
def engine() -> Engine:
    """Return the engine that settings.PLACET_PDP names."""
    name = settings.PLACET_PDP
    if name not in ENGINES:
        raise ValueError(f"PLACET_PDP must be one of {', '.join(ENGINES)}, got {name!r}.")
    return ENGINES[name]()


@functools.cache
def _validator() -> jsonschema_rs.Draft202012Validator:
    schema = orjson.loads((policies.SCHEMAS / "decision-input.v1.json").read_bytes())
    return jsonschema_rs.Draft202012Validator(schema, offline=True)


def _checked(document: Mapping[str, Any]) -> bytes:
    """Return the canonical bytes of an input that the frozen schema accepts. :raises PdpFailed: input_invalid."""
    if not _validator().is_valid(document):
        error = next(iter(_validator().iter_errors(document)))
        place = "".join(f"/{step}" for step in error.instance_path) or "/"
        raise PdpFailed("input_invalid", f"The decision input does not fit its schema at {place} ({error.kind.name}).")
    try:
        return canonical.dumps(document)
    except canonical.NotCanonical as error:
        raise PdpFailed("input_invalid", "The decision input has no canonical JSON form.") from error
