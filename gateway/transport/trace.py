"""W3C Trace Context for calls to tools."""

import os
from uuid import UUID


def traceparent(correlation_id: str) -> str:
    """Return a W3C traceparent whose trace id is the correlation id, where that is a UUID or 32 hex digits."""
    try:
        trace = UUID(correlation_id).hex
    except ValueError:
        trace = os.urandom(16).hex()
    return f"00-{trace}-{os.urandom(8).hex()}-01"
