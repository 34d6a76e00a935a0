"""The OPA engine: asks an OPA server for `data.placet.decision` through opa-python-client.

The server holds the same signed bundle as the evaluators. Its path is constant and no name of a tool ever stands in
it; policies and data are never written to it. Whatever it answers but one whole decision is a failure with a code.
"""

import functools
import os
import threading
import time
from typing import Any
from uuid import UUID

import orjson
import structlog
from django.conf import settings
from django.db import connection
from opa_client import OpaClient

from gateway import telemetry
from gateway.pdp import place, post
from gateway.pdp.question import PdpFailed, Question, Reply

BUNDLE = "placet"  # the name of the bundle in OPA's configuration
_PATH = "placet.decision"
# Lenient builtins leave a rule undefined where it fails, and with it a denial.
_ASKED = {"strict-builtin-errors": "true", "provenance": "true"}
# OPA's codes of evaluation errors; anything else that a policy runs into is policy_error.
_CODES = {
    "eval_conflict_error": "policy_conflict",
    "rego_recursion_error": "policy_recursive",
    "eval_cancel_error": "pdp_timeout",
}
_LEFT_OUT = "The OPA server decided by a bundle that is not one of this environment, or has no such policy."
log = structlog.get_logger(__name__)


class Client(OpaClient):  # type: ignore[misc] # untyped
    """opa-python-client over a connection of our own: no proxies, no netrc, no second try, one deadline."""

    def __init__(self, address: post.Address, *, token: str) -> None:
        self._address = address
        super().__init__(host=address.host, port=address.port, ssl=address.tls, token=token or None, retries=0)

    def _init_session(self) -> post.Session:
        return post.Session(self._address, self.headers or {})


class Opa:
    """An OPA server for each environment: at OPA_URL, or beside us as `manage.py opas` keeps them."""

    def __init__(self) -> None:
        self._local = threading.local()

    def evaluate(self, question: Question) -> Reply:
        """Ask the environment's OPA once. :raises PdpFailed:"""
        body = self._ask(question)
        if not isinstance(body, dict) or not isinstance(said := body.get("provenance"), dict):
            raise PdpFailed("pdp_malformed", "The OPA server's answer is not what a decision looks like.")
        revision = _revision(said)
        if "result" not in body:
            raise PdpFailed("policy_undefined", "The policies gave no decision.")
        if revision != question.revision:
            _check_other(question, revision)
        result = orjson.dumps(body["result"])
        return Reply(result, f"opa {said.get('version', '?')}", revision, str(body.get("decision_id", "")))

    def _ask(self, question: Question) -> Any:
        """Return OPA's answer. :raises PdpFailed: there is none, or it says that something failed."""
        try:
            client = self._client(place.of(question.workspace, question.environment))
            client.timeout = question.until - time.monotonic()
            return client.query_rule(orjson.Fragment(question.document), _PATH, query_params=_ASKED)
        except post.Refused as refused:
            raise _refused(refused) from None
        except post.Unreachable:
            raise PdpFailed("pdp_unavailable", "The OPA server cannot be reached.") from None
        except post.Late as late:
            if late.begun:
                raise PdpFailed("pdp_slow", "The OPA server began its answer and did not end it in time.") from None
            raise PdpFailed("pdp_timeout", "The OPA server did not answer in time.") from None
        except post.Cut:
            raise PdpFailed("pdp_cut", "The OPA server closed the connection before its answer was whole.") from None
        except post.Oversize:
            raise PdpFailed("pdp_oversize", "The OPA server's answer is too large.") from None
        except post.Garbled:
            raise PdpFailed("pdp_malformed", "What the OPA server answered is no HTTP or no JSON.") from None

    def _client(self, address: post.Address) -> Client:
        """Return this thread's client of the server, made after any fork: a shared socket would mix up decisions."""
        if getattr(self._local, "pid", None) != os.getpid():
            self._local.pid, self._local.clients = os.getpid(), {}
        clients: dict[post.Address, Client] = self._local.clients
        if address not in clients:
            clients[address] = Client(address, token=settings.OPA_TOKEN)
        return clients[address]


def _refused(answer: post.Refused) -> PdpFailed:
    """Return what an answer other than 200 means. What OPA says besides may quote arguments: only places are told."""
    if answer.status in (401, 403):
        return PdpFailed("pdp_forbidden", "The OPA server does not accept OPA_TOKEN.")
    if answer.status != 500:
        return PdpFailed("pdp_rejected", f"The OPA server rejected the question with status {answer.status}.")
    try:
        first = orjson.loads(answer.body)["errors"][0]
        code, at = str(first["code"]), first.get("location", {})
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        return PdpFailed("pdp_error", "The OPA server failed.")
    detail = f"The policies failed at {at['file']}:{at['row']}:{at['col']}." if len(at) >= 3 else "The policies failed."
    return PdpFailed(_CODES.get(code, "policy_error"), detail)


def _revision(said: dict[str, Any]) -> str:
    """Return the revision of our bundle that OPA decided by. :raises PdpFailed: it has none."""
    try:
        return str(said["bundles"][BUNDLE]["revision"])
    except (KeyError, TypeError):
        raise PdpFailed("bundle_unknown", f"The OPA server has no bundle {BUNDLE!r}.") from None


def _check_other(question: Question, revision: str) -> None:
    """Say aloud that another revision decided; it may if it holds both policies. :raises PdpFailed: bundle_unknown."""
    telemetry.UNEXPECTED.inc()
    log.warning(
        "another bundle decided", environment=question.environment, expected=question.revision, answered=revision
    )
    branches = _branches(question.workspace, question.environment, revision)
    if branches is None or (question.policy not in branches[0] or question.baseline not in branches[1]):
        raise PdpFailed("bundle_unknown", _LEFT_OUT)


@functools.lru_cache(maxsize=256)
def _known(workspace: UUID, environment: str, revision: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the digests (of releases' policies, of baselines) that a bundle holds. :raises LookupError: not ours."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT bundle.manifest->'metadata' FROM registry_bundle AS bundle"
            " JOIN registry_environment AS environment ON environment.id = bundle.environment_id"
            " WHERE environment.workspace_id = %s AND environment.name = %s AND bundle.revision = %s",
            [workspace, environment, revision],
        )
        row = cursor.fetchone()
    if row is None:
        raise LookupError
    metadata = orjson.loads(row[0]) if isinstance(row[0], str) else row[0]
    return frozenset(metadata.get("releases", ())), frozenset(metadata.get("baselines", ()))


def _branches(workspace: UUID, environment: str, revision: str) -> tuple[frozenset[str], frozenset[str]] | None:
    # What is not there yet may be there tomorrow: only what was found is kept.
    try:
        return _known(workspace, environment, revision)
    except LookupError:
        return None
