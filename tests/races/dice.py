"""Chance that can be had again: every race draws from one seed, which is printed and taken back."""

import os
import random
import secrets

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import get_state_machine_test

SEED = int(os.environ.get("PLACET_RACES_SEED") or secrets.randbits(32))
COUNT = int(os.environ.get("PLACET_RACES_COUNT") or 0)


def of(*names):
    """Return the dice of one history: the same seed and names throw the same."""
    return random.Random("/".join(map(str, (SEED, *names))))


def told():
    """Say how to throw the same again."""
    return f"PLACET_RACES_SEED={SEED}"


def bouts(few, many, *, minutes=60):
    """Run a test `few` times in the default suite, and `many` times with `make races`.

    PLACET_RACES_COUNT replaces both.
    """
    long = [pytest.mark.slow, pytest.mark.timeout(minutes * 60)]
    return pytest.mark.parametrize(
        "count", [pytest.param(COUNT or few, id="few"), pytest.param(COUNT or many, id="many", marks=long)]
    )


def play(machine, count, *, steps):
    """Let hypothesis play so many games of a state machine, from our seed."""
    rules = settings(
        max_examples=count,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    seed(SEED)(get_state_machine_test(machine, settings=rules))()
