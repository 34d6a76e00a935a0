"""Ids are version 7, carry the time, and ascend within a process."""

import time
from concurrent.futures import ThreadPoolExecutor

from audit.records import recorded_at
from audit.uuid7 import uuid7


def test_an_id_is_version_7_and_tells_when_it_was_made():
    before = time.time()
    made = uuid7()
    after = time.time()
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert before - 0.001 <= recorded_at(made).timestamp() <= after


def test_ids_ascend_strictly_and_never_repeat():
    ids = [uuid7() for _ in range(20_000)]
    assert ids == sorted(set(ids))


def test_threads_never_get_the_same_id():
    with ThreadPoolExecutor(8) as pool:
        batches = list(pool.map(lambda _: [uuid7() for _ in range(2000)], range(8)))
    assert len({one for batch in batches for one in batch}) == 16_000
    assert all(batch == sorted(batch) for batch in batches)
