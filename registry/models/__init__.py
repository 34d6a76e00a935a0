"""The rows of the registry: people, artifacts, agreement, and what is live."""

from registry.models.agreement import Activation, Approval, Evidence, Proposal, SlotHistory
from registry.models.artifacts import Artifact, Check, Contributor, Kind, Lifecycle, Pin, Provenance, Version
from registry.models.discussion import Comment, Resolution
from registry.models.identity import FactorReset, Tally
from registry.models.live import Bundle, Slot, Stop
from registry.models.pdps import Pdp, PdpCredential, PdpKey
from registry.models.people import Environment, Grant, Membership, Person, Role, Workspace
from registry.models.signers import Signer
from registry.models.tokens import AccessToken, DeviceLogin

__all__ = [
    "AccessToken",
    "Activation",
    "Approval",
    "Artifact",
    "Bundle",
    "Check",
    "Comment",
    "Contributor",
    "DeviceLogin",
    "Environment",
    "Evidence",
    "FactorReset",
    "Grant",
    "Kind",
    "Lifecycle",
    "Membership",
    "Pdp",
    "PdpCredential",
    "PdpKey",
    "Person",
    "Pin",
    "Proposal",
    "Provenance",
    "Resolution",
    "Role",
    "Signer",
    "Slot",
    "SlotHistory",
    "Stop",
    "Tally",
    "Version",
    "Workspace",
]
