"""What OPA servers ask of us: bundles, and a place to report to. In OPA's words; docs/reference/opa.md."""

from typing import Any

from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from audit.refusal import Refusal
from registry import bundles, opa, pdp_credentials, pdps, upkeep, waiters
from registry.models import Environment


class PdpUser:
    """What `request.user` is for a decision point: no person and no credential of an agent."""

    is_authenticated = True
    is_anonymous = False
    is_active = True
    pk = None

    def __init__(self, given: pdp_credentials.Pass) -> None:
        self.actor = given.actor


class PdpAuthentication(BaseAuthentication):
    """Authenticate `Authorization: Bearer <key>` of a decision point; `request.auth` is then its Pass."""

    def authenticate(self, request: Request) -> tuple[PdpUser, pdp_credentials.Pass]:
        """Return who asks. :raises Refusal: 401."""
        scheme, _, key = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            detail = "Send `Authorization: Bearer <key>` with a key of a decision point of this environment."
            raise Refusal("credential_missing", detail, status=401)
        given = pdp_credentials.authenticate(key.strip(), address=request.META.get("REMOTE_ADDR", ""))
        return PdpUser(given), given

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge of a 401."""
        return 'Bearer realm="placet"'


class DecisionPoint(BasePermission):
    """A decision point of the environment in the address; to those of another one it does not exist."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Find the environment, for the view. :raises Refusal: not_found."""
        given: Any = request.auth
        place = pdp_credentials.place(given, view.kwargs["workspace"], view.kwargs["environment"])
        view.place = place  # type: ignore[attr-defined]
        return True


class OpaView(APIView):
    """An address for decision points. `place`: the environment that it names, to which the caller belongs."""

    authentication_classes = (PdpAuthentication,)
    permission_classes = (DecisionPoint,)
    place: Environment


class BundleView(OpaView):
    """The newest signed bundle of an environment, at once or when there is a newer one."""

    @extend_schema(exclude=True)
    def get(self, request: Request, workspace: str, environment: str) -> HttpResponse:
        prefer = request.headers.get("Prefer", "")
        known = opa.tags(request.headers.get("If-None-Match", ""))
        seconds = opa.wait_of(prefer) if request.method == "GET" else 0.0
        revision = bundles.newest_revision(self.place.pk)
        crowded = bool(seconds) and waiters.full()
        if seconds and not crowded and (revision is None or revision in known):
            revision = waiters.wait(self.place.pk, revision, seconds=seconds)
        if revision is None:
            raise Refusal("bundle_missing", "Nothing was ever published for this environment.", status=404)
        headers = {"ETag": f'"{revision}"', "Cache-Control": "private, no-cache"}
        if revision in known and not crowded:
            return HttpResponse(status=304, headers=headers)
        # A 304 would make OPA ask for a long poll again at once, for ever; a plain bundle makes it poll instead.
        kind = opa.BUNDLE_TYPE if opa.knows_long_polls(prefer) and not crowded else opa.PLAIN_TYPE
        raw = bundles.signed_by(self.place.pk, revision, request.query_params.get("keyid", ""))
        return HttpResponse(raw, content_type=kind, headers=headers)


class StatusView(OpaView):
    """The sink of OPA's status plugin."""

    @extend_schema(exclude=True)
    def post(self, request: Request, workspace: str, environment: str) -> Response:
        body = read(request, largest=opa.LARGEST_STATUS)
        pdps.report(self.place, opa.status_of(body))
        upkeep.finish_in(self.place, now=timezone.now())
        return Response(status=204)


def read(request: Request, *, largest: int) -> Any:
    """Return the JSON of a request that no parser has touched. :raises Refusal: as `opa.read`."""
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    return opa.read(request._request, encoding=encoding, largest=largest)
