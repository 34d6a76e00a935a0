"""What stands behind a contract: the tool server, endpoint or provider that a call keeps busy."""

from collections.abc import Mapping
from typing import Any, Protocol
from uuid import UUID, uuid5


class Contract(Protocol):
    """What this module needs of registry.resolve.Contract."""

    @property
    def kind(self) -> str: ...
    @property
    def content(self) -> Mapping[str, Any]: ...


def name_of(contract: Contract) -> str:
    """Return the name of the upstream in the deployment: of the launcher, the endpoint or the provider."""
    if contract.kind == "model":
        return f"model:{contract.content.get('endpoint') or contract.content['provider']}"
    transport = contract.content["transport"]
    place = transport.get("launcher") or transport.get("endpoint") or transport.get("function", "")
    return f"{transport['kind']}:{place}"


def id_of(workspace: UUID, environment: str, contract: Contract) -> UUID:
    """Return the id under which the calls under way at an upstream are counted, for all processes together."""
    return uuid5(workspace, f"upstream/{environment}/{name_of(contract)}")
