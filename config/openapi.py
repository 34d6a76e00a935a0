"""What the OpenAPI document cannot read off the views; and the document itself, made once a process."""

from functools import cache
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.views import SpectacularJSONAPIView


class CredentialScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Agents and applications send their key as a bearer token."""

    target_class = "gateway.authentication.CredentialAuthentication"
    name = "credential"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """Return the security scheme."""
        return {"type": "http", "scheme": "bearer", "description": "A key of a credential: `placet_…`."}


class AccessTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Programs of a person send the person's access token."""

    target_class = "registry.token_authentication.AccessTokenAuthentication"
    name = "access_token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """Return the security scheme."""
        return {"type": "http", "scheme": "bearer", "description": "An access token of a person: `placet_person_…`."}


class Kept(SchemaGenerator):
    """Gives the document that the first request made: it is the same for everybody and takes half a second."""

    def get_schema(self, request: Any = None, public: bool = False) -> Any:
        """Return the document, whoever asks."""
        return _document()


class Document(SpectacularJSONAPIView):
    """The OpenAPI document of this API, as its address says in JSON: to write YAML took ten times as long."""

    generator_class = Kept


def closed(result: Any, **_: Any) -> Any:
    """Say of every body that is sent to us that it has no other members: audit.strict refuses them."""
    shapes = result["components"]["schemas"]
    for path in result["paths"].values():
        for operation in path.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                name = content["schema"].get("$ref", "").rpartition("/")[2]
                if shapes.get(name, {}).get("properties"):
                    shapes[name]["additionalProperties"] = False
    return result


@cache
def _document() -> Any:
    return SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
