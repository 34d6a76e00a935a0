"""Versions: validated on entry, named by digest, never changed, invisible to other workspaces."""

import json
import random
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import DatabaseError, connection, connections, transaction
from django.db.models import ProtectedError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.refusal import Refusal
from registry import content, digest, versions, workspaces
from registry.models import Artifact, Lifecycle, Version
from tests.registry.builders import CHARTER, MODEL, PROMPT, TOOL, policy

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


def shuffled(value, source):
    """Return an equal value whose members were inserted in another order."""
    if isinstance(value, dict):
        members = list(value.items())
        source.shuffle(members)
        return {key: shuffled(member, source) for key, member in members}
    if isinstance(value, list):
        return [shuffled(member, source) for member in value]
    return value


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=5), st.randoms(use_true_random=False))
def test_the_digest_depends_on_the_value_alone_not_on_its_order_or_spelling(value, source):
    named = digest.of("tool", "x", value)
    assert digest.of("tool", "x", shuffled(value, source)) == named
    assert digest.of("tool", "x", json.loads(json.dumps(value))) == named
    assert digest.of("tool", "x", json.loads(json.dumps(value, ensure_ascii=False, indent=3))) == named


@given(st.dictionaries(st.text(max_size=8), JSON, min_size=1, max_size=5), JSON)
def test_other_content_another_kind_or_another_name_has_another_digest(value, other):
    named = digest.of("tool", "x", value)
    assert digest.of("model", "x", value) != named
    assert digest.of("tool", "y", value) != named
    key = next(iter(value))
    if json.dumps(value[key]) != json.dumps(other):
        changed = value | {key: other}
        assert (digest.of("tool", "x", changed) == named) == (changed == value and type(value[key]) is type(other))


def test_the_same_bytes_are_the_same_version_and_an_edit_is_a_new_one(build):
    first = build.version()
    again = build.version(content=shuffled(TOOL, random.Random(1)))
    edited = build.version(description="Another text.")
    assert again.pk == first.pk
    assert (edited.number, first.number) == (2, 1)
    assert edited.digest != first.digest
    assert Artifact.objects.get(pk=first.artifact_id).count == 2


def test_two_threads_that_bring_the_same_bytes_get_one_version(build, workspace):
    name = f"t{secrets.token_hex(3)}"

    def bring(_):
        try:
            return build.version(name=name).pk
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(bring, range(4)))
    assert len(found) == 1
    assert Version.objects.filter(workspace=workspace, name=name).count() == 1
    assert Artifact.objects.get(workspace=workspace, name=name).count == 1


@pytest.mark.parametrize("alias", ["default", "owner"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE registry_version SET content = 'x' WHERE id = %s",
        "UPDATE registry_version SET digest = digest WHERE id = %s",
        "DELETE FROM registry_version WHERE id = %s",
        "TRUNCATE registry_version CASCADE",
        "UPDATE registry_contributor SET person_id = NULL WHERE version_id = %s",
        "DELETE FROM registry_contributor WHERE version_id = %s",
        "DELETE FROM registry_check WHERE version_id = %s",
        "UPDATE registry_check SET passed = true WHERE version_id = %s",
        "DELETE FROM registry_lifecycle WHERE version_id = %s",
    ],
)
def test_nobody_changes_a_version_or_what_is_known_about_it(build, alias, statement):
    if alias == "owner" and "lifecycle" in statement:
        statement = "UPDATE registry_lifecycle SET state = 'retired' WHERE version_id = %s"
    version = build.version()
    with (
        pytest.raises(DatabaseError, match=r"permission denied|never change|cannot go"),
        transaction.atomic(using=alias),
        connections[alias].cursor() as cursor,
    ):
        cursor.execute(statement, [version.pk] if "%s" in statement else [])
    assert bytes(Version.objects.get(pk=version.pk).content) == bytes(version.content)


def test_a_version_cannot_be_changed_through_the_orm_either(build):
    version = build.version()
    version.digest = "sha256:" + "0" * 64
    with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        version.save()
    with pytest.raises(ProtectedError), transaction.atomic():
        version.delete()
    with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        Version.objects.filter(pk=version.pk)._raw_delete("default")


def test_another_workspace_sees_no_version_even_by_its_digest(build, people, now):
    version = build.version()
    other = workspaces.init(f"o-{secrets.token_hex(4)}", "Other", admin=people["mallory"], now=now)
    assert versions.by_digest(version.workspace_id, version.digest) == version
    with pytest.raises(Refusal) as refused:
        versions.by_digest(other.pk, version.digest)
    assert (refused.value.code, refused.value.status) == ("not_found", 404)


