"""Whoever watches sees what keeps this machine from working, and what will soon."""

import time

import pytest
from django.db import connections

from config import health, schema


def ready(client):
    answer = client.get("/readyz")
    return answer.status_code, answer.json()


def gauge(client, name):
    shown = client.get("/metrics").content.decode()
    return float(next(line for line in shown.splitlines() if line.startswith(f"{name} ")).split()[1])


def test_a_machine_whose_clock_is_off_is_not_ready_and_its_metric_says_by_how_much(client, db, monkeypatch):
    assert ready(client)[0] == 200
    assert gauge(client, "placet_clock_skew_seconds") < health.LARGEST_SKEW
    real = time.time
    monkeypatch.setattr(health.time, "time", lambda: real() + 60)
    status, told = ready(client)
    assert status == 503 and "clock differs from the database by" in told["problems"][0]
    assert gauge(client, "placet_clock_skew_seconds") > health.LARGEST_SKEW


def test_the_disk_is_watched(client, db):
    assert 0 < gauge(client, "placet_disk_free_ratio") <= 1


@pytest.fixture
def older(db):
    """A database that lacks the last migration of the trail, as new code finds it before `migrate`."""
    last = max(name for app, name in schema.known() if app == "audit")
    with connections["owner"].cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'audit' AND name = %s", [last])
    schema.forget()
    yield f"audit.{last}"
    with connections["owner"].cursor() as cursor:
        cursor.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('audit', %s, now())", [last])
    schema.forget()


def test_new_code_on_an_old_database_is_not_ready_and_says_what_to_run(client, older):
    status, told = ready(client)
    assert (status, told["ready"]) == (503, False)
    assert told["problems"] == [f"migrations are missing ({older}): run `manage.py migrate`"]


def test_old_code_goes_on_with_the_schema_of_a_newer_one_but_starts_no_installation_on_it(client, db):
    applied = schema.known() | {("registry", "0999_of_tomorrow")}
    assert schema.unknown(set(applied)) == ["registry.0999_of_tomorrow"]
    assert ready(client)[0] == 200
