"""Reason codes: each one the line can give is known by name and documented."""

import ast
import re
from pathlib import Path

from gateway import calls
from gateway.decision import Decision, Reason
from gateway.reasons import PASSING, REASONS, deny, failed

ROOT = Path(__file__).resolve().parents[2]
# Modules whose refusals become denials of a call.
LINE = ("contract", "limits", "rates", "holds", "sessions", "pep", "answers")
# Refusals of requests that are not calls: opening a session, deciding a hold, asking for a release.
BESIDE = {
    "agent_missing",
    "already_decided",
    "decision_unrecorded",
    "hold_changed",
    "hold_closed",
    "hold_open",
    "on_behalf_of_forbidden",
    "request_too_long",
    "session_forbidden",
}


def test_every_code_that_the_line_gives_has_a_meaning():
    given = set()
    for module in LINE:
        tree = ast.parse((ROOT / f"gateway/{module}.py").read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Refusal", "deny", "failed", "Outcome"):
                named = [one.value for one in node.keywords if one.arg == "code"]
                given |= {one.value for one in [*node.args[:1], *named] if isinstance(one, ast.Constant)}
    codes = {code for code in given if isinstance(code, str) and "_" in code and not code.isdigit()}
    assert codes - BESIDE - REASONS.keys() <= {"in_flight"}


def test_every_code_is_documented_and_nothing_else_is():
    page = (ROOT / "docs/reference/reasons.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (?:yes)? ?\| (.+) \|$", page, flags=re.MULTILINE))
    assert rows == REASONS
    passing = set(re.findall(r"^\| `([a-z_]+)` \| yes", page, flags=re.MULTILINE))
    assert passing == PASSING <= REASONS.keys()


def test_the_code_of_a_denial_is_that_of_a_reason_that_denies():
    held = {"kind": "hold", "code": "asks"}
    reasons = (Reason("asks", "", "floor"), Reason("denies", "", "release"))
    assert calls._code(Decision(False, reasons, (held,)), "deny") == "denies"
    assert calls._code(Decision(True, reasons[:1], (held,)), "hold") == "asks"
    assert calls._code(Decision(False), "deny") == "policy_denied"


def test_a_denial_of_the_line_never_allows_and_a_failure_says_so():
    assert (deny("tool_unknown").allow, deny("tool_unknown").failure) == (False, None)
    assert (failed("gateway_failed").allow, failed("gateway_failed").failure) == (False, "gateway_failed")
