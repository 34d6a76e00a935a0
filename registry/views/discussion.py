"""Where in the differences of a proposal people said something."""

from collections import defaultdict
from collections.abc import Iterable
from uuid import UUID

from registry.comments import Thread
from registry.views.comparison import Said


def placed(threads: Iterable[Thread]) -> Said:
    """Return what was said, by version, JSON pointer and line."""
    found: dict[tuple[UUID, str, int | None], list[Thread]] = defaultdict(list)
    for thread in threads:
        found[thread.first.version_id, thread.first.path, thread.first.line].append(thread)
    return found
