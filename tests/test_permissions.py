"""Who may do what, for every address and method: a new one without a row in tests/matrix.py fails here."""

import pytest
from django.urls import URLResolver, get_resolver

from tests.matrix import CHANGES, ROWS
from tests.world import PEOPLE

pytest_plugins = ["tests.shared"]
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
ROUTES = list(dict.fromkeys(row.route for row in ROWS))


def routes(resolver, prefix=""):
    """Yield the route of every address, but for the back office: it has rules of its own below."""
    for pattern in resolver.url_patterns:
        route = prefix + str(pattern.pattern)
        if not isinstance(pattern, URLResolver):
            yield route
        elif pattern.app_name != "admin":
            yield from routes(pattern, route)


def refused(answer, row, role):
    """Check the form of a refusal: nothing but the refusal is told."""
    expected = row.answers[role]
    if expected == 302:
        assert answer["Location"].startswith("/login/"), answer["Location"]
    elif not row.page:
        assert answer["Content-Type"] == "application/problem+json"
        assert answer.json()["status"] == expected
        assert ("WWW-Authenticate" in answer) is (expected == 401)


def test_every_address_has_a_row():
    assert sorted({route for route in routes(get_resolver()) if "admin/" not in route}) == sorted(ROUTES)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_each_role_is_answered_as_it_should_be(row, world):
    wrong = []
    for role in [*row.refused, *row.allowed]:
        ask, mark = world.ask(row), world.mark()
        answer = row.send(world, role, ask)
        if answer.status_code != row.answers[role]:
            wrong.append((role, answer.status_code, answer.content[:300]))
        elif role in row.refused:
            refused(answer, row, role)
            assert row.event not in world.since(mark)
        if row.route == "logout/":
            world.cookies.clear()
    assert wrong == []
    assert row.allowed


@pytest.mark.parametrize("route", ROUTES)
def test_a_method_without_a_row_is_not_allowed(route, world):
    """Asked by a role that some method of the address lets through."""
    rows = [row for row in ROWS if row.route == route]
    path = rows[0].path(world.ask(rows[0])).partition("?")[0]
    for method in METHODS:
        if method not in {row.method for row in rows}:
            answer = world.send(rows[0].allowed[0], method, path, {})
            assert answer.status_code == 405, (method, answer.content[:300])


def browsed(row):
    """Return who sends this from a browser: the first person who may."""
    return next((role for role in row.allowed if role in PEOPLE), None)


@pytest.mark.parametrize("row", [row for row in ROWS if row.method != "GET" and browsed(row)], ids=str)
def test_a_signed_in_person_s_request_without_the_csrf_token_is_refused(row, world):
    ask, mark = world.ask(row), world.mark()
    answer = row.send(world, browsed(row), ask, csrf=True)
    assert answer.status_code == 403, answer.content[:300]
    assert row.event not in world.since(mark)
    if not row.page:
        assert answer.json()["code"] == "forbidden"


@pytest.mark.parametrize("row", [row for row in CHANGES if "agent" in row.allowed], ids=str)
def test_a_bearer_needs_no_csrf_token(row, world):
    assert row.send(world, "agent", world.ask(row), csrf=True).status_code == row.answers["agent"]
