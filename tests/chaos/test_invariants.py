"""Each check of the invariants can fail: it names what is broken in a copy that was tampered with, and nothing else."""

import json
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from django.db import connections

from audit import keys, receipts
from gateway import holds, pep
from gateway.api.calls import document
from gateway.models import Hold
from gateway.transport.python import register
from tests.audit import trails
from tests.chaos import invariants, merkle
from tests.chaos.evidence import Answer, Asked, Case, Effect
from tests.gateway.stage import fresh, release_policy
from tests.registry.builders import MODEL

EFFECTS: list[Effect] = []
KINDS = {
    "look": "read",
    "put": "idempotent",
    "pay": "keyed",
    "launch": "unsafe",
    "forbidden": "read",
    "careful": "idempotent",
}
DOUBLE = """
INSERT INTO audit_record SELECT gen_random_uuid(), workspace, event, actor, correlation_id, body, leaf_hash
FROM audit_record WHERE workspace = %s AND event = %s LIMIT 1
"""
GOAL = {"take": {"from": "goal"}}
SCRIPT = [
    {"when": {"step": 1}, "call": [{"name": name, "arguments": {"value": GOAL}} for name in ("look", "put", "pay")]},
    {"say": "done"},
]


def tool(name):
    """Return the contract of a tool that writes down who it is, and when."""

    def act(arguments, key):
        EFFECTS.append(Effect(name, key, arguments["value"], time.time()))
        return {"value": arguments["value"]}

    register(f"chaos-{name}")(act)
    content = {
        "description": "A tool.",
        "input_schema": {"type": "object", "properties": {"value": {"type": "string"}}, "required": ["value"]},
        "transport": {"kind": "python", "function": f"chaos-{name}"},
        "effect": KINDS[name],
        "risk": "low",
    }
    return content | ({"dedup_window_s": 3600} if name == "pay" else {})


class Small:
    """A workspace in which each kind of call and a run have come to their end, and what its clients kept."""

    def __init__(self, acts):
        self.acts, self.asked = acts, []
        build = acts.build
        parts = [build.version("tool", name, tool(name)) for name in KINDS]
        parts.append(build.version("model", "thinker", MODEL | {"script": SCRIPT}))
        policy = build.version("policy", "p", release_policy())
        pins = [{"kind": part.kind, "name": part.name, "digest": part.digest} for part in [*parts, policy]]
        acts._activate(build.version("policy", "baseline"), "development")
        acts._activate(build.version("agent", "steward", {"pins": pins, "budgets": {"steps": 9}}), "development")
        acts.last, acts.now = "steward", datetime.now(UTC)
        agent = acts.agent(scopes=("tools:call",))
        for name, expect in (("look", ""), ("pay", "allow"), ("launch", "allow"), ("forbidden", "deny")):
            self.ask(agent, name, expect)
        notes = [trails.publish(acts.workspace.pk)]
        held = self.ask(agent, "careful", "hold")
        row = Hold.objects.get(pk=held.hold)
        holds.approve(
            row.pk, approver=acts.people["bob"], digest=row.digest, now=datetime.now(UTC), correlation_id="test"
        )
        self.asked[-1].answers.append(answer(pep.release(row.pk, now=datetime.now(UTC))))
        key = fresh("run")
        run = acts.work(acts.start(key, key=key))
        assert run.state == "succeeded"
        self.asked.append(Asked(key, kind="run", answers=[Answer(201, {"id": str(run.pk)}, time.time())]))
        notes.append(trails.publish(acts.workspace.pk))
        self.notes, self.log_key, self.receipt_key = notes, keys.checkpoint(acts.workspace.pk).public, keys.receipt()
        self.export = trails.exported(acts.workspace.pk)

    def ask(self, agent, name, expect):
        """Make a call whose value is its key, and note what was told."""
        key = fresh(name)
        outcome = self.acts.call(agent, name, key, key=key)
        self.asked.append(Asked(key, expect, answers=[answer(outcome)]))
        return outcome

    def value(self, name):
        """Return the value with which a tool was called by a client."""
        return next(one.key for one in self.asked if one.key.startswith(name))


def answer(outcome):
    """Return what REST would tell of an outcome."""
    status = {"finished": 200, "parked": 202}.get(outcome.status, 403)
    return Answer(status, document(outcome), time.time())


@pytest.fixture(scope="module")
def small(django_db_setup, django_db_blocker):
    from django.test import override_settings

    from tests.agents.acts import Acts
    from tests.gateway import conftest as gateway

    with django_db_blocker.unblock(), override_settings(**gateway.PATIENT):
        stage = gateway._stage()
        try:
            yield Small(Acts(stage.workspace, stage.people, stage.now))
        finally:
            connections.close_all()


