"""Chance with a seed: printed, and taken back by PLACET_CHAOS_SEED; PLACET_CHAOS_ROUNDS says how often."""

import os
import random
import secrets


def rounds(name, count):
    """Yield a source of chance for each round; the last one printed failed. PLACET_CHAOS_ROUND: that one alone."""
    seed = os.environ.get("PLACET_CHAOS_SEED") or secrets.token_hex(4)
    count = int(os.environ.get("PLACET_CHAOS_ROUNDS", count))
    print(f"{name}: PLACET_CHAOS_SEED={seed} PLACET_CHAOS_ROUNDS={count}")
    only = os.environ.get("PLACET_CHAOS_ROUND")
    for number in range(count) if only is None else [int(only)]:
        print(f"PLACET_CHAOS_ROUND={number}")
        yield random.Random(f"{name} {seed} {number}")
