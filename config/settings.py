"""One settings file; everything that differs between installations comes from the environment (config/env.py)."""

from datetime import timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

from config import env

ENV = env.read()
BASE_DIR = env.ROOT
PLACET_HOME = ENV.placet_home
PLACET_SOCKETS = ENV.sockets
PLACET_KEYS = PLACET_HOME / "keys"
PLACET_URL = ENV.placet_url or f"http://127.0.0.1:{ENV.port}"
PLACET_LOOPBACK = f"http://{ENV.loopback}"
PLACET_LAUNCHERS = ENV.placet_launchers or str(PLACET_HOME / "launchers.toml")
PLACET_EGRESS_ALLOW = ENV.placet_egress_allow
PLACET_CA_FILE = ENV.placet_ca_file
PLACET_EVALUATORS = ENV.placet_evaluators
PLACET_WEB_WORKERS = ENV.placet_web_workers
PLACET_PIN_CPUS = ENV.placet_pin_cpus
PLACET_PDP = ENV.placet_pdp
OPA_URL = ENV.opa_url
# With which token we ask an OPA server; our own sidecars get one that nobody else knows.
OPA_TOKEN = ENV.opa_token or ("" if OPA_URL else ENV.secret("opa_query"))
# With which token our own sidecars fetch bundles and report.
PLACET_OPA_TOKEN = ENV.secret("opa")
# Whether a process starts evaluators of its own when none are running: for tests alone.
PLACET_PRIVATE_EVALUATORS = False
PLACET_DECISION_TIMEOUT_MS = ENV.placet_decision_timeout_ms
PLACET_LEASE_SECONDS = ENV.placet_lease_seconds
PLACET_BREAKER_FAILURES = ENV.placet_breaker_failures
PLACET_BREAKER_SECONDS = ENV.placet_breaker_seconds
PLACET_BREAKER_PROBES = ENV.placet_breaker_probes
PLACET_UPSTREAM_CALLS = ENV.placet_upstream_calls
PLACET_UPSTREAM_CALLS_PER_PROCESS = ENV.placet_upstream_calls_per_process
PLACET_RETRY_PERCENT = ENV.placet_retry_percent
PLACET_OPA_LOG_GRACE_SECONDS = ENV.placet_opa_log_grace_seconds
PLACET_OPA_LOG_DAYS = ENV.placet_opa_log_days
PLACET_OPA_WAIT_SECONDS = ENV.placet_opa_wait_seconds
PLACET_OPA_WAITERS = ENV.placet_opa_waiters
PLACET_CALLS_PER_PROCESS = ENV.placet_calls_per_process
PLACET_CALLS_PER_AGENT = ENV.placet_calls_per_agent
# Who asks a database over a network waits more of the time, and another can work meanwhile.
PLACET_CALLS_AT_WORK = ENV.placet_calls_at_work or (4 if ENV.database_url else 2)
PLACET_CALLS_WAITING = ENV.placet_calls_waiting
PLACET_CALLS_WAIT_MS = ENV.placet_calls_wait_ms
PLACET_OTHER_REQUESTS = ENV.other_requests
PLACET_TRAIL_ALARM_SECONDS = ENV.placet_trail_alarm_seconds
PLACET_TRAIL_LIMIT_SECONDS = ENV.placet_trail_limit_seconds
PLACET_METRICS_TOKEN = ENV.placet_metrics_token
# The `python` transport runs functions of this process: for tests alone.
PLACET_TEST_TRANSPORTS = False
PLACET_AUDIT_PERMISSION = "registry.permissions.MayReadTrail"

SECRET_KEY = ENV.secret_key or ENV.secret("django")
DEBUG = ENV.placet_debug
ALLOWED_HOSTS = [host.strip() for host in ENV.placet_allowed_hosts.split(",") if host.strip()]
CSRF_TRUSTED_ORIGINS = [PLACET_URL] if PLACET_URL.startswith("https://") else []
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
AUTH_USER_MODEL = "registry.Person"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False
APPEND_SLASH = False