def test_only_an_author_brings_versions(build):
    for stranger in ("mallory", "bob", "adam"):
        with pytest.raises(Refusal) as refused:
            build.version(actor=stranger)
        assert refused.value.status == (404 if stranger == "mallory" else 403)
    assert build.version(actor="alice").number == 1


BAD = [
    ("tool", {"effect": "sometimes"}, "/content/effect", "listed"),
    ("tool", {"transport": {"kind": "mcp", "launcher": "git"}}, "/content/transport", "'tool'"),
    ("tool", {"transport": {"kind": "mcp", "command": "rm"}}, "/content/transport", "member"),
    ("tool", {"secret": "x"}, "/content", "Remove it"),
    ("tool", {"input_schema": {"type": "array"}}, "/content/input_schema", "object"),
    ("tool", {"input_schema": {"type": "object", "properties": 3}}, "/content/input_schema", "Correct it"),
    ("tool", {"input_schema": {"type": "object", "$ref": "http://x/y"}}, "/content/input_schema", "within"),
    ("tool", {"effect": "keyed"}, "/content", "'dedup_window_s'"),
    ("tool", {"timeout_ms": 1.5}, "/content/timeout_ms", "integer"),
    ("tool", {"effect": "unsafe", "retry": {"attempts": 2}}, "/content/retry/attempts", "listed"),
    ("model", {"script": None}, "/content/script", "array"),
    ("model", {"prices": {}}, "/content/prices", "Add the member"),
    ("model", {"provider": "openai"}, "/content", "endpoint"),
    ("prompt", {"template": "Hello {{nobody}}"}, "/content/template", "Declare"),
    ("policy", {"modules": {"../x.rego": "package policy"}}, "/content/modules", "fit"),
    ("charter", {"approval_ttl_hours": 0}, "/content/approval_ttl_hours", "fit"),
    (
        "charter",
        {"quorum": {"default": {"approvals": 1, "roles": ["reviewer", "security"]}}},
        "/content/quorum/default/approvals",
        "2 or more",
    ),
]


@pytest.mark.parametrize(("kind", "change", "field", "remedy"), BAD)
def test_bad_content_is_refused_with_its_field_and_a_remedy(build, kind, change, field, remedy):
    good = {"tool": TOOL, "model": MODEL, "prompt": PROMPT, "charter": CHARTER, "policy": policy()}[kind]
    with pytest.raises(Refusal) as refused:
        build.version(kind, "charter" if kind == "charter" else "x", {**good, **change})
    assert refused.value.code == "content_invalid"
    assert refused.value.field == field
    assert remedy in refused.value.detail
    assert not Version.objects.filter(workspace=build.workspace, kind=kind, name="x").exists()


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"description": float("nan")}, "content_invalid"),
        ({"description": 2**60}, "content_invalid"),
        ({"description": "\ud800"}, "content_invalid"),
        ({"description": "x" * 600_000}, "content_too_large"),
        ([], "content_invalid"),
        (None, "content_invalid"),
    ],
)
def test_what_is_no_plain_json_of_bounded_size_is_refused(build, workspace, people, value, code):
    document = TOOL | value if isinstance(value, dict) else value
    with pytest.raises(Refusal) as refused:
        versions.create(workspace, kind="tool", name="x", content=document, actor=people["alice"], **build.how)
    assert refused.value.code == code


def test_deep_content_is_refused(build):
    deep: dict[str, object] = {}
    for _ in range(40):
        deep = {"properties": deep}
    with pytest.raises(Refusal) as refused:
        build.version(input_schema={"type": "object", "properties": {"x": deep}})
    assert refused.value.code == "content_invalid"


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 129, "-x", "é"])
def test_a_name_that_could_mislead_is_refused(build, name):
    with pytest.raises(Refusal) as refused:
        build.version(name=name)
    assert refused.value.code == "name_invalid"


def test_an_unknown_kind_is_refused(build):
    with pytest.raises(Refusal) as refused:
        build.version("weather", "x", {})
    assert refused.value.code == "kind_unknown"


def test_every_kind_has_a_schema_that_is_one():
    import jsonschema_rs

    for path in Path(content.SCHEMAS).glob("*.json"):
        assert jsonschema_rs.meta.is_valid(content.schema(path.stem)), path
        assert content.schema(path.stem)["additionalProperties"] is False


