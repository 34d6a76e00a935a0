"""What our database backend does differently: prepared statements, and how it sees that a connection is gone."""

import os
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from django.db import OperationalError, close_old_connections, connection, transaction
from django.test.utils import CaptureQueriesContext

from audit.prepared import Prepared, ids, texts
from audit.uuid7 import uuid7
from config.database import base, idle
from config.settings import database

_ANY = Prepared("SELECT %s::int + 1, pg_backend_pid()")


@pytest.fixture
def fresh(db):
    """A new connection."""
    connection.close()
    connection.ensure_connection()
    yield connection
    connection.close()


def ask(statement, parameters=()):
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchone()


def prepared():
    return [text for (text,) in many("SELECT statement FROM pg_prepared_statements")]


def many(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def end(pid):
    # A role may end its own backends.
    params = connection.get_connection_params()
    place = {name: params[name] for name in ("dbname", "user", "password", "host")}
    with psycopg.connect(**place) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def begin_request():
    """Do what a request begins with; Django's test client leaves it out."""
    close_old_connections()


def test_a_marked_statement_is_prepared_once_and_any_other_never(fresh):
    assert [ask(_ANY, [number])[0] for number in range(3)] == [1, 2, 3]
    assert ask("SELECT %s::int + 1", [1]) == (2,)
    assert prepared() == ["SELECT $1::int + 1, pg_backend_pid()"]


def test_both_kinds_take_turns_on_one_cursor_and_are_captured(fresh):
    with CaptureQueriesContext(connection) as seen, connection.cursor() as cursor:
        cursor.execute(_ANY, [1])
        assert cursor.fetchone()[0] == 2
        cursor.execute("SELECT %s", ["text"])
        assert cursor.fetchone() == ("text",)
    assert [query["sql"][:16] for query in seen.captured_queries] == ["SELECT 1::int + ", "SELECT 'text'"]


def test_a_statement_can_be_sent_without_being_prepared(fresh, monkeypatch):
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "prepare_threshold", None)
    connection.close()
    assert ask(_ANY, [1])[0] == 2
    assert prepared() == []


def test_a_request_finds_that_the_server_has_hung_up_and_connects_again(fresh):
    pid = ask(_ANY, [1])[1]
    for _ in range(2):
        begin_request()
        assert ask(_ANY, [1])[1] == pid
    end(pid)
    begin_request()
    assert ask(_ANY, [1])[1] != pid


def test_a_connection_that_ends_within_a_request_is_an_error_and_the_next_one_is_new(fresh):
    pid = ask(_ANY, [1])[1]
    end(pid)
    with pytest.raises(OperationalError):
        ask(_ANY, [1])
    connection.close_if_unusable_or_obsolete()
    assert ask(_ANY, [1])[1] != pid


def test_a_kept_connection_is_not_asked_unless_it_lay_idle_for_long(fresh, monkeypatch):
    asked = []
    monkeypatch.setattr(base.base.DatabaseWrapper, "is_usable", lambda self: asked.append(1) or True)
    for seconds, times in ((float("inf"), 0), (0.0, 1)):
        monkeypatch.setattr(base, "QUIET_SECONDS", seconds)
        begin_request()
        ask(_ANY, [1])
        assert len(asked) == times


def here():
    return idle.place_of(connection.settings_dict)


def elsewhere(do):
    """Do it in another thread, and leave no connection of that thread's own."""

    def and_close():
        try:
            return do()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(and_close).result()


@pytest.fixture
def kept(db):
    """A new connection of this thread, where none is put away; those that are put away go afterwards."""
    _throw_away()
    connection.close()
    connection.ensure_connection()
    yield connection
    _throw_away()
    connection.close()


def _throw_away():
    while (found := idle.take(here())) is not None:
        found[0].close()


def test_the_next_thread_goes_on_with_the_connection_that_was_put_away_and_its_prepared_statements(kept):
    pid = ask(_ANY, [1])[1]
    idle.put_away()
    committed = []

    def go_on():
        with transaction.atomic():
            transaction.on_commit(lambda: committed.append(True))
            return ask(_ANY, [1])[1], prepared()

    assert elsewhere(go_on) == (pid, ["SELECT $1::int + 1, pg_backend_pid()"])
    assert committed == [True]


def test_what_is_amid_a_transaction_or_has_failed_stays_with_its_thread(kept):
    with transaction.atomic():
        idle.put_away()
        pid = ask(_ANY, [1])[1]
    with pytest.raises(OperationalError):
        ask("SET LOCAL statement_timeout = 1; SELECT pg_sleep(1)")
    idle.put_away()
    assert idle.take(here()) is None
    close_old_connections()
    assert ask(_ANY, [1])[1] == pid
    idle.put_away()
    assert idle.take(here()) is not None


def test_of_those_put_away_one_whose_server_has_hung_up_is_passed_over(kept):
    older, newer = (elsewhere_opened() for _ in range(2))
    for each in (older, newer):
        idle.put(here(), each, 0.0)
    pids = [each.info.backend_pid for each in (older, newer)]
    end(pids[1])
    connection.close()
    assert ask(_ANY, [1])[1] == pids[0]


def elsewhere_opened():
    """A connection as another thread's request would have put it away."""

    def opened():
        ask(_ANY, [1])
        connection.put_away()
        return idle.take(here())[0]

    return elsewhere(opened)


def test_a_connection_serves_only_who_asks_for_the_same_database_as_the_same_role(kept, monkeypatch, tmp_path):
    assert ask("SELECT current_user") == ("placet_web",)
    idle.put_away()
    monkeypatch.setitem(connection.settings_dict, "HOST", str(tmp_path))
    with pytest.raises(OperationalError):
        ask("SELECT 1")
    monkeypatch.undo()
    monkeypatch.setitem(connection.settings_dict, "USER", "placet_worker")
    monkeypatch.setitem(connection.settings_dict, "PASSWORD", database("worker")["PASSWORD"])
    assert ask("SELECT current_user") == ("placet_worker",)
    connection.close()
    monkeypatch.undo()
    assert ask("SELECT current_user") == ("placet_web",)


def test_a_fork_leaves_its_parents_connections_alone(kept):
    pid = ask(_ANY, [1])[1]
    idle.put_away()
    child = os.fork()
    if child == 0:
        os._exit(0 if idle.take(here()) is None else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert ask(_ANY, [1])[1] == pid


def test_arrays_are_read_as_they_were_given(fresh):
    words = ["/data/plain", 'quo"te', "back\\slash", "{brace},comma", "", "NULL", "žluť \U0001f600", "a b"]
    assert ask(Prepared("SELECT %s::text[]"), [texts(words)])[0] == words
    some = [uuid7() for _ in range(3)]
    assert ask(Prepared("SELECT %s::uuid[]"), [ids(some)])[0] == some
    assert ask(Prepared("SELECT %s::uuid[], %s::text[]"), [ids([]), texts([])]) == ([], [])
