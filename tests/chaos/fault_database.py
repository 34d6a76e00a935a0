"""PostgreSQL that dies, restarts, and drops connections."""

import signal
import threading
import time

from tests.chaos.faults import NothingThere, fault
from tests.chaos.recoveries import Recovery
from tests.chaos.site import send

_BACKENDS = """
SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND starts_with(usename, 'placet_')
"""


def _end(ops, name, sign):
    pid = ops.pid("postgres")
    send(pid, sign)
    thread = threading.Thread(target=_until_ready, args=(ops, name, pid), daemon=True)
    thread.start()
    return str(pid)


def _until_ready(ops, name, pid):
    """Measure how long it takes until the whole answers that it is ready."""
    began, at = time.monotonic(), time.time()
    while time.monotonic() - began < 60:
        if ops.site.pids().get("postgres") != pid and ops.site.ready():
            ops.recoveries.seen.append(Recovery(name, at, time.monotonic() - began))
            return
        time.sleep(0.05)
    ops.recoveries.seen.append(Recovery(name, at, None))


@fault(weight=4, rest=5.0)
def restart_postgres(ops, chance):
    """End PostgreSQL at once, as `pg_ctl -m immediate` does: it recovers from its log."""
    return _end(ops, "restart_postgres", signal.SIGQUIT)


@fault(weight=4, rest=5.0)
def kill_postgres(ops, chance):
    """SIGKILL PostgreSQL's first process."""
    return _end(ops, "kill_postgres", signal.SIGKILL)


@fault(weight=6)
def terminate_backends(ops, chance):
    """End some of the connections that our processes have, in the middle of whatever they do."""
    share = chance.choice([0.1, 0.3, 1.0])
    found = [pid for (pid,) in ops.rows(_BACKENDS)]
    chosen = [pid for pid in found if chance.random() < share]
    if not chosen:
        raise NothingThere("no connection")
    ops.rows("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS t (pid)", chosen)
    return f"{len(chosen)} of {len(found)}"


@fault(weight=3)
def cancel_statements(ops, chance):
    """Cancel what is being executed in some connections, as an operator's statement_timeout would."""
    found = [pid for (pid,) in ops.rows(f"{_BACKENDS} AND state <> 'idle'")]
    if not found:
        raise NothingThere("no statement")
    ops.rows("SELECT pg_cancel_backend(pid) FROM unnest(%s::int[]) AS t (pid)", found)
    return str(len(found))


@fault(weight=2)
def block_writers(ops, chance):
    """Hold a lock on a table of ours for a moment: everybody has to wait."""
    table = chance.choice(["gateway_call", "agents_step", "audit_record", "audit_head", "gateway_counter"])
    seconds = chance.uniform(0.3, 2.0)
    threading.Thread(target=_hold, args=(ops, table, seconds), daemon=True).start()
    return f"{table} for {seconds:.1f} s"


def _hold(ops, table, seconds):
    try:
        ops.rows(f"DO $$ BEGIN LOCK TABLE {table} IN EXCLUSIVE MODE; PERFORM pg_sleep({seconds}); END $$")
    except NothingThere:
        return  # the database died first
