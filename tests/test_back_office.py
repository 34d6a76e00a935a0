"""The back office shows rows to staff and takes nothing from anybody: every address of it, every method."""

import re
from functools import cache

import pytest
from django.apps import apps
from django.urls import URLResolver, get_resolver

from registry.models import Person
from tests import state
from tests.world import ROLES

pytest_plugins = ["tests.shared"]
# What staff are answered to a GET, by the end of the address' name.
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
def path(route):
    """Return an address that leads to a row, where there is one."""
    model = re.match(r"admin/(registry|gateway|agents)/(\w+)/", route)
    rows = apps.get_model(*model.groups())._default_manager if model else None
    row = rows.order_by("pk").last() if rows is not None else None
    if "/history/(" in route:
        # Some rows were written without history (the executor's credentials): take the latest that has one.
        past = rows.model.history.filter(id__in=rows.values("pk")).order_by("history_id").last()
        return f"/{route.split('^')[0]}{past.id}/history/{past.history_id}/"
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


@pytest.fixture(scope="module")
def staff(_world, django_db_blocker):
    """Browsers of a staff member and of a superuser, who belong to no workspace."""
    from django.test import Client

    with django_db_blocker.unblock():
        clients = []
        for flags in ({"is_staff": True}, {"is_staff": True, "is_superuser": True}):
            person = _world.person("staff")
            for flag, value in flags.items():
                setattr(person, flag, value)
            person.save()
            client = Client(headers={"accept": "text/html"}, raise_request_exception=False)
            client.force_login(person)
            clients.append(client)
        return clients


@pytest.mark.parametrize("role", ROLES)
def test_who_is_not_staff_is_led_to_its_login(role, world):
    """The first addresses for every role, all of them for nobody, for the admin of the workspace and for a key."""
    shut = [(route, name) for route, name in ADDRESSES if name not in ("login", "logout") and SHOWN[kind(name)] != 404]
    for route, _ in shut if role in ("anonymous", "adam", "agent") else shut[:10]:
        answer = world.send(role, "GET", path(route), form=True)
        assert (answer.status_code, answer["Location"].split("?")[0]) == (302, "/admin/login/"), route


def test_staff_see_every_page(staff, world):
    for route, name in ADDRESSES:
        for client in staff if name.endswith("changelist") else staff[1:]:
            answer = client.get(path(route))
            # A table without a row yet leads back to the start.
            absent = "/1/" in path(route) and kind(name) in ("change", "history")
            assert answer.status_code == (302 if absent else SHOWN[kind(name)]), (route, answer.status_code)


def test_whatever_staff_send_changes_nothing(staff, world):
    before, passwords = state.of(world.workspace), _people()
    for route, name in ADDRESSES:
        for method in ("POST", "PUT", "PATCH", "DELETE") if name == "registry_approval_change" else ("POST",):
            if name not in ("login", "logout"):
                answer = staff[1].generic(method, path(route), BODY, "application/x-www-form-urlencoded")
                assert answer.status_code < 500, (method, route, answer.status_code)
    assert state.changed(before, state.of(world.workspace)) == {}
    assert _people() == passwords


def _people():
    return sorted(Person.objects.values_list("pk", "username", "password", "is_staff", "is_superuser", "is_active"))
