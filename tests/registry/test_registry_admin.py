"""The back office looks and never touches."""

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from registry.back_office import way
from registry.models import Approval, Person, Proposal, Version

MODELS = [model for model in admin.site._registry if model._meta.app_label == "registry"]


@pytest.fixture
def staff(adam):
    adam.is_staff = adam.is_superuser = True
    adam.save()
    client = Client()
    client.force_login(adam)
    return client


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_superuser_sees_rows_and_can_add_change_or_delete_none(staff, build, people, model):
    build.approve(build.propose(build.version()), "bob")
    name = f"admin:registry_{model._meta.model_name}"
    assert staff.get(reverse(f"{name}_changelist")).status_code == 200
    row = model._default_manager.filter(**{way(model): build.workspace.pk}).order_by("-pk").first()
    if row is None:
        return
    page = staff.get(reverse(f"{name}_change", args=[row.pk]))
    assert page.status_code == 200
    assert b'name="_save"' not in page.content
    assert staff.get(reverse(f"{name}_add")).status_code == 403
    assert staff.post(reverse(f"{name}_add"), {}).status_code == 403
    assert staff.post(reverse(f"{name}_change", args=[row.pk]), {"_save": "Save"}).status_code == 403
    assert staff.post(reverse(f"{name}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
    action = {"action": "delete_selected", "_selected_action": [str(row.pk)]}
    staff.post(reverse(f"{name}_changelist"), action)
    assert model._default_manager.filter(pk=row.pk).exists()


def test_an_admin_with_every_flag_cannot_approve_in_the_back_office(staff, build, people):
    alice, client = people["adam"], staff
    proposal = build.propose(build.version())
    row = {
        "proposal": proposal.pk,
        "version": proposal.version_id,
        "digest": proposal.version.digest,
        "approver": alice.pk,
        "role": "reviewer",
        "verdict": "approve",
        "at": build.how["now"].isoformat(),
        "expires_at": build.how["now"].isoformat(),
    }
    assert client.post(reverse("admin:registry_approval_add"), row).status_code == 403
    change = reverse("admin:registry_proposal_change", args=[proposal.pk])
    assert client.post(change, {"state": "approved"}).status_code == 403
    assert not Approval.objects.filter(proposal=proposal).exists()
    assert Proposal.objects.get(pk=proposal.pk).state == "open"


def test_history_is_shown_and_reverts_nothing(staff, build, people):
    proposal = build.propose(build.version())
    build.approve(proposal, "bob")
    assert proposal.history.count() == 2
    past = proposal.history.order_by("history_date").first()
    shown = staff.get(reverse("admin:registry_proposal_history", args=[proposal.pk]))
    assert shown.status_code == 200
    back = reverse("admin:registry_proposal_simple_history", args=[proposal.pk, past.history_id])
    assert staff.get(back).status_code == 200
    assert staff.post(back, {"state": "open"}).status_code == 403
    assert Proposal.objects.get(pk=proposal.pk).state == "approved"


def test_flags_of_a_person_do_not_open_the_back_office(people, workspace):
    alice, client = people["alice"], Client()
    alice.is_staff = alice.is_superuser = True
    alice.save()
    client.force_login(alice)
    assert client.get(reverse("admin:registry_person_changelist")).status_code == 404
    client.force_login(people["adam"])
    assert client.get(reverse("admin:registry_person_changelist")).status_code == 200


def test_no_page_shows_a_password_hash(staff, people):
    page = staff.get(reverse("admin:registry_person_change", args=[people["bob"].pk]))
    assert people["bob"].password.encode() not in page.content
    assert Person.objects.get(pk=people["bob"].pk).password.encode() not in page.content


def test_the_history_of_a_person_keeps_no_password(people):
    names = {field.name for field in people["bob"].history.model._meta.fields}
    assert "password" not in names
    assert "last_login" not in names


def test_content_is_not_dumped_into_forms(staff, build):
    version = build.version()
    page = staff.get(reverse("admin:registry_version_change", args=[version.pk]))
    assert b"Show the log of a repository" not in page.content
    assert version.digest.encode() in page.content
    assert Version.objects.filter(pk=version.pk).exists()