def test_a_release_pins_what_the_workspace_has(build, people, now):
    tool = build.version()
    release = build.release([tool])
    assert {part.pk for part in versions.parts_of(release)} >= {tool.pk}
    missing = {"kind": "tool", "name": "git_log", "digest": "sha256:" + "a" * 64}
    with pytest.raises(Refusal) as refused:
        build.version("agent", "steward", {"pins": [*versions.content_of(release)["pins"][1:], missing], "budgets": {}})
    assert (refused.value.code, refused.value.field) == ("pin_unknown", "/content/pins/1")


def test_a_release_may_not_pin_the_digest_of_another_name_or_workspace(build, people, now):
    tool = build.version()
    other = workspaces.init(
        f"o-{secrets.token_hex(4)}", "Other", admin=people["adam"], now=now, members=[(people["alice"], "author", None)]
    )
    policy_version = build.version("policy", "p", policy())
    pins = [{"kind": "policy", "name": "p", "digest": policy_version.digest}]
    for name, place in (("other_name", build.workspace), ("git_log", other)):
        document = {"pins": [*pins, {"kind": "tool", "name": name, "digest": tool.digest}], "budgets": {}}
        with pytest.raises(Refusal) as refused:
            versions.create(place, kind="agent", name="a", content=document, actor=people["alice"], **build.how)
        assert refused.value.code == "pin_unknown"


def test_a_release_has_exactly_one_policy_and_pins_nothing_twice(build):
    tool = build.version()
    pin = {"kind": "tool", "name": tool.name, "digest": tool.digest}
    first, second = (build.version("policy", name, policy()) for name in ("p", "q"))
    pins = [{"kind": "policy", "name": each.name, "digest": each.digest} for each in (first, second)]
    for bad in ([pin], [*pins], [pin, pin, pins[0]]):
        with pytest.raises(Refusal) as refused:
            build.version("agent", "a", {"pins": bad, "budgets": {}})
        assert refused.value.code == "content_invalid"


def test_a_tool_that_names_a_compensation_is_released_with_it(build):
    tool = build.version(name="write", compensation={"tool": "unwrite", "arguments": {}})
    with pytest.raises(Refusal) as refused:
        build.release([tool])
    assert refused.value.code == "pin_missing"
    assert build.release([tool, build.version(name="unwrite")]).number == 1


def test_a_life_ends_step_by_step_and_revocation_is_final(build, people):
    version = build.version()
    with pytest.raises(Refusal) as refused:
        versions.retire(version, actor=people["olga"], reason="old", **build.how)
    assert refused.value.code == "transition_refused"
    assert versions.deprecate(version, actor=people["alice"], reason="old", **build.how).state == "deprecated"
    assert versions.retire(version, actor=people["olga"], reason="older", **build.how).state == "retired"
    assert versions.revoke(version, actor=people["carol"], reason="leaks", **build.how).state == "revoked"
    for end in (versions.deprecate, versions.retire):
        with pytest.raises(Refusal):
            end(version, actor=people["olga"], reason="x", **build.how)
    assert Lifecycle.objects.get(pk=version.pk).state == "revoked"


def test_an_author_cannot_revoke_and_every_end_has_a_reason(build, people):
    version = build.version()
    with pytest.raises(Refusal) as refused:
        versions.revoke(version, actor=people["alice"], reason="x", **build.how)
    assert refused.value.code == "role_missing"
    with pytest.raises(Refusal) as refused:
        versions.revoke(version, actor=people["carol"], reason=" ", **build.how)
    assert refused.value.code == "reason_missing"


def test_a_revoked_part_cannot_be_pinned(build, people):
    tool = build.version()
    versions.revoke(tool, actor=people["carol"], reason="leaks", **build.how)
    with pytest.raises(Refusal) as refused:
        build.release([tool])
    assert refused.value.code == "version_revoked"


def test_each_change_is_a_record_and_a_second_identical_create_is_none(build, workspace, trail):
    build.version()
    build.version()
    assert trail() == ["registry.version.created"]


def test_no_record_of_a_version_holds_a_name_or_an_address(build, people, workspace, trail):
    origin = {"repository": "https://example.com/r.git", "commit": "a" * 40, "identities": ["Eve <eve@example.net>"]}
    versions.create(
        workspace, kind="tool", name="x", content=TOOL, actor=people["alice"], provenance=origin, **build.how
    )
    with connection.cursor() as cursor:
        cursor.execute("SELECT body FROM audit_record WHERE workspace = %s", [workspace.pk])
        bodies = b"".join(bytes(row[0]) for row in cursor.fetchall())
    assert b"eve@example.net" not in bodies
    assert people["alice"].email.encode() not in bodies
    assert str(people["alice"].pk).encode() in bodies


settings.register_profile("registry", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("registry")
