"""A version is written in the browser: what is wrong stands at its field, nothing typed is lost."""

import html
import json

import pytest

from registry import versions
from registry.models import Proposal, Version
from tests.pages import scene
from tests.pages.reading import actions, read, words
from tests.registry import builders


@pytest.fixture
def at(workspace):
    """Return a function: the address of a version's page, with what follows."""
    return lambda version, rest="": (
        f"/w/{workspace.slug}/artifacts/{version.kind}/{version.name}/{version.number}/{rest}"
    )


def typed(answer):
    """Return what stands in the text areas of a page, by name, as a browser would send it back."""
    text, found = answer.content.decode(), {}
    for tag, attrs in read(answer).tags:
        if tag == "textarea":
            start = text.index(f'name="{attrs["name"]}"')
            inner = text[text.index(">", start) + 1 : text.index("</textarea>", start)]
            found[attrs["name"]] = html.unescape(inner.removeprefix("\n"))
    return found


def test_a_prompt_is_edited_stored_and_proposed_in_one_step(build, at, visitor, people, workspace, trail):
    version = build.version("prompt", "system", template=scene.PROMPT_BEFORE)
    alice = visitor(people["alice"])
    form = typed(alice.get(at(version, "edition/")))
    assert form["template"] == scene.PROMPT_BEFORE and "variables" in form["rest"]
    given = form | {"template": scene.PROMPT_AFTER.replace("\n", "\r\n"), "propose": "staging", "reason": "Safer."}
    made = alice.post(at(version, "edition/"), given)
    second = Version.objects.get(workspace=workspace, name="system", number=2)
    assert versions.content_of(second)["template"] == scene.PROMPT_AFTER
    proposal = Proposal.objects.get(version=second)
    assert made.headers["Location"] == f"/w/{workspace.slug}/proposals/{proposal.pk}/"
    assert (proposal.environment.name, proposal.reason) == ("staging", "Safer.")
    assert trail() == ["registry.version.created", "registry.version.created", "registry.proposal.opened"]
    unchanged = alice.post(at(second, "edition/"), typed(alice.get(at(second, "edition/"))) | {"propose": ""})
    assert unchanged.headers["Location"] == at(second)
    assert "no new one was made" in words(alice.get(at(second)))


def test_what_is_wrong_stands_at_its_field_and_nothing_typed_is_lost(build, at, visitor, people, workspace):
    version = build.version("prompt", "system")
    alice = visitor(people["alice"])
    form = typed(alice.get(at(version, "edition/")))
    for changes, where, said in (
        ({"template": "Mind {{nobody}}."}, "template", "does not declare"),
        ({"rest": "{"}, "rest", "JSON"),
        ({"rest": "[]"}, "rest", "in braces"),
        ({"rest": json.dumps({"variables": {"type": "object"}, "surprise": 1})}, "rest", "Remove it"),
    ):
        given = form | changes | {"reason": "Because."}
        refused = alice.post(at(version, "edition/"), given)
        assert refused.status_code == 400 and said in words(refused)
        invalid = [attrs["name"] for tag, attrs in read(refused).tags if attrs.get("aria-invalid")]
        assert invalid == [where]
        assert typed(refused) == {name: given[name] for name in form}
    assert Version.objects.filter(workspace=workspace, name="system").count() == 1


def test_a_policy_is_edited_module_by_module_and_its_checks_are_shown(build, at, visitor, people, workspace):
    version = build.version("policy", "guard", builders.policy())
    alice = visitor(people["alice"])
    form = typed(alice.get(at(version, "edition/")))
    assert {"modules:policy.rego", "tests:policy_test.rego", "rest"} <= set(form)
    wider = form | {"modules:policy.rego": form["modules:policy.rego"] + "\nwide if true\n"}
    made = alice.post(at(version, "edition/"), wider)
    assert made.headers["Location"] == at(Version.objects.get(workspace=workspace, name="guard", number=2))
    broken = form | {"modules:policy.rego": "package policy\n\nallow if {"}
    alice.post(at(version, "edition/"), broken)
    third = Version.objects.get(workspace=workspace, name="guard", number=3)
    assert "failed" in words(alice.get(at(third)))


def test_a_release_takes_another_version_of_a_part(build, at, visitor, people, workspace):
    old = build.version("prompt", "system", template=scene.PROMPT_BEFORE)
    release = build.release([old, build.version()])
    new = build.version("prompt", "system", template=scene.PROMPT_AFTER)
    alice = visitor(people["alice"])
    page = alice.get(at(release, "edition/"))
    assert new.digest in page.content.decode()
    pins = {f"pin:{part.kind}:{part.name}": part.digest for part in versions.parts_of(release)}
    given = typed(page) | pins | {"pin:prompt:system": new.digest, "pin:tool:git_log": "", "propose": "development"}
    assert alice.post(at(release, "edition/"), given).status_code == 302
    second = Version.objects.get(workspace=workspace, kind="agent", number=2)
    parts = {part.name: part.digest for part in versions.parts_of(second)}
    assert parts["system"] == new.digest and "git_log" not in parts
    assert Proposal.objects.filter(version=second, environment__name="development").exists()


def test_who_is_no_author_stores_nothing(build, at, visitor, people, workspace):
    version = build.version("prompt", "system")
    bob = visitor(people["bob"])
    page = bob.get(at(version, "edition/"))
    assert page.status_code == 200 and "needs the role author" in words(page)
    refused = bob.post(at(version, "edition/"), typed(page) | {"template": "Mine."})
    assert refused.status_code == 403 and "role_missing" in words(refused) and typed(refused)["template"] == "Mine."
    assert Version.objects.filter(workspace=workspace, name="system").count() == 1
    assert at(version, "edition/") not in bob.get(at(version)).content.decode()


def test_ends_and_the_way_back_are_offered_to_who_may_and_refused_to_others(build, at, visitor, people):
    first, second = build.release(), build.release(budgets={"steps": 9})
    build.live(first)
    build.live(second)
    olga, bob = visitor(people["olga"]), visitor(people["bob"])
    back, end = at(first, "rollback/"), at(first, "lifecycle/")
    assert {back, end} <= set(actions(olga.get(at(first)))) and not {back, end} & set(actions(bob.get(at(first))))
    given = {"digest": first.digest, "environment": "development", "reason": "The new one loops."}
    assert "role_missing" in words(bob.post(back, given))
    assert "reason_missing" in words(olga.post(back, given | {"reason": " "}))
    assert "digest_mismatch" in words(olga.post(back, given | {"digest": second.digest}))
    assert olga.post(back, given).status_code == 302
    assert first.activations.get(kind="rollback").state == "requested"
    refused = olga.post(end, {"digest": first.digest, "state": "revoked", "reason": "Leaky."})
    assert refused.status_code == 403 and "role_missing" in words(refused)
    carol = visitor(people["carol"])
    assert carol.post(end, {"digest": first.digest, "state": "revoked", "reason": "Leaky."}).status_code == 302
    first.lifecycle.refresh_from_db()
    assert first.lifecycle.state == "revoked"
    assert back not in actions(olga.get(at(first)))
