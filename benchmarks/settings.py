"""Settings of the benchmark: those of production, with a tool that answers at once and one address more."""

from config.settings import *  # noqa: F403

# Each web process finds the benchmark's tool here.
PLACET_TEST_TRANSPORTS = "benchmarks.tools"  # type: ignore[assignment]
ROOT_URLCONF = "benchmarks.urls"
# The anchor is no part of Placet: the front door must not turn it away.
PLACET_OTHER_REQUESTS = 96
