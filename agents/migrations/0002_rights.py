from django.db import migrations

from audit.roles import grant

# A frozen copy of agents.states as of this migration; a test compares them.
MOVES = {
    "run": [
        ("queued", "running"),
        ("queued", "failed"),
        ("queued", "cancelled"),
        ("running", "waiting"),
        ("running", "succeeded"),
        ("running", "failed"),
        ("running", "cancelled"),
        ("running", "compensating"),
        ("waiting", "running"),
        ("waiting", "failed"),
        ("waiting", "cancelled"),
        ("waiting", "compensating"),
        ("compensating", "compensated"),
        ("compensating", "compensation_failed"),
    ],
    "step": [
        ("ready", "leased"),
        ("ready", "dead"),
        ("leased", "decided"),
        ("leased", "done"),
        ("leased", "retry_at"),
        ("leased", "indeterminate"),
        ("leased", "dead"),
        ("decided", "ready"),
        ("decided", "dead"),
        ("retry_at", "leased"),
        ("retry_at", "dead"),
        ("indeterminate", "ready"),
        ("dead", "ready"),
    ],
}


def moves(table: str) -> migrations.RunSQL:
    """Return the operation that lets the state of `table` move only along its transitions."""
    pairs = ", ".join(f"('{old}', '{new}')" for old, new in MOVES[table])
    forward = f"""
CREATE FUNCTION agents_{table}_moves() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN ({pairs}) THEN
        RAISE EXCEPTION 'A {table} cannot go from % to %', OLD.state, NEW.state USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER moves BEFORE UPDATE ON agents_{table} FOR EACH ROW EXECUTE FUNCTION agents_{table}_moves();
ALTER TABLE agents_{table} ENABLE ALWAYS TRIGGER moves;
"""
    backward = f"DROP TRIGGER moves ON agents_{table}; DROP FUNCTION agents_{table}_moves();"
    return migrations.RunSQL(forward, backward)


# Whose run it is, what was asked, and which call a step is never change: only these columns do.
RUN = (
    "SELECT, INSERT, UPDATE (state, wait, code, answer_record, started_at, finished_at, cancel_requested_at, "
    "cancelled_by, cancel_code)"
)
STEP = (
    "SELECT, INSERT, UPDATE (state, code, fence, lease_owner, lease_until, attempts, crashes, failures, not_before, "
    "rung_at, call_id, hold, record, finished_at)"
)


class Migration(migrations.Migration):
    dependencies = [("agents", "0001_models")]

    operations = [
        grant("agents_run", web=RUN, worker=RUN),
        grant("agents_step", web=STEP, worker=STEP),
        moves("run"),
        moves("step"),
    ]
