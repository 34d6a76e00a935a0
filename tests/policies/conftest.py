"""The stage of the gateway's tests, for those of policies that need a workspace."""

from tests.gateway.conftest import _shared

__all__ = ["_shared"]
