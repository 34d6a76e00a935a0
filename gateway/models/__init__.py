"""What the gateway remembers: who may call, in which session, which call was claimed, decided, parked and finished.

Calls, sessions and holds carry plain ids of workspaces and people: these rows outlive neither, and the call path
reads them by raw cursors. What must be provable stands in the trail; these rows may be erased.
"""

from gateway.models.breakers import Breaker, RetryBudget
from gateway.models.calls import Attempt, Call
from gateway.models.counters import Counter, Lease
from gateway.models.credentials import Credential, Key
from gateway.models.decisions import Alarm, DecisionLog
from gateway.models.holds import Hold, HoldApproval
from gateway.models.sessions import Session, SessionLabel, Token
from gateway.models.states import State
from gateway.models.tallies import Tally
from gateway.models.trusts import KeySet, Trust

__all__ = [
    "Alarm",
    "Attempt",
    "Breaker",
    "Call",
    "Counter",
    "Credential",
    "DecisionLog",
    "Hold",
    "HoldApproval",
    "Key",
    "KeySet",
    "Lease",
    "RetryBudget",
    "Session",
    "SessionLabel",
    "State",
    "Tally",
    "Token",
    "Trust",
]
