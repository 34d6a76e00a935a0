"""Settings of the tests: the real ones, on a server of the test run's own, with one connection per database role."""

from config.settings import *  # noqa: F403
from config.settings import database

DATABASES = {"default": database("web")}
for _role in ("owner", "web", "worker", "sequencer", "publisher", "bundler"):
    DATABASES[_role] = database(_role)
PLACET_TEST_TRANSPORTS = True
PLACET_PRIVATE_EVALUATORS = True
# Several test processes share the processors.
PLACET_PIN_CPUS = False
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ALLOWED_HOSTS = ["*"]
LOGGING = {"level": "warning", "format": "text"}
# Else every test client scans all static files when it is made.
WHITENOISE_AUTOREFRESH = True
# Many tests share a tool and let it fail: only tests of the breaker and the bulkhead want these to bite.
PLACET_BREAKER_FAILURES = 1000
PLACET_UPSTREAM_CALLS = 1000
PLACET_UPSTREAM_CALLS_PER_PROCESS = 1000
# Nobody signs the trails of these tests unless a test does.
PLACET_TRAIL_LIMIT_SECONDS = 86_400
