"""Persons from the command line: a changed password, a linked identity and a reset are on record everywhere."""

from io import StringIO

import pytest
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.core.management import CommandError, call_command
from django.db import transaction

from audit import records
from audit.refusal import Refusal
from registry import memberships
from registry import people as persons
from registry.authentication import Authentication
from registry.models import FactorReset, Person
from tests.world import unrecordable

pytest_plugins = ["tests.shared"]


def command(*given, **environment):
    out = StringIO()
    call_command("person", *given, stdout=out)
    return out.getvalue()


def events(workspace):
    return [row.event for row in reversed(records.newest(workspace.pk, limit=200))]


@pytest.fixture
def second(people, now):
    """Another workspace, adam's alone, of which alice is a member too."""
    from registry import workspaces

    made = workspaces.init(f"s-{people['adam'].username}", "Second", admin=people["mallory"], now=now)
    memberships.add(made, people["alice"], actor=people["mallory"], now=now, correlation_id="test")
    return made


def add_factor(person):
    with transaction.atomic():
        return Authenticator.objects.create(user=person, type="totp", data={"secret": "sealed"})


def test_a_password_from_the_command_line_is_on_record_in_every_workspace(alice, workspace, second, monkeypatch):
    monkeypatch.setenv("PLACET_PASSWORD", "another-password-1")
    assert "has a new password" in command(alice.username)
    alice.refresh_from_db()
    assert alice.check_password("another-password-1")
    for place in (workspace, second):
        assert events(place)[-1] == "registry.password.changed"
        assert records.newest(place.pk, limit=1)[0].actor == "system:manage"


def test_a_password_that_cannot_be_recorded_stays(alice, workspace, refusing, monkeypatch):
    monkeypatch.setenv("PLACET_PASSWORD", "another-password-1")
    with unrecordable(), pytest.raises(Exception, match="No space left"):
        command(alice.username)
    alice.refresh_from_db()
    assert alice.check_password("correct horse")


def test_an_identity_can_be_linked_before_the_first_sign_in(alice, bob, workspace):
    assert "is linked" in command(alice.username, "--subject", f"sub-{alice.username}")
    assert SocialAccount.objects.get(uid=f"sub-{alice.username}").user == alice
    assert events(workspace)[-1] == "registry.identity.linked"
    with pytest.raises(CommandError, match="linked to somebody else"):
        command(bob.username, "--subject", f"sub-{alice.username}")


def test_a_person_of_the_provider_alone_has_no_password(db):
    name = "new-" + FactorReset().pk.hex[-8:]
    command(name, "--no-password", "--email", f"{name}@example.com", "--subject", name)
    person = Person.objects.get(username=name)
    assert not person.has_usable_password()
    assert SocialAccount.objects.get(uid=name).user == person


def test_lost_factors_are_reset_from_the_command_line_with_a_reason(alice, workspace):
    add_factor(alice)
    with pytest.raises(CommandError, match="no person"):
        command("nobody-of-that-name", "--reset-factors", "Lost.")
    assert "no second factor any more" in command(alice.username, "--reset-factors", "Came by in person.")
    assert not Authenticator.objects.filter(user=alice).exists()
    assert events(workspace)[-3:] == ["registry.factor.added", "registry.factor.removed", "registry.factor.reset"]
    assert FactorReset.objects.get(person=alice).confirmed_at is not None


def test_an_admin_resets_only_whom_no_other_workspace_trusts(alice, adam, bob, workspace, second, now):
    add_factor(alice)
    proof = Authentication(now, ("password",), enrolled=False)
    how = {"reason": "Lost phone.", "now": now, "correlation_id": "test", "proof": proof}
    for actor, code in ((bob, "role_missing"), (adam, "role_missing")):
        with pytest.raises(Refusal) as refused:
            persons.reset_factors(alice, by=actor, **how)
        assert refused.value.code == code
    assert Authenticator.objects.filter(user=alice).exists()
    add_factor(bob)
    persons.reset_factors(bob, by=adam, **how)
    assert not Authenticator.objects.filter(user=bob).exists()


def test_after_a_reset_no_role_counts_in_a_protected_environment_until_another_admin_agrees(
    alice, bob, adam, people, workspace, now
):
    how, fresh = {"now": now, "correlation_id": "test"}, Authentication(now, ("password",), enrolled=False)
    production = workspace.environments.get(name="production")
    anna = Person.objects.create_user(f"anna-{adam.username}")
    member = memberships.add(workspace, anna, actor=adam, **how)
    persons_admin = memberships.grant(member, "admin", environment=None, actor=adam, **how)
    bobs = bob.memberships.get(workspace=workspace).grants.get()
    bobs.confirmed_at = bobs.at
    bobs.save(update_fields=["confirmed_at"])
    assert "reviewer" in memberships.roles_of(bob, workspace.pk, production)
    reset = persons.reset_factors(bob, by=adam, reason="Lost phone.", proof=fresh, **how)
    assert memberships.roles_of(bob, workspace.pk, production) == frozenset()
    assert "reviewer" in memberships.roles_of(bob, workspace.pk, workspace.environments.get(name="development"))
    with pytest.raises(Refusal) as refused:
        persons.confirm_reset(reset, actor=adam, proof=fresh, **how)
    assert refused.value.code == "second_admin_needed"
    persons_admin.confirmed_at = persons_admin.at
    persons_admin.save(update_fields=["confirmed_at"])
    persons.confirm_reset(reset, actor=anna, proof=fresh, **how)
    assert "reviewer" in memberships.roles_of(bob, workspace.pk, production)
