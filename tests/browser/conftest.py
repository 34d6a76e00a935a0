"""Debian's chromium, driven by playwright, on a server of the test process."""

import os
import subprocess
import tempfile
import threading
from contextlib import ExitStack

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.db import connections
from playwright.sync_api import sync_playwright

from tests.browser import window


@pytest.fixture(scope="module")
def browser():
    """A browser with a profile of its own. Without one: skipped outside CI, required in CI.

    It ends with its module: playwright's loop would be in the way of other files' loops in this thread.
    """
    found = subprocess.run([window.ROOT / "scripts/chromium"], capture_output=True, text=True, check=False)
    if found.returncode:
        said = found.stderr.strip().splitlines()[-1]
        if os.environ.get("CI"):
            pytest.fail(said)
        pytest.skip(said)
    # Playwright runs a loop of its own in this thread, which Django would take for an async request.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with tempfile.TemporaryDirectory() as profile, sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=found.stdout.strip(), headless=True, args=window.FLAGS, env=os.environ | {"HOME": profile}
        )
        yield started
        # While its loop runs, this thread has connections of its own in Django's eyes. The next browser would find
        # them as other tests left them, and no test in between sees them.
        connections.close_all()
        started.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        """Say nothing: what a test needs to know, it asks."""


class _Server(ThreadedWSGIServer):
    def process_request_thread(self, request, client_address):
        """Close what the thread has opened: the server's threads are many and short."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            connections.close_all()

    def handle_error(self, request, client_address):
        """Ignore browsers that close a connection early."""


@pytest.fixture(scope="session")
def base(django_db_setup, django_db_blocker):
    """The address of a server of this process, on the committing database."""
    with django_db_blocker.unblock():
        server = _Server(("127.0.0.1", 0), _Quiet)
        server.set_app(WSGIHandler())
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def _kept(browser, base):
    """Return a function: size, theme -> a window that stays open: a new one costs more than most pages."""
    with ExitStack() as stack:
        found = {}

        def find(size, theme):
            if (size, theme) not in found:
                found[size, theme] = stack.enter_context(window.opened(browser, base, size=size, theme=theme))
            return found[size, theme]

        yield find


@pytest.fixture
def look_as(_kept, world):
    """Return a function: role, size, theme -> a window, signed in as them, for a look at a page by its address."""

    def look(role, size, theme):
        if role:
            world.client(role)
        seen = _kept(size, theme)
        seen.admit(world.cookies[role] if role else None)
        return seen

    return look


@pytest.fixture
def open_as(browser, base, world):
    """Return a function: role -> a window signed in as them; size and theme may be named."""
    with ExitStack() as stack:

        def make(role=None, **how):
            cookie = None
            if role:
                world.client(role)
                cookie = world.cookies[role]
            return stack.enter_context(window.opened(browser, base, cookie=cookie, **how))

        yield make
