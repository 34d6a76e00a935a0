"""Who asks: an agent through a credential, or a person."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who was authenticated, and where they may act.

    :param id: the credential's id, or the person's.
    :param owner: the person who answers for the credential; None for a person and for the executor.
    :param on_behalf_of: from a verified token or the opener of the session, never from the agent.
    :param actor: how the trail names them: `credential:<uuid>` or `person:<uuid>`.
    """

    kind: str
    id: UUID
    workspace: UUID
    environment: str
    agent: str | None
    owner: UUID | None
    scopes: frozenset[str]
    on_behalf_of: str | None
    actor: str