INSTALLED_APPS = [
    "config.back_office.BackOffice",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "simple_history",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.usersessions",
    "audit",
    "registry",
    "gateway",
    "agents",
    "operations",
    "config",
]
MIDDLEWARE = [
    "config.middleware.Correlation",
    "config.middleware.Shortcut",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.middleware.ContentSecurityPolicy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "simple_history.middleware.HistoryRequestMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]


def database(process: str) -> dict[str, Any]:
    """Return the connection of `process`: its own role and password, on the embedded server or DATABASE_URL's."""
    common: dict[str, Any] = {
        "ENGINE": "config.database",
        "CONN_MAX_AGE": None,  # opening a connection per request costs 5-7 times the rate
        "CONN_HEALTH_CHECKS": True,
        "USER": f"placet_{process}",
        "OPTIONS": {
            "application_name": f"placet {process}",
            "connect_timeout": 5,
            # At once: only constant texts are prepared (audit.prepared).
            "prepare_threshold": 0 if ENV.placet_prepared_statements else None,
            # What is prepared, or stands in a function, looks rows up by their keys: a plan is as good for any value.
            # Left to itself PostgreSQL planned what is live anew for each call, which cost more than finding it.
            "options": "-c lock_timeout=5s -c idle_in_transaction_session_timeout=60s -c timezone=UTC "
            "-c plan_cache_mode=force_generic_plan",
        },
    }
    if not ENV.database_url:
        return common | {
            "NAME": "placet",
            "HOST": str(ENV.sockets),
            "PASSWORD": ENV.secret(f"database_{process}"),
        }
    url = urlsplit(ENV.database_url)
    place = {"NAME": url.path.lstrip("/") or "placet", "HOST": url.hostname or "", "PORT": url.port or ""}
    if process == "owner":
        place |= {"USER": unquote(url.username or "placet_owner"), "PASSWORD": unquote(url.password or "")}
    else:
        place |= {"PASSWORD": ENV.secret(f"database_{process}")}
    return common | place


def identity_provider(given: env.Environment) -> dict[str, Any]:
    """Return allauth's description of the organisation's OpenID provider; empty if none is set."""
    if not given.placet_oidc_issuer:
        return {}
    app = {
        "provider_id": "organisation",
        "name": given.placet_oidc_name,
        "client_id": given.placet_oidc_client_id,
        "secret": given.placet_oidc_client_secret,
        # What the signed ID token says is enough; a second answer could contradict it.
        "settings": {"server_url": given.placet_oidc_issuer.rstrip("/"), "fetch_userinfo": False},
    }
    return {"openid_connect": {"APPS": [app], "OAUTH_PKCE_ENABLED": True}}


DATABASES = {"default": database(ENV.placet_process)}

CELERY_BROKER_URL = ENV.broker_url or f"redis+socket://:{ENV.secret('valkey')}@{ENV.sockets}/valkey.sock?virtual_host=0"
CACHE_URL = ENV.cache_url or (
    ENV.broker_url
    if ENV.broker_url.startswith("redis")
    else f"redis+unix://:{ENV.secret('valkey')}@{ENV.sockets}/valkey.sock"
)

PASSWORD_HASHERS = ["django.contrib.auth.hashers.ScryptPasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/login/"
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = ENV.placet_secure_cookies
SESSION_COOKIE_NAME = "placet_session"
# Sign-in (docs/guides/people.md). Counts of failures and used one-time codes lie in the database: every web process
# sees them, and none of them is lost when Valkey is.
CACHES = {"default": {"BACKEND": "config.identity.tallies.Tallies", "TIMEOUT": 3600}}
PLACET_STEP_UP = timedelta(minutes=ENV.placet_step_up_minutes)
PLACET_SECOND_FACTOR = ENV.placet_second_factor
ALLAUTH_TRUSTED_PROXY_COUNT = ENV.placet_trusted_proxies
ACCOUNT_ADAPTER = "config.identity.adapters.Accounts"
ACCOUNT_FORMS = {"login": "config.identity.forms.SignIn"}
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*"]  # nobody signs up; allauth wants to know the shape
ACCOUNT_EMAIL_VERIFICATION = "none"  # an installation has no mail server by default
ACCOUNT_SESSION_REMEMBER = False
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = False  # the session that changes it stays; Django ends all others
ACCOUNT_REAUTHENTICATION_TIMEOUT = int(PLACET_STEP_UP.total_seconds())
# By address of the client (an office may share one) and, for failures, by user name.
ACCOUNT_RATE_LIMITS = {"login": "120/m/ip", "login_failed": "30/m/ip,5/300s/key"}
ACCOUNT_CHANGE_EMAIL = False
ACCOUNT_USER_DISPLAY = "config.identity.adapters.shown"
MFA_ADAPTER = "config.identity.adapters.Factors"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_RECOVERY_CODES_SHOW_ONCE = True
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_TOTP_ISSUER = "Placet"
MFA_TOTP_TOLERANCE = 1
SOCIALACCOUNT_ADAPTER = "config.identity.adapters.Identities"
SOCIALACCOUNT_EMAIL_VERIFICATION = "none"
SOCIALACCOUNT_PROVIDERS = identity_provider(ENV)
PLACET_OIDC_NAME = ENV.placet_oidc_name if ENV.placet_oidc_issuer else ""
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 4 * 1024 * 1024

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "templates" / "static"]
WHITENOISE_USE_FINDERS = True  # a handful of files: nothing has to be collected

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "registry.token_authentication.AccessTokenAuthentication",
        "gateway.authentication.CredentialAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["registry.permissions.DenyAll"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["config.parsers.StrictJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "config.errors.respond",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Placet",
    "DESCRIPTION": "Governance registry and policy gateway for AI agents.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "ENUM_ADD_EXPLICIT_BLANK_NULL_CHOICE": False,
    # What is asked is bounded more tightly than what is told: blank texts are refused, unknown members too.
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "config.openapi.closed"],
    "ENUM_NAME_OVERRIDES": {
        "CallState": "gateway.models.Call.State",
        "SessionState": "gateway.models.Session.State",
        "HoldState": "gateway.models.Hold.State",
        "RunState": "agents.models.Run.State",
        "StepState": "agents.models.Step.State",
    },
}

LOGGING_CONFIG = "config.logging.configure"
LOGGING = {"level": ENV.placet_log_level, "format": ENV.placet_log_format}
