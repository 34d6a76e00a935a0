"""References of a call that the database does not check: they hold all the same."""

import pytest
from django.db import connection

from tests.gateway.stage import fresh

ROLES = ("web", "worker", "sequencer", "publisher", "bundler")


@pytest.mark.parametrize("table", ["gateway_call", "gateway_credential", "gateway_session"])
def test_what_a_call_refers_to_no_process_may_delete(db, table):
    with connection.cursor() as cursor:
        for role in ROLES:
            cursor.execute("SELECT has_table_privilege(%s, %s, 'DELETE, TRUNCATE')", [f"placet_{role}", table])
            assert cursor.fetchone() == (False,), role


def test_every_call_and_attempt_leads_to_what_it_names(stage, agent):
    for tool in ("look", "forbidden", "careful", "nothing-of-this-name"):
        stage.call(agent, tool, fresh())
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT c.session_id IS NULL, s.id IS NULL, k.id IS NULL, a.id IS NULL FROM gateway_call c
               LEFT JOIN gateway_session s ON s.id = c.session_id
               LEFT JOIN gateway_credential k ON k.id = c.credential_id
               LEFT JOIN gateway_attempt a ON a.call_id = c.id WHERE c.credential_id = %s""",
            [agent.id],
        )
        found = cursor.fetchall()
        cursor.execute(
            "SELECT count(*) FROM gateway_attempt a LEFT JOIN gateway_call c ON c.id = a.call_id WHERE c.id IS NULL"
        )
        assert cursor.fetchone() == (0,)
    assert len(found) == 4
    assert set(found) == {(False, False, False, False)}
