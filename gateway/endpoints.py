"""HTTP addresses of this deployment: what an endpoint's name stands for, who may use it, and with which secrets."""

from collections.abc import Mapping
from functools import cached_property
from typing import Literal
from uuid import UUID

from django.conf import settings
from pydantic import BaseModel, ConfigDict, Field, field_validator

from audit import canonical
from gateway import deployment, destinations

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


class EndpointUnknown(Exception):
    """The deployment's configuration has no endpoint of that name."""


class EndpointInvalid(Exception):
    """The endpoint cannot be used; the text names the member and what is wrong."""


class Endpoint(BaseModel):
    """One address that this deployment offers to contracts."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    url: str = Field(description="Address of the server, or of the one MCP endpoint; contracts add a path to it.")
    methods: tuple[Method, ...] = Field(default=("GET", "POST"), min_length=1, description="What http tools may use.")
    headers: dict[str, str] = Field(default={}, description="Sent with every request.")
    bearer: str | None = Field(default=None, description="Secret that is sent as Authorization: Bearer.")
    secrets: dict[str, str] = Field(default={}, description="Header -> secret that is its value.")
    workspaces: tuple[UUID, ...] = Field(default=(), description="Who may use it; empty: every workspace.")
    environments: tuple[str, ...] = Field(default=(), description="Where it may be used; empty: everywhere.")
    timeout_ms: int | None = Field(default=None, ge=1, description="Longest exchange, if shorter than the contract's.")

    @field_validator("url")
    @classmethod
    def _readable(cls, url: str) -> str:
        try:
            where = destinations.parse(url)
        except destinations.ConnectRefused as error:
            raise ValueError(error.detail) from error
        if "?" in where.target:
            raise ValueError("it must have no query")
        return url

    @field_validator("headers", "secrets")
    @classmethod
    def _header_names(cls, headers: dict[str, str]) -> dict[str, str]:
        for header in headers:
            if not destinations.is_header(header):
                raise ValueError(f"{header!r} is no header that can be set here")
        return headers

    @cached_property
    def digest(self) -> str:
        """Changes when the operator edits the endpoint: connections of the old text are not used any more."""
        return canonical.sha256(self.model_dump(mode="json"))

    @property
    def base(self) -> str:
        """The URL to which a contract's path is added."""
        return self.url.rstrip("/")

    def sent_headers(self) -> Mapping[str, str]:
        """Return the headers of every request, secrets included, read anew so that they can be rotated.

        :raises EndpointInvalid: a secret is missing.
        """
        headers = dict(self.headers)
        wanted = dict(self.secrets) | ({"Authorization": self.bearer} if self.bearer is not None else {})
        for header, reference in wanted.items():
            try:
                value = deployment.secret(reference)
            except deployment.DeploymentInvalid as error:
                raise EndpointInvalid(f"endpoints.{self.name}: the secret of {header}: {error}") from error
            headers[header] = f"Bearer {value}" if header == "Authorization" and self.bearer is not None else value
        return headers

    def serves(self, workspace: UUID, environment: str) -> bool:
        """Say whether calls of this workspace and environment may use it."""
        return (not self.workspaces or workspace in self.workspaces) and (
            not self.environments or environment in self.environments
        )


def get(name: str) -> Endpoint:
    """Return the endpoint `name`; an edited file counts from the next call on.

    :raises EndpointUnknown: the file has none of that name.  :raises EndpointInvalid: the file is wrong.
    """
    try:
        return deployment.entries("endpoints", Endpoint)[name]
    except deployment.DeploymentInvalid as error:
        raise EndpointInvalid(str(error)) from error
    except KeyError:
        raise EndpointUnknown(
            f"{settings.PLACET_LAUNCHERS} has no endpoint {name!r}; add [endpoints.{name}]."
        ) from None
