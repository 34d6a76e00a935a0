"""Datasets and runbooks: data and procedures are versioned, checked and agreed on like everything else."""

from copy import deepcopy

import pytest

from audit.refusal import Refusal
from registry import activations, admission, quorum
from registry.manifests.apply import apply as apply_manifests
from registry.manifests.document import dump
from registry.models import Proposal

DIGEST = "sha256:" + "ab" * 32
DATASET = {
    "description": "Tickets of 2026, without names.",
    "location": "s3://corpora/tickets/2026",
    "digest": DIGEST,
    "schema": {
        "type": "object",
        "properties": {"id": {"type": "string"}, "text": {"type": "string"}, "at": {"type": "string"}},
        "additionalProperties": False,
    },
    "labels": ["pii"],
    "quality": [
        {"expect": "unique", "field": "id", "severity": "block"},
        {"expect": "matches", "field": "id", "pattern": "^T-[0-9]+$", "severity": "warn"},
        {"expect": "records_between", "least": 1000, "severity": "block"},
    ],
    "freshness": {"most_age_seconds": 86400, "field": "at"},
    "lineage": [{"name": "raw tickets", "digest": "sha256:" + "cd" * 32, "step": "names removed"}],
    "retention": {"days": 365, "basis": "contract"},
}
RUNBOOK = {
    "title": "Every call of an agent is denied",
    "symptoms": [{"code": "pdp_unavailable"}, {"text": "Calls end with 403 since a moment ago."}],
    "steps": [{"do": "Look whether evaluators run.", "command": "manage.py settings --check", "expect": "ready"}],
    "escalation": [{"after_minutes": 15, "to": "platform on call"}],
}


@pytest.mark.parametrize(("kind", "content"), [("dataset", DATASET), ("runbook", RUNBOOK)])
def test_a_dataset_or_runbook_is_agreed_on_by_itself_and_never_put_into_a_slot(build, kind, content, trail):
    version = build.version(kind, "tickets", content)
    proposal = build.propose(version)
    assert [missing.code for missing in quorum.missing(proposal)] == ["approval_missing"]
    with pytest.raises(Refusal) as own:
        build.approve(proposal, "alice", role="author")
    build.approve(proposal, "bob")
    assert (own.value.status, proposal.state) == (403, "approved")
    with pytest.raises(Refusal) as slotted:
        activations.request(proposal, actor=build.people["olga"], **build.how)
    assert slotted.value.code == "not_activatable"
    assert trail()[-2:] == ["registry.approval.created", "registry.proposal.approved"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"location": "s3://key:secret@corpora/tickets"}, "/content/location"),
        ({"location": "tickets.csv"}, "/content/location"),
        ({"digest": "sha256:xyz"}, "/content/digest"),
        ({"schema": {"type": "array"}}, "/content/schema"),
        ({"schema": {"type": "object", "$ref": "https://example.com/s.json"}}, "/content/schema"),
        ({"lineage": [{"digest": DIGEST}]}, "/content/lineage/0"),
        ({"quality": [{"expect": "between", "field": "id", "severity": "warn"}]}, "/content/quality/0"),
        ({"quality": [{"expect": "unique", "severity": "warn"}]}, "/content/quality/0"),
        ({"owner": 7}, "/content/owner"),
        ({"password": "x"}, "/content"),
    ],
)
def test_a_dataset_that_cannot_be_is_refused_by_the_field_that_is_wrong(build, changes, field):
    with pytest.raises(Refusal) as refused:
        build.version("dataset", "tickets", deepcopy(DATASET) | changes)
    assert (refused.value.code, refused.value.field) == ("content_invalid", field)
    assert build.version("dataset", "tickets", DATASET).number == 1


def test_an_expectation_that_could_never_fail_blocks_approval():
    wrong = [
        {"expect": "unique", "field": "idd", "severity": "block"},
        {"expect": "between", "field": "id", "least": 5, "most": 1, "severity": "warn"},
        {"expect": "matches", "field": "id", "pattern": "(a)\\1", "severity": "warn"},
    ]
    bad = admission.check(
        "dataset", DATASET | {"quality": wrong, "freshness": {"most_age_seconds": 1, "field": "when"}}
    )
    output = {check.name: check.output.splitlines() for check in bad if not check.passed}
    assert [line.split(":")[0] for line in output["fields"]] == ["quality/0", "freshness", "quality/1", "quality/2"]
    assert all(check.passed for check in admission.check("dataset", DATASET))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"symptoms": []}, "/content/symptoms"),
        ({"symptoms": [{"code": "a", "text": "b"}]}, "/content/symptoms/0"),
        ({"steps": [{"command": "reboot"}]}, "/content/steps/0"),
        ({"escalation": []}, "/content/escalation"),
    ],
)
def test_a_runbook_without_symptom_step_or_escalation_is_refused(build, changes, field):
    with pytest.raises(Refusal) as refused:
        build.version("runbook", "denied", RUNBOOK | changes)
    assert (refused.value.code, refused.value.field) == ("content_invalid", field)


def test_applying_manifests_proposes_a_runbook_until_it_is_approved(build, workspace, alice, tmp_path):
    document = {"apiVersion": "placet/v1", "kind": "runbook", "metadata": {"name": "denied"}, "spec": RUNBOOK}
    (tmp_path / "runbook.yaml").write_text(dump(document))

    def apply():
        return apply_manifests(workspace, tmp_path, actor=alice, propose="development", **build.how)[0]

    first, again = apply(), apply()
    assert first.proposal is not None and first.proposal == again.proposal
    build.approve(Proposal.objects.get(pk=first.proposal.pk), "bob")
    assert (apply().proposal, apply().live) == (None, True)
