"""Pools of connections, of which one is used again only if nothing is left on it.

A server, or something before it, that answers twice leaves the second answer on the connection. httpcore would take
it for the answer to the next request: what one call was told would be another call's.
"""

from typing import Any

import httpcore2


class Pool(httpcore2.ConnectionPool):
    """Connections for threads."""

    def create_connection(self, origin: httpcore2.Origin) -> httpcore2.ConnectionInterface:
        """Return a connection that is yet to be opened."""
        return _Connection(**_given(self, origin))


class AsyncPool(httpcore2.AsyncConnectionPool):
    """Connections on an event loop."""

    def create_connection(self, origin: httpcore2.Origin) -> httpcore2.AsyncConnectionInterface:
        """Return a connection that is yet to be opened."""
        return _AsyncConnection(**_given(self, origin))


class _Connection(httpcore2.HTTPConnection):
    def has_expired(self) -> bool:
        return super().has_expired() or _left(self)


class _AsyncConnection(httpcore2.AsyncHTTPConnection):
    def has_expired(self) -> bool:
        return super().has_expired() or _left(self)


def _given(pool: Pool | AsyncPool, origin: httpcore2.Origin) -> dict[str, Any]:
    return {
        "origin": origin,
        "ssl_context": pool._ssl_context,
        "keepalive_expiry": pool._keepalive_expiry,
        "network_backend": pool._network_backend,
    }


def _left(connection: _Connection | _AsyncConnection) -> bool:
    """Say whether more was read than belongs to the last answer; the socket itself is looked at by httpcore."""
    protocol = getattr(connection._connection, "_h11_state", None)
    return protocol is not None and bool(protocol.trailing_data[0])
