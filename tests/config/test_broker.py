"""A broker that somebody else writes into costs time; it ends no worker and makes none do what nobody asked for."""

import pickle
import uuid

import pytest
from kombu import Connection, Queue

from config import celery, consumer
from config.embedded import valkey
from tests.chaos.fault_broker import TASK, Touch, message

STEP = str(uuid.uuid4())
GARBAGE = [
    b"\x80\x04garbage\xff",
    b"not json",
    b"7",
    b"{}",
    b"[]",
    b'{"body": "!", "properties": {}}',
    b'{"body": 7, "properties": {"body_encoding": "base64", "delivery_tag": 1}}',
    b'{"properties": {"delivery_tag": "x", "delivery_info": 7}}',
    b"[" * 100_000,
]


class Message:
    """What Celery hands to a task handler."""

    def __init__(self, headers, body):
        self.headers, self.body = headers, body
        self.properties = {"reply_to": "somebody", "priority": "high"}
        self.content_type, self.content_encoding = "application/x-python-serialize", "binary"


@pytest.fixture
def broker(tmp_path):
    """A Valkey of the test's own, and Kombu's connection to it."""
    assert celery.app
    tmp_path.chmod(0o711)
    process = valkey.start(tmp_path, tmp_path, password="open")
    with Connection(f"redis+socket://:open@{tmp_path}/valkey.sock?virtual_host=0") as connection:
        yield connection
    process.kill()
    process.wait()


def test_what_is_no_message_is_dropped_and_the_one_after_it_is_read(broker):
    heard = []
    with broker.Consumer(Queue("placet"), on_message=heard.append):
        client = broker.default_channel.client
        for garbage in GARBAGE:
            client.lpush("placet", garbage)
        client.lpush("placet", message([STEP]))
        while not heard:
            broker.drain_events(timeout=10)
    assert [STEP.encode() in one.body for one in heard] == [True]


def test_what_cannot_be_repeated_is_dropped_and_the_rest_comes_back(broker):
    channel = broker.default_channel
    client = channel.client
    for garbage in [*GARBAGE, b"[1, 2, 3]", b"[{}, 1, 2]", b'[{"properties": 1}, "", ""]']:
        tag = str(uuid.uuid4())
        client.hset("unacked", tag, garbage)
        client.zadd("unacked_index", {tag: 0})
    channel.qos.restore_visible(num=100)
    assert (client.hlen("unacked"), client.zcard("unacked_index")) == (0, 0)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (None, b"[[], {}, {}]"),
        ({}, b"[[], {}, {}]"),
        ({"task": "os.system"}, b'[["ls"], {}, {}]'),
        ({"task": "celery.chord"}, b"[[], {}, {}]"),
        ({"task": ["agents.advance_step"]}, b"[[], {}, {}]"),
        ({"task": TASK}, None),
        ({"task": TASK}, b"{}"),
        ({"task": TASK}, b"[7]"),
        ({"task": TASK}, pickle.dumps(Touch("anywhere"))),
        ({"task": TASK}, b'[["' + b"x" * 2000 + b'"], {}, {}]'),
    ],
)
def test_a_message_that_asks_for_nothing_of_ours_is_not_passed_on(headers, body):
    assert consumer.read(Message(headers, body), {TASK}) is None


def test_nothing_that_a_message_says_of_itself_is_believed():
    hostile = {"timelimit": ["a", "b"], "eta": "2199-01-01", "expires": "garbage", "retries": 10**9, "id": {}}
    given = Message(hostile | {"task": TASK, "callbacks": [{"task": "os.system"}]}, f'[["{STEP}", 7], {{"x": 1}}, 0]')
    asked = consumer.read(given, {TASK})
    assert asked == (TASK, [STEP])
    consumer.write(given, *asked)
    assert given.body == f'[["{STEP}"], {{}}, {{}}]'
    assert (given.content_type, given.content_encoding) == ("application/json", "utf-8")
    assert set(given.properties) == {"correlation_id"}
    assert {name: given.headers[name] for name in ("task", "timelimit", "eta", "expires", "retries")} == {
        "task": TASK,
        "timelimit": [None, None],
        "eta": None,
        "expires": None,
        "retries": 0,
    }
