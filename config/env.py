"""What an operator can set: read once from the environment, typed, with an error that names the variable."""

import contextlib
import hashlib
import os
import re
import secrets
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from gateway import destinations

ROOT = Path(__file__).resolve().parent.parent
SPARE_THREADS = 2  # of a web process: they turn away what there is no room for
LEAST_OTHER_REQUESTS = 4
Process = Literal["owner", "web", "worker", "sequencer", "publisher", "bundler"]


class FileSecrets(EnvSettingsSource):
    """Read `NAME` from the file that `NAME_FILE` names: container platforms mount secrets as files."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        path, _, _ = super().get_field_value(field, f"{field_name}_file")
        return (Path(path).read_text().strip() if path else None), field_name, False


class Environment(BaseSettings):
    """Every setting of Placet. docs/reference/settings.md explains each; a test keeps the two in step."""

    model_config = SettingsConfigDict(extra="ignore", case_sensitive=False)

    placet_home: Path = Field(
        ROOT / ".placet", description="Where the embedded servers, sockets, secrets and keys live."
    )
    placet_process: Process = Field("web", description="Which process this is: chooses its database role.")
    placet_url: str = Field("", description="The address people reach Placet at; default http://127.0.0.1:PORT.")
    placet_bind: str = Field("127.0.0.1", description="Address that the web process listens on.")
    port: int = Field(8000, ge=1, le=65535, description="Port that the web process listens on.")
    placet_debug: bool = Field(False, description="Show tracebacks. Never in production.")
    placet_allowed_hosts: str = Field(
        "127.0.0.1,localhost,[::1]", description="Host names that are answered, by commas."
    )
    placet_secure_cookies: bool = Field(False, description="Send cookies over HTTPS only: set it behind TLS.")
    secret_key: str = Field("", description="Django's signing key; default: made once under PLACET_HOME/secrets.")
    database_url: str = Field("", description="postgresql://OWNER:PASSWORD@HOST/NAME; unset: embedded PostgreSQL.")
    placet_prepared_statements: bool = Field(
        True, description="Prepare the statements of a call; off behind a pooler that keeps none."
    )
    broker_url: str = Field("", description="Celery's broker, redis:// or amqp://; unset: embedded Valkey.")
    cache_url: str = Field(
        "", description="redis:// of the rate tokens; unset: the broker when that is Valkey or Redis."
    )
    placet_launchers: str = Field(
        "", description="File of tool servers' commands and addresses; default PLACET_HOME/launchers.toml."
    )
    placet_pdp: Literal["embedded", "opa", "shadow"] = Field(
        "embedded", description="Who decides: evaluators, an OPA server, or evaluators with an OPA server compared."
    )
    opa_url: str = Field(
        "",
        description="http(s)://host:port or unix:///path.sock, may have {workspace} and {environment}; unset: our own.",
    )
    opa_token: str = Field("", description="Bearer token for that OPA server; unset and our own: made by itself.")
    placet_egress_allow: str = Field(
        "", description="Destinations beyond public HTTPS: names, addresses, ranges, each with an optional :port."
    )
    placet_ca_file: str = Field("", description="Certificate authorities of outgoing TLS; unset: the system's.")
    placet_evaluators: int = Field(0, ge=0, le=64, description="Policy evaluator processes; 0: as many as cores.")
    placet_decision_timeout_ms: int = Field(500, ge=10, le=10_000, description="Longest policy evaluation, ms.")
    placet_pin_cpus: bool | None = Field(
        None,
        description="Keep each web process and evaluator on one processor; unset: if there are as many as processors.",
    )
    placet_web_workers: int = Field(2, ge=1, le=64, description="Web server processes.")
    placet_web_threads: int = Field(
        44, ge=8, le=512, description="Threads in each web server process: those of calls, of long polls and others."
    )
    placet_web_connections: int = Field(
        512, ge=8, le=65_536, description="Connections of clients in each web server process, idle ones included."
    )
    placet_calls_per_process: int = Field(
        12, ge=1, le=256, description="Calls in hand in each web server process, those at their tool included."
    )
    placet_calls_per_agent: int = Field(
        9, ge=1, le=256, description="Calls of one agent among them: fewer, so that no agent ever has them all."
    )
    placet_calls_at_work: int = Field(
        0,
        ge=0,
        le=256,
        description="Calls that a process decides or records at once; 0: 2, and 4 with `DATABASE_URL`.",
    )
    placet_calls_waiting: int = Field(
        12, ge=0, le=256, description="Calls that wait for their turn in each web server process; more are refused."
    )
    placet_calls_wait_ms: int = Field(
        1000, ge=0, le=30_000, description="Longest wait of a call for its turn, ms; past it, it is refused."
    )
    placet_lease_seconds: int = Field(10, ge=1, le=600, description="Lease of a step and of a claimed call, seconds.")
    placet_breaker_failures: int = Field(
        5, ge=1, le=1000, description="By how many failures must outnumber answers before a tool's breaker opens."
    )
    placet_breaker_seconds: int = Field(
        30, ge=1, le=600, description="How long a breaker stays open before the first probe; doubles up to 600."
    )
    placet_breaker_probes: int = Field(
        1,
        ge=1,
        le=100,
        description="Probes that a half-open breaker lets through; all answered, it closes.",
    )
    placet_upstream_calls: int = Field(
        64, ge=1, le=10_000, description="Calls under way at one upstream, per environment, all processes together."
    )
    placet_upstream_calls_per_process: int = Field(
        6, ge=1, le=1000, description="Calls under way at one upstream in one process: fewer than it has in hand."
    )
    placet_retry_percent: int = Field(
        10,
        ge=0,
        le=100,
        description="Retries of a tool, as a share of its calls; beside them one each 10 s.",
    )
    placet_opa_wait_seconds: int = Field(
        5, ge=0, le=20, description="Longest time that an OPA server's request for a bundle waits for a newer one."
    )
    placet_opa_waiters: int = Field(4, ge=0, le=64, description="Such requests that wait at once in a web process.")
    placet_trail_alarm_seconds: int = Field(
        30, ge=1, le=86_400, description="Age of the oldest record without a signed checkpoint that raises the alarm."
    )
    placet_trail_limit_seconds: int = Field(
        600, ge=1, le=86_400, description="Age past which tools of high risk are refused."
    )
    placet_opa_log_grace_seconds: int = Field(
        900, ge=10, le=86_400, description="After how long a decision of an OPA server that it did not log is an alarm."
    )
    placet_opa_log_days: int = Field(7, ge=1, le=400, description="Days that matched decision logs are kept.")
    placet_log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level that is logged."
    )
    placet_log_format: Literal["text", "json"] = Field("text", description="One log line as text or as JSON.")
    placet_step_up_minutes: int = Field(
        15, ge=1, le=720, description="How fresh a sign-in must be to decide in a protected environment, minutes."
    )
    placet_second_factor: Literal["optional", "required"] = Field(
        "optional", description="Whether deciding in a protected environment needs a second factor."
    )
    placet_trusted_proxies: int = Field(
        0, ge=0, le=8, description="Proxies in front whose X-Forwarded-For is believed, for sign-in limits."
    )
    placet_oidc_issuer: str = Field("", description="Issuer of the organisation's OpenID provider; unset: none.")
    placet_oidc_client_id: str = Field("", description="Our client id at the OpenID provider.")
    placet_oidc_client_secret: str = Field("", description="Our client secret at the OpenID provider.")
    placet_oidc_name: str = Field("your organisation", description="What the button of the provider says.")
    placet_metrics_token: str = Field("", description="Bearer token for /metrics; unset: loopback clients only.")

    @model_validator(mode="after")
    def _threads_suffice(self) -> "Environment":
        if self.other_requests < LEAST_OTHER_REQUESTS:
            needed = self.placet_web_threads + LEAST_OTHER_REQUESTS - self.other_requests
            raise ValueError(
                "PLACET_WEB_THREADS must leave room beside PLACET_CALLS_PER_PROCESS, PLACET_CALLS_WAITING and "
                f"PLACET_OPA_WAITERS: set it to {needed} or more, or those lower"
            )
        return self

    @field_validator("database_url")
    @classmethod
    def _postgresql_only(cls, url: str) -> str:
        if url and not url.startswith(("postgresql://", "postgres://")):
            raise ValueError("must be a postgresql:// URL; no other database is supported")
        return url

    @field_validator("placet_egress_allow")
    @classmethod
    def _destinations(cls, text: str) -> str:
        destinations.read_list(text)
        return text

    @field_validator("placet_oidc_issuer")
    @classmethod
    def _issuer_over_tls(cls, url: str) -> str:
        given = urlsplit(url)
        loopback = given.scheme == "http" and given.hostname in ("127.0.0.1", "localhost")
        if url and given.scheme != "https" and not loopback:
            raise ValueError("must be an https:// URL (http:// on loopback only)")
        return url

    @field_validator("broker_url")
    @classmethod
    def _known_broker(cls, url: str) -> str:
        if url and not url.startswith(("redis://", "rediss://", "redis+socket://", "amqp://", "amqps://")):
            raise ValueError("must be a redis://, rediss://, redis+socket://, amqp:// or amqps:// URL")
        return url

    @field_validator("opa_url")
    @classmethod
    def _known_opa(cls, url: str) -> str:
        parts = urlsplit(url.replace("{workspace}", "w").replace("{environment}", "e"))
        over_tcp = parts.scheme in ("http", "https") and parts.hostname and parts.path in ("", "/") and not parts.query
        over_unix = parts.scheme == "unix" and parts.path and not parts.netloc
        if url and not (over_tcp or over_unix):
            raise ValueError("must be http://host:port, https://host:port or unix:///path.sock")
        return url

    @field_validator("opa_token")
    @classmethod
    def _bearer(cls, token: str) -> str:
        if token and not re.fullmatch(r"[A-Za-z0-9._~+/=-]+", token):
            raise ValueError("must be a bearer token: letters, digits and ._~+/=- only")
        return token

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, FileSecrets(settings_cls)

    @property
    def sockets(self) -> Path:
        """Directory of the private sockets; short, because a socket's path has at most 107 bytes."""
        place = self.placet_home / "sockets"
        if len(str(place)) > 80:
            # The launcher refuses it if it is somebody else's.
            short = hashlib.sha256(str(self.placet_home).encode()).hexdigest()[:12]
            place = Path("/tmp") / f"placet-{short}"  # noqa: S108
        return place

    @property
    def other_requests(self) -> int:
        """Threads of a web process that are left for requests that are no calls."""
        calls = self.placet_calls_per_process + self.placet_calls_waiting
        return self.placet_web_threads - calls - self.placet_opa_waiters - SPARE_THREADS

    @property
    def sidecars(self) -> bool:
        """Whether we run the OPA servers ourselves."""
        return self.placet_pdp != "embedded" and not self.opa_url

    @property
    def loopback(self) -> str:
        """Host and port of the web process for processes of this machine."""
        everywhere = self.placet_bind in ("0.0.0.0", "::", "")  # noqa: S104 - compared, not bound
        host = "127.0.0.1" if everywhere else self.placet_bind
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def secret(self, name: str) -> str:
        """Return the secret `name` from PLACET_HOME/secrets, made on first use with mode 0600."""
        directory = self.placet_home / "secrets"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = directory / name
        if not path.exists():
            # Written aside and linked: two processes that start together agree on one whole secret.
            aside = directory / f".{name}.{secrets.token_hex(4)}"
            with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(32))
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(aside)
            aside.unlink()
        return path.read_text().strip()


def read() -> Environment:
    """Return the settings. :raises SystemExit: naming each wrong variable and what is wrong with it."""
    try:
        return Environment()
    except ValidationError as error:
        lines = []
        for one in error.errors():
            name = "_".join(map(str, one["loc"])).upper()
            # What several settings together did wrong has no name, and its input is all of them, secrets included.
            hidden = not name or name.endswith(("_TOKEN", "_KEY"))
            got = "" if hidden else f" (got {one['input']!r})"
            lines.append(f"{name}: {one['msg']}{got}" if name else one["msg"])
        raise SystemExit("These settings are wrong:\n  " + "\n  ".join(lines)) from error