@pytest.fixture
def case(small, tmp_path):
    """What is to be checked, on a connection whose changes nobody keeps."""
    export = tmp_path / "trail.ndjson"
    export.write_bytes(small.export)
    connection = trails.superuser()
    connection.autocommit = False
    yield Case(
        connection,
        small.acts.workspace.pk,
        effects=list(EFFECTS),
        asked=small.asked,
        notes={"outside": small.notes},
        log_keys=[small.log_key],
        receipt_keys=[small.receipt_key.public],
        export=export,
    )
    connection.rollback()
    connection.close()


def change(case, table, statement, *parameters):
    """Change a table past its triggers, in a transaction that is never committed."""
    case.connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
    changed = case.connection.execute(statement, parameters).rowcount
    assert changed > 0


@contextmanager
def breaking(case, *expected):
    """Check the case as the block leaves it: these invariants are named, no others."""
    yield
    assert invariants.check(replace(case, export=None)).broken() == set(expected)


def test_nothing_is_wrong_where_nothing_went_wrong_and_everything_was_looked_at(case):
    report = invariants.check(case)
    assert report.violations == []
    assert {name for name, count in report.looked.items() if count < 2} == set()


def test_an_effect_without_a_decision_is_seen(case, small):
    with breaking(case, "I1", "I5"):
        case.effects.append(Effect("pay", "k", small.value("pay"), time.time()))


def test_an_effect_of_a_call_that_nobody_claimed_is_seen(case):
    with breaking(case, "I1"):
        case.effects.append(Effect("look", "k", "nobody's", time.time()))


def test_an_effect_before_its_decision_was_committed_is_seen(case, small):
    with breaking(case, "I1"):
        at = next(number for number, one in enumerate(case.effects) if one.value == small.value("launch"))
        case.effects[at] = case.effects[at]._replace(at=case.effects[at].at - 60)


def test_a_second_decision_record_of_one_attempt_is_seen(case):
    with breaking(case, "I1", "I3"):
        change(case, "audit_record", DOUBLE, case.workspace, "gateway.call.decided")


def test_an_effect_of_a_denied_call_is_seen(case, small):
    with breaking(case, "I1", "I2"):
        case.effects.append(Effect("forbidden", "k", small.value("forbidden"), time.time()))


def test_a_hold_that_was_released_without_enough_people_is_seen(case):
    with breaking(case, "I2"):
        change(
            case,
            "gateway_holdapproval",
            "DELETE FROM gateway_holdapproval WHERE hold_id IN (SELECT id FROM gateway_hold WHERE workspace_id = %s)",
            case.workspace,
        )


def test_a_record_that_is_missing_in_the_tree_is_seen(case):
    last = "index = (SELECT max(index) FROM audit_leaf WHERE workspace = %s)"
    with breaking(case, "I3", "I4"):
        change(case, "audit_leaf", f"DELETE FROM audit_leaf WHERE workspace = %s AND {last}", *[case.workspace] * 2)


def test_a_record_that_never_came_to_the_tree_is_seen(case):
    with breaking(case, "I3"):
        change(case, "audit_record", DOUBLE, case.workspace, "registry.version.created")


def test_a_receipt_for_what_is_not_in_the_tree_is_seen(case):
    body = json.dumps({"at": "2026-01-01T00:00:00Z", "id": str(case.workspace), "workspace": str(case.workspace)})
    promised = receipts._sign_again(body.encode(), merkle.leaf(body.encode()))
    with breaking(case, "I3"):
        case.asked = [*case.asked, Asked("x", answers=[Answer(403, {"receipts": [promised]}, time.time())])]


def test_an_end_that_changed_after_it_was_told_is_seen(case, small):
    with breaking(case, "I3"):
        body = {"outcome": "failed"}
        case.asked = [
            replace(one, answers=[*one.answers, Answer(502, body, time.time())]) if one.expect == "allow" else one
            for one in case.asked
        ]


def test_a_checkpoint_of_another_history_is_seen(case, small):
    key = keys.checkpoint(case.workspace)
    with breaking(case, "I4"):
        case.notes = {"outside": [*small.notes, trails.note(key, 3, b"\1" * 32)]}


def test_a_checkpoint_that_went_backwards_is_seen(case, small):
    with breaking(case, "I4"):
        case.notes = {"outside": [*small.notes, small.notes[0]]}


def test_a_checkpoint_by_another_key_is_seen(case, small):
    other = trails.another_key(small.log_key.split("+")[0])
    with breaking(case, "I4"):
        case.notes = {"outside": [trails.note(other, 1, b"\1" * 32)]}


