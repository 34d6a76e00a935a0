"""Every address of Placet, in one place."""

from django.contrib import admin
from django.http import Http404
from django.urls import include, path, re_path

from config import health, openapi
from config.errors import not_found

API = "api/v1/"
urlpatterns = [
    path("livez", health.live, name="live"),
    path("readyz", health.ready, name="ready"),
    path("metrics", health.metrics, name="metrics"),
    path(f"{API}openapi.json", openapi.Document.as_view(), name="openapi"),
    path(API, include("registry.urls")),
    path(API, include("gateway.urls")),
    path(API, include("agents.urls")),
    path(API, include("audit.urls")),
    path("log/", include("audit.log_urls")),
    path("opa/", include("registry.opa_urls")),
    path("opa/", include("gateway.opa_urls")),
    path("", include("config.identity.urls")),
    path("", include("config.page_urls")),
    # The one form of the back office that writes: passwords are set with `manage.py person`.
    re_path("^admin/password_change/", lambda request: not_found(request, Http404())),
    path("admin/", admin.site.urls),
]
handler400 = "config.errors.bad_request"
handler403 = "config.errors.forbidden"
handler404 = "config.errors.not_found"
handler500 = "config.errors.server_error"
