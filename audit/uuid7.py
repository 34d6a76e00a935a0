"""Time-ordered ids, made in Python so that PostgreSQL 15 is enough (RFC 9562 section 5.7)."""

import os
import threading
import time
from uuid import UUID

_last = 0
_lock = threading.Lock()


def uuid7() -> UUID:
    """Return a version 7 UUID: Unix milliseconds, 12 bits of the fraction (section 6.2, method 3), 62 random bits.

    Ids of one process ascend strictly: a decision stands before its outcome in the log, however fast the tool was.
    """
    global _last
    # The clock in units of 1/4096 ms.
    tick = (time.time_ns() << 12) // 1_000_000
    with _lock:
        _last = tick = max(tick, _last + 1)
    random = int.from_bytes(os.urandom(8), "big") >> 2
    value = tick >> 12 << 80 | 0x7 << 76 | (tick & 0xFFF) << 64 | 0b10 << 62 | random
    return UUID(int=value)
