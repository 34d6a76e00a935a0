"""What changed on a row, for people: field by field, with the record that proves it, and saying that it is no proof."""

import uuid

from registry import memberships, workspaces
from tests.pages.reading import words


def test_a_protected_environment_shows_who_protected_it_with_its_record(visitor, adam, bob, workspace, now):
    how = {"actor": adam, "now": now, "correlation_id": "test"}
    row = workspaces.add_environment(workspace, "canary", protected=False, **how)
    workspaces.protect(row, **how)
    there = f"/w/{workspace.slug}/changes/environment/{row.pk}/"
    text = words(visitor(adam).get(there))
    assert "This is a convenience, not evidence" in text
    assert "protected False True" in text
    assert "registry.environment.protected" in text and "registry.environment.created" in text
    assert there in visitor(adam).get(f"/w/{workspace.slug}/settings/").content.decode()
    seen = words(visitor(bob).get(there))
    assert "protected False True" in seen and "which you may not read" in seen
    assert "registry.environment.protected" not in seen


def test_a_switched_off_membership_shows_it(visitor, adam, alice, workspace, now):
    member = alice.memberships.get(workspace=workspace)
    memberships.deactivate(member, actor=adam, now=now, correlation_id="test")
    text = words(visitor(adam).get(f"/w/{workspace.slug}/changes/membership/{member.pk}/"))
    assert "active True False" in text and "registry.membership.deactivated" in text


def test_rows_of_others_and_unknown_kinds_are_not_there(visitor, adam, mallory, workspace, now):
    other = workspaces.init(f"o-{workspace.slug}", "Other", admin=mallory, now=now)
    foreign = other.environments.get(name="production")
    browser = visitor(adam)
    for kind, pk in (("environment", foreign.pk), ("person", adam.pk), ("environment", uuid.uuid4())):
        assert browser.get(f"/w/{workspace.slug}/changes/{kind}/{pk}/").status_code == 404
    assert visitor(mallory).get(f"/w/{other.slug}/changes/environment/{foreign.pk}/").status_code == 200
