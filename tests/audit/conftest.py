"""What only the tests of the trail need."""

from uuid import uuid4

import pytest

from tests.audit import trails


@pytest.fixture
def doomed(db):
    """A workspace whose log the test damages; no trace of it stays for the tests that look at every log."""
    workspace = uuid4()
    yield workspace
    trails.forget(workspace)