def test_an_unsafe_effect_that_came_twice_is_seen(case, small):
    with breaking(case, "I1", "I5"):
        case.effects += [one for one in case.effects if one.value == small.value("launch")]


def test_a_repetition_under_another_key_is_seen(case, small):
    first = next(one for one in case.effects if one.tool == "look")
    with breaking(case, "I1", "I5"):
        case.effects.append(first._replace(key="other"))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE agents_run SET state = 'running', finished_at = NULL WHERE workspace_id = %s",
        "UPDATE agents_run SET state = 'waiting', wait = 'timer', finished_at = NULL WHERE workspace_id = %s",
        "UPDATE agents_run SET key = key || 'x' WHERE workspace_id = %s",
    ],
)
def test_a_lost_run_is_seen(case, statement):
    # Under another key, its calls are nobody's too.
    with breaking(case, "I6", *(("I1",) if "key" in statement else ())):
        change(case, "agents_run", statement, case.workspace)


def test_an_attempt_without_an_outcome_is_seen(case):
    with breaking(case, "I6"):
        change(
            case,
            "gateway_attempt",
            """UPDATE gateway_attempt SET state = 'decided' WHERE verdict = 'allow'
               AND call_id IN (SELECT id FROM gateway_call WHERE workspace_id = %s)""",
            case.workspace,
        )


def test_an_overdrawn_budget_is_seen(case):
    with breaking(case, "I7"):
        change(
            case,
            "registry_version",
            """UPDATE registry_version SET content = convert_to(replace(convert_from(content, 'UTF8'), '"steps":9',
               '"steps":3'), 'UTF8') WHERE workspace_id = %s AND kind = 'agent'""",
            case.workspace,
        )


def test_a_reservation_that_nobody_gave_back_is_seen(case):
    with breaking(case, "I7"):
        change(
            case, "gateway_counter", "UPDATE gateway_counter SET under_way = 1 WHERE workspace_id = %s", case.workspace
        )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE registry_approval SET withdrawn_at = at WHERE approver_id = %s",
        "UPDATE registry_approval SET digest = 'sha256:' || repeat('0', 64) WHERE approver_id = %s",
        "UPDATE registry_approval SET expires_at = at WHERE approver_id = %s",
        "UPDATE registry_approval SET role = 'auditor' WHERE approver_id = %s",
        "UPDATE registry_approval SET verdict = 'reject' WHERE approver_id = %s",
        "UPDATE registry_approval SET verdict = 'request_changes' WHERE approver_id = %s",
    ],
)
def test_an_activation_below_quorum_is_seen(case, small, statement):
    with breaking(case, "I8"):
        change(case, "registry_approval", statement, small.acts.people["bob"].pk)


def test_an_approval_by_a_contributor_is_seen(case, small):
    with breaking(case, "I8"):
        change(
            case,
            "registry_contributor",
            "UPDATE registry_contributor SET person_id = %s WHERE person_id = %s",
            small.acts.people["bob"].pk,
            small.acts.people["alice"].pk,
        )


@pytest.mark.parametrize("kind", ["founding", "rollback", "break_glass"])
def test_going_live_by_no_quorum_at_all_is_seen(case, kind):
    with breaking(case, "I8"):
        change(
            case,
            "registry_slothistory",
            """UPDATE registry_slothistory h SET kind = %s FROM registry_artifact f WHERE f.id = h.artifact_id
               AND f.workspace_id = %s AND h.kind = 'activate'""",
            kind,
            case.workspace,
        )


def test_a_call_that_was_allowed_against_the_policies_is_seen(case, small):
    with breaking(case, "I2", "I9"):
        case.asked = [replace(one, expect="deny") if one.key == small.value("pay") else one for one in case.asked]


def test_a_call_that_was_allowed_by_an_unknown_policy_is_seen(case):
    with breaking(case, "I9"):
        change(
            case,
            "registry_bundle",
            "UPDATE registry_bundle SET revision = revision || 'x' WHERE workspace_id = %s",
            case.workspace,
        )


def test_an_export_that_does_not_verify_is_seen(case, small):
    lines = small.export.splitlines(keepends=True)
    case.export.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    assert invariants.check(case).broken() == {"I10"}


def test_a_verifier_that_believes_everything_is_seen(case, monkeypatch):
    from tests.chaos import proofs

    monkeypatch.setattr(proofs, "changes", lambda export, chance: {"nothing changed": export})
    assert invariants.check(case).broken() == {"I10"}


def test_the_trees_of_the_checks_are_those_of_rfc_6962():
    leaves = [merkle.leaf(bytes([number])) for number in range(20)]
    found = merkle.roots(leaves, range(1, 21))
    assert found == {size: merkle.root(leaves[:size]) for size in range(1, 21)}
