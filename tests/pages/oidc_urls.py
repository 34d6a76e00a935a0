"""The addresses of an installation that has an OpenID provider."""

from django.urls import include, path

from config import urls
from config.identity.urls import PROVIDER

handler400, handler403, handler404, handler500 = urls.handler400, urls.handler403, urls.handler404, urls.handler500
urlpatterns = [*urls.urlpatterns, path("", include(PROVIDER))]
