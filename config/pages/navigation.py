"""What the navigation shows: where one can go, and how much waits there."""

from typing import Any

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

from gateway.models import Hold
from registry.models import Membership
from registry.views import queue
from registry.views.frame import Visit

# Address name, word, and the shape beside it.
PAGES = (
    ("proposals", "Review", "review"),
    ("holds", "Holds", "hold"),
    ("releases", "Releases", "releases"),
    ("artifacts", "Registry", "registry"),
    ("calls", "Calls", "calls"),
    ("runs", "Runs", "runs"),
    ("trail", "Trail", "trail"),
    ("settings", "Settings", "people"),
)
COUNTED = {"proposals": "waiting for you", "holds": "open"}
LARGEST_COUNT = 100
MOST_WORKSPACES = 20  # beside the one that is open


def of(request: HttpRequest) -> dict[str, Any]:
    """Return the entries with their counts, and the workspaces of the visitor."""
    visit: Visit = request.visit  # type: ignore[attr-defined]
    counts = {
        "proposals": queue.waiting(visit, LARGEST_COUNT),
        "holds": Hold.objects.filter(workspace_id=visit.workspace.pk, state="open", expires_at__gt=visit.now)[
            :LARGEST_COUNT
        ].count(),
    }
    entries = []
    for name, word, shape in PAGES:
        try:
            address = reverse(f"pages:{name}", args=[visit.workspace.slug])
        except NoReverseMatch:
            continue
        entries.append(
            {
                "word": word,
                "shape": shape,
                "address": address,
                "count": counts.get(name, 0),
                "here": request.path.startswith(address),
                "counted": COUNTED.get(name, ""),
            }
        )
    members = Membership.objects.filter(person=visit.person, active=True).exclude(workspace=visit.workspace)
    others = list(members.select_related("workspace").order_by("workspace__name")[: MOST_WORKSPACES + 1])
    return {
        "request": request,
        "entries": entries,
        "workspace": visit.workspace,
        "workspaces": [visit.workspace, *(membership.workspace for membership in others[:MOST_WORKSPACES])],
        "more": len(others) > MOST_WORKSPACES,
    }
