"""A broker that dies, forgets, repeats, mixes up, and carries what an attacker wrote."""

import base64
import json
import pickle
import uuid

from tests.chaos.faults import NothingThere, fault
from tests.chaos.site import send

QUEUE = "placet"
TASK = "agents.advance_step"
_STEPS = "SELECT id::text FROM agents_step WHERE state NOT IN ('done', 'dead') ORDER BY random() LIMIT 20"


def message(arguments, *, task=TASK, kind="application/json", body=None, **headers):
    """Return a message as Celery writes it to Valkey."""
    raw = body if body is not None else json.dumps([arguments, {}, {}]).encode()
    pk = str(uuid.uuid4())
    about = {"lang": "py", "task": task, "id": pk, "root_id": pk, "parent_id": None, "group": None, "retries": 0}
    about |= {"eta": None, "expires": None, "timelimit": [None, None], "argsrepr": "", "kwargsrepr": "", "origin": "x"}
    delivery = {"exchange": "", "routing_key": QUEUE}
    properties = {"correlation_id": pk, "delivery_mode": 2, "delivery_info": delivery, "priority": 0}
    properties |= {"body_encoding": "base64", "delivery_tag": str(uuid.uuid4())}
    whole = {
        "body": base64.b64encode(raw).decode(),
        "content-encoding": "binary" if kind == "application/x-python-serialize" else "utf-8",
        "content-type": kind,
        "headers": about | headers,
        "properties": properties,
    }
    return json.dumps(whole)


class Touch:
    """Pickled, it makes a file when somebody reads it: what must never happen."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def trap(site):
    """Return the path of the file that a message makes if anybody unpickles it."""
    return site.home / "unpickled"


@fault(weight=4, rest=5.0)
def kill_broker(ops, chance):
    """SIGKILL Valkey with everything in it."""
    pid = ops.pid("valkey")
    send(pid)
    return str(pid)


@fault(weight=4)
def flush_broker(ops, chance):
    """FLUSHALL."""
    with ops.broker() as client:
        client.flushall()
    return "everything"


@fault(weight=4)
def drop_messages(ops, chance):
    """Take the waiting messages away, and those that a worker has and has not acknowledged."""
    with ops.broker() as client:
        waiting = client.llen(QUEUE)
        client.delete(QUEUE, "unacked", "unacked_index")
    return f"{waiting} waiting"


@fault(weight=4)
def reorder_messages(ops, chance):
    """Mix up the waiting messages."""
    with ops.broker() as client:
        waiting = client.lrange(QUEUE, 0, -1)
        if len(waiting) < 2:
            raise NothingThere("nothing waits")
        chance.shuffle(waiting)
        client.pipeline().delete(QUEUE).rpush(QUEUE, *waiting).execute()
    return str(len(waiting))


@fault(weight=5)
def repeat_messages(ops, chance):
    """Ring ten times each for steps that are open."""
    steps = [pk for (pk,) in ops.rows(_STEPS)]
    if not steps:
        raise NothingThere("no open step")
    with ops.broker() as client:
        client.lpush(QUEUE, *[message([step]) for step in steps[:5] for _ in range(10)])
    return f"{len(steps[:5])} steps"


@fault(weight=3)
def repeat_one_message(ops, chance):
    """Put the very same message into the queue ten times."""
    with ops.broker() as client:
        same = message([str(uuid.uuid4())])
        if waiting := client.lrange(QUEUE, 0, 0):
            same = waiting[0]
        client.lpush(QUEUE, *[same] * 10)
    return "ten times"


@fault(weight=3)
def forge_steps(ops, chance):
    """Ring for steps that are done, that are nobody's, and that are no steps."""
    done = [pk for (pk,) in ops.rows("SELECT id::text FROM agents_step WHERE state = 'done' LIMIT 20")]
    nested: object = []
    for _ in range(500):
        nested = [nested]
    nonsense = ["", "../../etc/passwd", 7, None, {"step": "x"}, str(uuid.uuid4()), "0" * 100_000, nested]
    with ops.broker() as client:
        client.lpush(QUEUE, *[message([one]) for one in [*done, *nonsense]], message([]), message([1, 2, 3]))
    return f"{len(done)} done ones"


@fault(weight=3)
def forge_tasks(ops, chance):
    """Ask for tasks that do not exist, and for those that Celery brings along."""
    step = ["x"]
    names = ["os.system", "agents.nothing", "celery.backend_cleanup", "celery.map", "celery.chain", "celery.chord"]
    with ops.broker() as client:
        client.lpush(QUEUE, *[message(step, task=name) for name in names])
        client.lpush(QUEUE, message(step, eta="2199-01-01T00:00:00+00:00"), message(step, expires="garbage"))
        client.lpush(QUEUE, message(step, retries=10**9), message(step, timelimit=["a", "b"]))
    return ", ".join(names)


@fault(weight=3)
def forge_pickle(ops, chance):
    """Send a pickle that does something when it is read."""
    raw = pickle.dumps(Touch(trap(ops.site)))
    with ops.broker() as client:
        client.lpush(QUEUE, message([], kind="application/x-python-serialize", body=raw), message([], body=raw))
    return "two"


@fault(weight=3)
def forge_garbage(ops, chance):
    """Put bytes into the queue that are no message at all."""
    with ops.broker() as client:
        garbage = [b"\x80\x04garbage\xff", b"not json", b"7", b"{}", b"[]", b'{"body": "!", "properties": {}}', b""]
        client.lpush(QUEUE, chance.choice(garbage))
    return "one"


@fault(weight=2)
def forge_unacknowledged(ops, chance):
    """Put garbage among the messages that are to be repeated, as if a worker had had them for years."""
    with ops.broker() as client:
        tag, garbage = str(uuid.uuid4()), [b"\x80", b"7", b"[1, 2, 3]", b"[{}, 1, 2]", b'[{"properties": 1}, "", ""]']
        client.hset("unacked", tag, chance.choice(garbage))
        client.zadd("unacked_index", {tag: 0})
    return tag


@fault(weight=1, rest=20.0)
def spoil_queue(ops, chance):
    """Make the queue something that is no queue; somebody puts that right after a while."""
    with ops.broker() as client:
        client.delete(QUEUE)
        client.set(QUEUE, "x")
    ops.later(chance.uniform(1.0, 5.0), lambda: _unspoil(ops))
    return "a string"


def _unspoil(ops):
    try:
        with ops.broker() as client:
            if client.type(QUEUE) == b"string":
                client.delete(QUEUE)
    except NothingThere:
        return  # it died, and forgot


def heal(ops):
    """Put right what would not come right by itself."""
    _unspoil(ops)
