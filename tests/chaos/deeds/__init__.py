"""Every course of the product in which a process may die. A crash point that none of them passes is a failure."""

from tests.chaos.deeds import clocks, line, people, recovery, registry, runs, trail

DEEDS = {**line.DEEDS, **people.DEEDS, **runs.DEEDS, **registry.DEEDS, **trail.DEEDS, **recovery.DEEDS}
#: What a process may be told to do besides.
OTHERS = clocks.DEEDS
