"""What is registered, where it is live, and what one version is made of."""

import html
import re

from registry.views import catalogue
from tests.pages.reading import words
from tests.registry.builders import publish


def test_artifacts_say_where_they_are_live_alone_or_in_a_release(build, visitor, workspace, people):
    build.live(build.release([build.version("tool", "git_log"), build.version("prompt", "system")]))
    build.version("tool", "git_log", timeout_ms=900)
    bob = visitor(people["bob"])
    text = words(bob.get(f"/w/{workspace.slug}/artifacts/"))
    assert "steward 1 development version 1" in text
    assert "git_log 2 development in steward 1" in text
    only = words(bob.get(f"/w/{workspace.slug}/artifacts/?kind=tool&q=git"))
    assert "Tools git_log 2" in only and "steward-policy" not in only
    assert "Nothing is registered that fits." in words(bob.get(f"/w/{workspace.slug}/artifacts/?q=zzz"))
    live = words(bob.get(f"/w/{workspace.slug}/releases/"))
    assert (
        "steward release version 1" in live
        and "activate by Olga Bob reviewer nothing" in live
        and "Nothing is live here: every call is denied." in live
    )


def test_a_version_shows_content_use_and_state_and_compares_with_another(build, visitor, workspace, people):
    build.version("tool", "git_log")
    tool = build.version("tool", "git_log", timeout_ms=900, risk="medium")
    build.release([tool])
    bob, where = visitor(people["bob"]), f"/w/{workspace.slug}/artifacts/tool/git_log/"
    listed = words(bob.get(where))
    assert "Version 2" in listed and "Version 1" in listed and "available" in listed
    whole = bob.get(f"{where}2/")
    assert tool.digest in whole.content.decode() and '"timeout_ms" : 900' in words(whole)
    assert "Used by steward 1" in words(whole) and "passed" in words(whole)
    compared = words(bob.get(f"{where}2/?against=1"))
    assert "Against version 1" in compared and "/timeout_ms not there 900" in compared
    assert bob.get(f"{where}2/?against=99999").status_code == 200
    assert bob.get(f"{where}2/?against=²").status_code == 200
    assert bob.get(f"{where}9/").status_code == 404


def test_a_long_registry_is_read_page_by_page_and_every_artifact_stands_on_one(
    build, visitor, workspace, people, monkeypatch
):
    monkeypatch.setattr(catalogue, "PAGE", 2)
    names = [("prompt", "a"), ("prompt", "b"), ("tool", "a"), ("tool", "c"), ("model", "a")]
    for kind, name in names:
        build.version(kind, name)
    bob, where, seen = visitor(people["bob"]), f"/w/{workspace.slug}/artifacts/", []
    while where:
        page = bob.get(where).content.decode()
        seen += re.findall(rf'href="/w/{workspace.slug}/artifacts/(\w+)/(\w+)/"', page)
        more = re.search(r'href="([^"]+)" rel="next"', page)
        where = f"/w/{workspace.slug}/artifacts/{html.unescape(more[1])}" if more else ""
    assert [one for one in seen if one in names] == names


def test_nobody_sees_another_workspace_s_artifacts(build, visitor, steward, people):
    build.version("tool", "very_own")
    where = f"/w/{steward.workspace.slug}/artifacts/"
    assert visitor(people["bob"]).get(where).status_code == 404
    assert visitor(steward.people["bob"]).get(f"{where}tool/very_own/").status_code == 404


def test_settings_name_roles_and_what_does_not_count_yet(visitor, workspace, people):
    text = words(visitor(people["bob"]).get(f"/w/{workspace.slug}/settings/"))
    assert "Alice" in text and "author unconfirmed" in text
    assert "production protected" in text and "No agent has a credential yet." in text


def test_the_releases_say_how_far_an_activation_is_and_what_was_there_before(build, visitor, workspace, people, now):
    from registry import activations
    from registry.models import Pdp

    first, second = build.release(), build.release(budgets={"steps": 9})
    build.live(first)
    proposal = build.propose(second)
    build.approve(proposal, "bob")
    olga, where = visitor(people["olga"]), f"/w/{workspace.slug}/releases/"
    activation = activations.request(proposal, actor=people["olga"], **build.how)
    assert "steward 2 is on its way." in words(olga.get(where)) and "bundle being published" in words(olga.get(where))
    tag = olga.get(where, headers={"HX-Request": "true", "HX-Target": "places"}).headers["ETag"]
    Pdp.objects.create(kind="embedded", name="slow", environment=build.environment(), revision="old", last_seen=now)
    publish(activation, "r-2")
    waits = olga.get(where, headers={"HX-Request": "true", "HX-Target": "places", "If-None-Match": tag})
    assert "0 decision points have it; waiting for embedded slow" in words(waits)
    Pdp.objects.filter(environment=build.environment(), name="slow").update(revision="r-2", last_seen=now)
    assert activations.finish(activation, **build.how).state == "live"
    text = words(olga.get(where))
    assert "is on its way" not in text and "Bob reviewer version 1" in text
