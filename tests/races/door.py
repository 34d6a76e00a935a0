"""A web process of the tests: `python -m tests.races.door` serves REST on a free port of loopback, in a few threads.

It prints its port, and ends when its standard input does. Many connections wait for the threads, as at any server.
"""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import django

django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402

from tests.gateway import stage  # noqa: E402, F401 - registers the tools

THREADS = 12


class _Handler(WSGIRequestHandler):
    def log_message(self, *args):
        """Say nothing."""


class _Server(WSGIServer):
    request_queue_size = 256

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.set_app(get_wsgi_application())
        self.pool = ThreadPoolExecutor(THREADS)

    def process_request(self, request, client_address):
        self.pool.submit(self._answer, request, client_address)

    def _answer(self, request, client_address):
        try:
            self.finish_request(request, client_address)
        except OSError:
            self.handle_error(request, client_address)
        finally:
            self.shutdown_request(request)


def main():
    server = _Server()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
