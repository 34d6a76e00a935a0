"""Runs and steps move only along their tables, in the code and in the database."""

from importlib import import_module

import pytest
from django.db import IntegrityError, ProgrammingError, connection, transaction

from agents import states
from audit.refusal import Refusal
from audit.uuid7 import uuid7
from tests.agents.acts import open_step

MOVES = import_module("agents.migrations.0002_rights").MOVES


@pytest.mark.parametrize("name", ["run", "step"])
def test_the_database_guards_the_same_table_as_the_code(name):
    table = {"run": states.RUN, "step": states.STEP}[name]
    assert sorted(MOVES[name]) == sorted((old, new) for old, new_ones in table.items() for new in new_ones)


@pytest.mark.parametrize("table", [states.RUN, states.STEP])
def test_every_state_can_be_reached_and_leads_to_known_ones(table):
    assert set().union(*table.values()) <= table.keys()
    first = next(iter(table))
    reached, pending = {first}, [first]
    while pending:
        for state in table[pending.pop()] - reached:
            reached.add(state)
            pending.append(state)
    assert reached == table.keys()


def test_a_move_beside_the_table_is_refused(acts):
    acts.scripted([{"say": "done"}])
    run = acts.start()
    with pytest.raises(Refusal) as refused:
        states.move(run, "succeeded")
    assert refused.value.code == "transition_refused"
    run.refresh_from_db()
    assert run.state == "queued"


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE agents_run SET state = 'succeeded', finished_at = now() WHERE id = %s", "run"),
        ("UPDATE agents_run SET state = 'waiting', wait = 'hold' WHERE id = %s", "run"),
        ("UPDATE agents_step SET state = 'retry_at', not_before = now() WHERE id = %s", "step"),
        ("UPDATE agents_step SET state = 'unheard_of' WHERE id = %s", "step"),
        ("UPDATE agents_step SET state = 'leased' WHERE id = %s", "step"),
    ],
)
def test_the_database_refuses_an_illegal_move_or_state(acts, statement, what):
    acts.scripted([{"say": "done"}])
    run = acts.start()
    row = run if what == "run" else open_step(run)
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, [row.pk])


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE agents_run SET release = 'sha256:0' WHERE id = %s",
        "UPDATE agents_run SET starter = 'person:x' WHERE id = %s",
        "UPDATE agents_step SET key = 'x' WHERE run_id = %s",
        "DELETE FROM agents_step WHERE run_id = %s",
        "DELETE FROM agents_run WHERE id = %s",
    ],
)
def test_what_a_run_is_about_cannot_be_changed_or_deleted(acts, statement):
    acts.scripted([{"say": "done"}])
    run = acts.start()
    with (
        pytest.raises(ProgrammingError, match="permission denied"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement, [run.pk])


def test_a_run_has_one_open_step(acts):
    acts.scripted([{"say": "done"}])
    run = acts.start()
    step = open_step(run)
    step.pk, step.no, step.key = uuid7(), 2, "another"
    with pytest.raises(IntegrityError), transaction.atomic():
        step.save(force_insert=True)
