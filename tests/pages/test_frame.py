"""What every page shares: the search, the switch of environments, and parts that are fetched again if they moved."""

import pytest

from gateway.models import Call
from tests.pages.reading import hidden, words


@pytest.fixture
def find(visitor, steward, there):
    """Return a function: what the search answers somebody."""

    def search(text, name="bob"):
        return visitor(steward.people[name]).get(there("search/"), {"q": text})

    return search


@pytest.fixture
def release(steward):
    from registry.models import Slot

    return Slot.objects.get(workspace=steward.workspace, artifact__kind="agent").version


def test_an_artifact_is_found_by_a_part_of_its_name_and_a_version_by_its_digest(find, release):
    text = words(find("git_co"))
    assert "Artifacts 1" in text and "git_commit" in text and "git_log" not in text
    version = release
    digits = version.digest.removeprefix("sha256:")
    assert f"{version.name} {version.number}" in words(find(digits[:12]))
    for whole in (digits, version.digest, f"  {version.digest} "):
        assert find(whole).headers["Location"].endswith(f"/artifacts/agent/{version.name}/{version.number}/")


def test_a_call_is_found_by_its_id_the_beginning_of_it_and_its_correlation_id(find, steward, there):
    call = Call.objects.get(pk=steward.call(steward.agent(), "git_log", arguments={"count": 2}).call)
    address = there(f"calls/{call.pk}/")
    assert find(str(call.pk)).headers["Location"] == address
    assert address in find(str(call.pk)[:20]).content.decode()
    correlated = find(call.correlation_id)
    assert address in correlated.content.decode() or correlated.headers.get("Location") == address


def test_records_are_found_by_who_may_read_the_trail_alone(find, steward):
    from audit import records

    record = records.newest(steward.workspace.pk, limit=1)[0]
    assert find(str(record.id), "dave").headers["Location"].endswith(f"/trail/{record.id}/")
    refused = find(str(record.id), "bob")
    assert refused.status_code == 200 and f"/trail/{record.id}/" not in refused.content.decode()
    assert "Records" in words(find(str(record.id)[:14], "dave"))


def test_nothing_of_another_workspace_is_found(visitor, workspace, bob, steward, build, release):
    build.version("tool", "very_own")
    call = steward.call(steward.agent(), "git_log", arguments={"count": 1}).call
    for text in (str(call), "git_commit", release.digest):
        answer = visitor(bob).get(f"/w/{workspace.slug}/search/", {"q": text})
        assert answer.status_code == 200 and "Nothing fits." in words(answer), text
    assert "very_own" in words(visitor(bob).get(f"/w/{workspace.slug}/search/", {"q": "ERY_OW"}))


@pytest.mark.parametrize("text", ["", "%", "_", "sha256:", "' OR 1=1 --", "g" * 500, "🙂", "0" * 33])
def test_whatever_is_typed_is_answered(find, text):
    assert find(text).status_code == 200


def test_the_choice_of_an_environment_holds_for_this_workspace_and_is_said_on_each_list(
    visitor, people, build, workspace
):
    build.propose(build.version("prompt", "system"), "staging")
    build.propose(build.version("prompt", "welcome"))
    bob, home = visitor(people["bob"]), f"/w/{workspace.slug}/"
    both = words(bob.get(f"{home}proposals/"))
    assert "system" in both and "welcome" in both and "is shown" not in both
    chosen = bob.post(f"{home}environment/", {"environment": "staging", "next": f"{home}proposals/"})
    assert chosen.headers["Location"] == f"{home}proposals/"
    assert bob.cookies["placet_environment"]["path"] == home
    one = words(bob.get(f"{home}proposals/"))
    assert "Only staging is shown." in one and "system" in one and "welcome" not in one
    assert "system" in words(bob.get(home)) and "welcome" not in words(bob.get(home))
    assert hidden(bob.get(f"{home}proposals/"), "next") == f"{home}proposals/"
    bob.post(f"{home}environment/", {"environment": "", "next": "https://example.org/"})
    assert "welcome" in words(bob.get(f"{home}proposals/"))
    assert bob.post(f"{home}environment/", {"environment": "<b>"}).headers["Location"] == home


def test_the_queue_s_script_gets_the_list_alone_and_nothing_while_nothing_moved(visitor, people, build, workspace):
    bob, where = visitor(people["bob"]), f"/w/{workspace.slug}/proposals/"
    ask = {"HX-Request": "true", "HX-Target": "queue"}
    part = bob.get(where, headers=ask)
    assert part.headers["Placet-Part"] == "queue" and "<main" not in part.content.decode()
    tag = part.headers["ETag"]
    assert tag.strip('"') in bob.get(where).content.decode()
    assert bob.get(where, headers=ask | {"If-None-Match": tag}).status_code == 304
    build.propose(build.version("prompt", "system"))
    moved = bob.get(where, headers=ask | {"If-None-Match": tag})
    assert moved.status_code == 200 and "system" in words(moved) and moved.headers["ETag"] != tag
    assert visitor(people["mallory"]).get(where, headers=ask).status_code == 404
