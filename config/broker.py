"""What comes out of Valkey is believed as little as possible: somebody may have written it who wants us to fall.

Kombu trusts its broker: one entry of the queue that is no message ends the worker, and one among those that it keeps
to be repeated ends every worker after it. Such entries are dropped where they are read. Brokers that speak AMQP parse
what they carry themselves. What a message asks for is looked at in config.consumer.
"""

from queue import Empty
from typing import Any

import structlog
from kombu.transport import redis
from redis.exceptions import DataError

log = structlog.get_logger(__name__)
# How malformed input shows in code that expects none.
BROKEN = (ValueError, TypeError, AttributeError, LookupError, RecursionError, DataError)


class QoS(redis.QoS):
    """Puts back what was not acknowledged, and drops what cannot be put back."""

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        """Put one message back into its queue."""
        try:
            super().restore_by_tag(tag, client, leftmost)
        except BROKEN as error:
            log.warning("something that is no message was to be repeated", error=repr(error)[:200])
            with self.channel.conn_or_acquire(client) as connected:  # type: ignore[attr-defined]
                connected.pipeline().zrem(self.unacked_index_key, tag).hdel(self.unacked_key, tag).execute()


class Channel(redis.Channel):
    """Reads messages, and drops what is none."""

    QoS = QoS

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except BROKEN as error:
            log.warning("something that is no message was in the queue", error=repr(error)[:200])
            raise Empty from error


class Transport(redis.Transport):
    """Kombu's own, with our channel."""

    Channel = Channel
