"""A web server on loopback that counts what reaches it, and misbehaves by path; and a resolver that tests can bend."""

import ipaddress
import os
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """Clients that break off are what these tests are about."""


class Web:
    """`with Web() as web:` serves at web.url until the block ends.

    :ivar requests: (method, path, headers, body) of each request that arrived.
    :ivar lines: connections so far. :ivar routes: path -> function(handler, body) that answers.
    """

    def __init__(self, address="127.0.0.1", context=None):
        self.requests, self.lines, self.routes = [], 0, dict(ROUTES)
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else what is said in two pieces waits 40 ms for an acknowledgement

            def setup(self):
                web.lines += 1
                super().setup()

            def answer(self):
                length = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(length)
                web.requests.append((self.command, self.path, dict(self.headers), body))
                web.routes.get(self.path.partition("?")[0], plain)(self, body)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer

            def log_message(self, *args):
                pass

        self._server = _Server((address, 0), Handler)
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.address, self.port = self._server.server_address[:2]
        self.scheme = "http" if context is None else "https"

    @property
    def url(self):
        return f"{self.scheme}://{self.address}:{self.port}"

    @property
    def here(self):
        """The entry of PLACET_EGRESS_ALLOW that lists this server."""
        return f"{self.address}:{self.port}"

    def __enter__(self):
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.002,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def plain(handler, body=b"", *, status=200, content=b'{"ok":true}', headers=()):
    """Answer whole and right."""
    handler.send_response(status)
    for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(content))), *headers):
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)


def _drip(handler, body):
    """Send a byte now and then, for ever: never late by any single read."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    _forever(handler, b"x", pause=0.02)


def _drip_headers(handler, body):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    _forever(handler, b"x", pause=0.02)


def _endless(handler, body):
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    _forever(handler, b"1000\r\n" + b"x" * 4096 + b"\r\n")


def _endless_headers(handler, body):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    _forever(handler, b"X-More: " + b"y" * 1000 + b"\r\n")


def _never_final(handler, body):
    _forever(handler, b"HTTP/1.1 103 Early Hints\r\n\r\n", pause=0.001)


def _hang(handler, body):
    handler.rfile.read(1)


def _reset(handler, body):
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    os.close(handler.connection.detach())


def _cut_off(handler, body):
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.write(b"half")
    handler.close_connection = True


def _garbage(handler, body):
    handler.wfile.write(b"220 smtp.example ESMTP\r\n\r\n")
    handler.close_connection = True


def _upgrade(handler, body):
    handler.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")


def _zipped(handler, body):
    plain(handler, headers=[("Content-Encoding", "gzip")])


def _forever(handler, piece, pause=0.0):
    while True:
        handler.wfile.write(piece)
        handler.wfile.flush()
        time.sleep(pause)


ROUTES = {
    "/drip": _drip,
    "/drip-headers": _drip_headers,
    "/endless": _endless,
    "/endless-headers": _endless_headers,
    "/never-final": _never_final,
    "/hang": _hang,
    "/reset": _reset,
    "/cut-off": _cut_off,
    "/garbage": _garbage,
    "/upgrade": _upgrade,
    "/zipped": _zipped,
}


class Names:
    """A resolver: name -> list of answers, each a list of addresses; the last answer stays. Else the system's.

    :ivar asked: the names that were looked up, in order.
    """

    def __init__(self, **answers):
        self.answers = {name.replace("_", "."): list(lists) for name, lists in answers.items()}
        self.asked = []

    def __call__(self, host, port, **options):
        self.asked.append(host)
        if host not in self.answers:
            return socket.getaddrinfo(host, port, **options)
        answers = self.answers[host]
        told = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in told]


def certificate(place, *names):
    """Write a certificate authority and a certificate for `names` below `place`; return (authority file, context)."""
    now = datetime.now(UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Test authority")])
    authority = (
        x509.CertificateBuilder()
        .subject_name(issuer)
        .issuer_name(issuer)
        .public_key(keys[0].public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(keys[0].public_key()), critical=False)
        .sign(keys[0], hashes.SHA256())
    )
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer)
        .public_key(keys[1].public_key())
        .serial_number(2)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key()), critical=False)
        .sign(keys[0], hashes.SHA256())
    )
    trusted, chain = place / "authority.pem", place / "chain.pem"
    trusted.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    private = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain.write_bytes(leaf.public_bytes(serialization.Encoding.PEM) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return trusted, context


def _general(name):
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
