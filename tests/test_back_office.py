"""The back office shows operators and admins their own rows and takes nothing from anybody: at every address."""

import re
from functools import cache

import pytest
from django.apps import apps
from django.urls import URLResolver, get_resolver

from registry import back_office
from registry.models import Person
from tests import state
from tests.world import ROLES

pytest_plugins = ["tests.shared"]
# What an admin is answered to a GET, by the end of the address' name.
SHOWN = {
    "index": 200,
    "app_list": 200,
    "changelist": 200,
    "change": 200,
    "history": 200,
    "simple_history": 200,
    "jsi18n": 200,
    "add": 403,
    "delete": 403,
    "autocomplete": 403,
    "login": 302,
    "redirect": 302,
    "view_on_site": 404,
    "catch_all": 404,
    "logout": 405,
    # A password is changed by its owner's operator: `manage.py person`.
    "password_change": 404,
    "password_change_done": 404,
}


def addresses(resolver=None, prefix=""):
    """Yield (route, name) of every address of the back office."""
    for pattern in (resolver or get_resolver()).url_patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            if resolver is not None or pattern.app_name == "admin":
                yield from addresses(pattern, route)
        elif resolver is not None:
            yield route, pattern.name or ("redirect" if "object_id" in route else "catch_all")


ADDRESSES = list(addresses())


@cache
def path(route, workspace):
    """Return an address that leads to a row of the workspace, where there is one."""
    named = re.match(r"admin/(registry|gateway|agents|operations)/(\w+)/", route)
    model = apps.get_model(*named.groups()) if named else None
    rows = model._default_manager.filter(**{back_office.way(model): workspace}) if model else None
    row = rows.order_by("pk").last() if rows is not None else None
    if "/history/(" in route:
        # Some rows were written without history (the executor's credentials): take the latest that has one.
        past = model.history.filter(id__in=rows.values("pk")).order_by("history_id").last()
        return f"/{route.split('^')[0]}{past.id}/history/{past.history_id}/" if past else None
    route = route.replace("<path:object_id>", str(row.pk) if row else "1").replace("<path:content_type_id>", "1")
    return "/" + re.sub(r"\^\(\?P<app_label>.*", "registry/", route).replace("(?P<url>.*)$", "nowhere")


# Enough of every form: a change, a deletion, an action on rows, a new password.
BODY = (
    "_save=1&post=yes&name=x&state=approved&role=admin&is_superuser=on&username=x&action=delete_selected&select_across=1"
    "&old_password=x&new_password1=a-new-password-1&new_password2=a-new-password-1"
)


def kind(name):
    """Return the key of SHOWN for an address' name."""
    return next(end for end in sorted(SHOWN, key=len, reverse=True) if name == end or name.endswith("_" + end))


@pytest.mark.parametrize("role", ROLES)
def test_the_back_office_is_there_for_operators_and_admins_alone(role, world):
    """All addresses for who might hope most, the first ones for every other role; flags of a person open nothing."""
    person = world.people.get(role)
    if role == "bob":
        person.is_staff = person.is_superuser = True
        person.save()
    shut = [(route, name) for route, name in ADDRESSES if name not in ("login", "logout") and SHOWN[kind(name)] != 404]
    for route, _ in shut if role in ("anonymous", "bob", "agent") else shut[:10]:
        address = path(route, world.workspace.pk)
        if address is None:
            continue
        answer = world.send(role, "GET", address, form=True)
        if role in ("anonymous", "agent", "foreign", "opa"):
            assert (answer.status_code, answer["Location"].split("?")[0]) == (302, "/login/"), route
        elif role not in ("adam", "olga", "mallory"):
            assert answer.status_code == 404, (route, answer.status_code)


def test_an_admin_and_an_operator_see_every_page(world):
    for route, name in ADDRESSES:
        address = path(route, world.workspace.pk)
        for role in ("adam", "olga") if name.endswith("changelist") else ("adam",):
            if address is not None:
                answer = world.send(role, "GET", address, form=True)
                # A table without a row yet leads back to the start.
                absent = "/1/" in address and kind(name) in ("change", "history")
                expected = {302, 404} if absent else {SHOWN[kind(name)]}
                assert answer.status_code in expected, (route, answer.status_code)
                assert "unsafe" not in answer.headers.get("Content-Security-Policy", "unsafe")


def test_the_admin_of_another_workspace_sees_no_row_of_this_one(world):
    """mallory is let in, finds what is hers, and of this workspace nothing: not listed, not by its address."""
    mine = world.people["mallory"].memberships.get().workspace
    assert mine.slug in world.send("mallory", "GET", "/admin/registry/workspace/", form=True).content.decode()
    for route, name in ADDRESSES:
        address = path(route, world.workspace.pk)
        if address is None or not re.match(r"admin/(registry|gateway|agents|operations)/\w+/", route):
            continue
        answer = world.send("mallory", "GET", address, form=True)
        if kind(name) == "changelist":
            shown = answer.content.decode()
            model = apps.get_model(*route.split("/")[1:3])
            for pk in model._default_manager.filter(**{back_office.way(model): world.workspace.pk}).values_list(
                "pk", flat=True
            ):
                assert str(pk) not in shown or pk == world.people["mallory"].pk, route
        elif "<path:object_id>" in route and "/1/" not in address:
            assert answer.status_code in (302, 403, 404), (route, answer.status_code)
            if answer.status_code == 302:
                assert world.send("mallory", "GET", answer["Location"], form=True).status_code in (200, 302, 404)


def test_what_is_hidden_cannot_be_guessed_by_filtering(world):
    there = "/admin/registry/person/"
    person = world.people["bob"]
    for lookup in ("password__startswith", "password", "memberships__grants__role"):
        answer = world.send("adam", "GET", f"{there}?{lookup}={person.password[:6]}", form=True)
        assert (answer.status_code == 302 and "e=1" in answer["Location"]) or answer.status_code == 400
    found = world.send("adam", "GET", f"{there}?q={person.username}", form=True).content.decode()
    assert person.username in found and world.people["carol"].username not in found


def test_whatever_an_admin_sends_changes_nothing(world):
    before, passwords = state.of(world.workspace), _people()
    for route, name in ADDRESSES:
        address = path(route, world.workspace.pk)
        for method in ("POST", "PUT", "PATCH", "DELETE") if name == "registry_approval_change" else ("POST",):
            if name not in ("login", "logout") and address is not None:
                client = world.client("adam", page=True)
                answer = client.generic(method, address, BODY, "application/x-www-form-urlencoded")
                assert answer.status_code < 500, (method, route, answer.status_code)
    assert state.changed(before, state.of(world.workspace)) == {}
    assert _people() == passwords


def _people():
    return sorted(Person.objects.values_list("pk", "username", "password", "is_staff", "is_superuser", "is_active"))
