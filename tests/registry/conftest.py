"""Builders for the registry's tests."""

import pytest


@pytest.fixture
def build(workspace, people, now):
    """Builders bound to the workspace of the test and its people."""
    from tests.registry import builders

    return builders.Builder(workspace, people, now)


@pytest.fixture
def trail(workspace):
    """Return a function: the events of the workspace since the test began, in order."""
    from django.db import connection

    def events():
        with connection.cursor() as cursor:
            cursor.execute("SELECT event FROM audit_record WHERE workspace = %s ORDER BY id", [workspace.pk])
            return [row[0] for row in cursor.fetchall()]

    before = len(events())
    return lambda: events()[before:]
