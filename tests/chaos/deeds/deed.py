"""What a process does, may die of, and others finish: prepared, done, recovered, checked."""

from datetime import UTC, datetime

from audit.refusal import Refusal
from gateway import calls
from tests.gateway.stage import let_time_pass, query


class Deed:
    """One course of the product.

    `do` runs in a process that may be killed anywhere in it, and again among the living afterwards, as a client
    repeats a request under the same key and as a sweeper begins its next round.
    """

    #: Codes with which a repetition is told that the deed is done.
    known = ()
    #: Whether something in it must not happen twice and knows no key.
    unsafe = False
    #: How the points begin that it stands for where others pass them, too; the long programme tries each.
    about = ("",)

    def prepare(self, scene):
        """Return the order: what `do` has to know, as JSON."""
        return {}

    def do(self, order):
        """Do it."""
        raise NotImplementedError

    def recover(self, scene, order):
        """Let the time pass that leases of the dead need, and do it again."""
        self.again(order)

    def again(self, order):
        """Do it once more, by somebody who does not know whether it was done."""
        try:
            return self.do(order)
        except Refusal as refusal:
            if refusal.code not in self.known:
                raise
            return None

    def check(self, scene, order):
        """Fail unless everything is as if nobody had died."""


def how():
    """Return the arguments that every change of state asks for."""
    return {"now": datetime.now(UTC), "correlation_id": "chaos"}


def lapse(credential):
    """Let the leases of a credential's calls run out, and let the sweeper see it."""
    for (pk,) in query("SELECT id FROM gateway_call WHERE credential_id = %s", credential):
        let_time_pass(pk)
    calls.sweep(datetime.now(UTC))
