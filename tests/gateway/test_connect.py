"""Outgoing HTTP: where it may go is judged on the address that is connected to, on every path that leaves us.

A canary on loopback counts what reaches it. A refusal counts only if the canary saw nothing, a success only if it did.
"""

import ipaddress
import json
import os
import signal
import socket
import ssl
import threading
import time
from uuid import uuid4

import anyio
import pytest

from gateway import connect, destinations, transport
from gateway.connect import ConnectRefused, lines
from tests.gateway.web import Names, Web, certificate, plain


@pytest.fixture(autouse=True)
def _clean():
    connect.close()
    yield
    connect.close()


@pytest.fixture
def canary():
    with Web() as web:
        yield web


@pytest.fixture
def names(monkeypatch):
    """Return a function: name=answers -> the resolver that gives them from now on."""

    def bend(**answers):
        resolver = Names(**answers)
        monkeypatch.setattr(lines, "lookup", resolver)
        return resolver

    return bend


def fetch(url, *, seconds=5.0, most_bytes=10_000, **more):
    return connect.fetch(url, purpose="test", deadline=time.monotonic() + seconds, most_bytes=most_bytes, **more)


def ask_async(url, *, seconds=5.0, most_bytes=10_000):
    """Ask over the client that the MCP SDK gets; raise what it left for the call."""

    async def ask():
        mark = connect.Departure(time.monotonic() + seconds)
        connect.departure.set(mark)
        async with connect.client(
            url, headers={}, most_bytes=most_bytes, stand_in=lambda _: b"{}", heard=lambda _: None
        ) as client:
            answer = await client.get(url)
        if mark.failure is not None:
            raise mark.failure
        return connect.Answer(answer.status_code, dict(answer.headers), answer.content)

    return anyio.run(ask)


PATHS = {"fetch": fetch, "async client": ask_async}


@pytest.fixture(params=PATHS)
def ask(request):
    """One way out: a function of a URL that raises an exception with `code`."""
    return PATHS[request.param]


class Contract:
    """The least that a transport needs of a contract."""

    name, digest = "outside", "sha256:" + "0" * 64

    def __init__(self, kind, content):
        self.kind, self.content = kind, content


CALLS = {
    "http tool": (
        Contract("tool", {"transport": {"kind": "http", "endpoint": "outside", "method": "POST", "path": "/"}}),
        {},
    ),
    "MCP server": (
        Contract(
            "tool",
            {"transport": {"kind": "mcp", "endpoint": "outside", "tool": "look", "definition": "sha256:" + "1" * 64}},
        ),
        {},
    ),
}

MODEL = {"provider": "openai", "endpoint": "outside", "model": "m", "context_length": 1000}
CALLS["model"] = (Contract("model", MODEL), {"messages": [{"role": "user", "content": "x"}]})
CALLS["streaming model"] = (
    Contract("model", MODEL | {"parameters": {"stream": True}}),
    {"messages": [{"role": "user", "content": "x"}]},
)


@pytest.fixture(params=CALLS)
def call(request, settings, tmp_path):
    """A call over one transport, to an endpoint with this URL."""
    settings.PLACET_LAUNCHERS = str(tmp_path / "launchers.json")

    def call(url):
        document = {"endpoints": {"outside": {"url": url}}}
        (tmp_path / "launchers.json").write_text(json.dumps(document))
        contract, arguments = CALLS[request.param]
        return transport.invoke(
            contract,
            arguments,
            key="k",
            deadline=time.monotonic() + 5,
            scope=transport.Scope(uuid4(), "development", "sha256:r"),
            correlation_id="c",
        )

    yield call
    transport.close()


# {} stands for the canary's port. Each of these would reach the canary, or something else inside.
FORBIDDEN = [
    "http://127.0.0.1:{}/",
    "https://127.0.0.1:{}/",
    "http://127.8.9.10:{}/",
    "http://localhost:{}/",
    "http://LOCALHOST.:{}/",
    "http://0.0.0.0:{}/",
    "http://[::]:{}/",
    "http://[::1]:{}/",
    "http://[0:0:0:0:0:0:0:1]:{}/",
    "http://[::ffff:127.0.0.1]:{}/",
    "http://[::ffff:7f00:1]:{}/",
    "http://[::127.0.0.1]:{}/",
    "http://[64:ff9b::127.0.0.1]:{}/",
    "http://[64:ff9b:1::127.0.0.1]:{}/",
    "http://[2002:7f00:1::]:{}/",
    "http://[2001:0:808:808::80ff:fffe]:{}/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://192.168.0.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://100.64.0.1/",
    "https://100.100.100.200/",
    "https://192.0.0.192/",
    "https://192.0.2.1/",
    "https://198.18.0.1/",
    "https://224.0.0.1/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    "https://[fe80::1]/",
    "https://[fc00::1]/",
    "https://[fd00:ec2::254]/",
    "https://[ff02::1]/",
    "https://[2001:db8::1]/",
    "https://inside.example/",
    "https://mixed.example/",
    "https://six.example/",
    # Public, but not over HTTPS on its port.
    "http://public.example/",
    "https://public.example:22/",
    "https://public.example:6379/",
]
INVALID = [
    "file:///etc/passwd",
    "ftp://127.0.0.1:{}/",
    "gopher://127.0.0.1:{}/_x",
    "unix:///run/x.sock",
    "data:text/plain,x",
    "ws://127.0.0.1:{}/",
    "//127.0.0.1:{}/",
    "127.0.0.1:{}",
    "http:127.0.0.1:{}",
    "http:///127.0.0.1:{}/",
    "",
    "http://good.example@127.0.0.1:{}/",
    "http://user:word@127.0.0.1:{}/",
    "http://127.0.0.1:{}@good.example/",
    "https://good.example\\@127.0.0.1:{}/",
    "https://good.example\\.127.0.0.1:{}/",
    "http://127.0.0.1:{}#@good.example/",
    "http://good.example#@127.0.0.1:{}/",
    "http://127.0.0.1:{}/\r\nX-Injected: 1",
    "http://127.0.0.1:{}/a b",
    "http://127.0.0.1 :{}/",
    "http://\t127.0.0.1:{}/",
    " http://127.0.0.1:{}/",
    "http://127.0.0.1\x00.good.example:{}/",
    "http://127.0.0.1%00.good.example:{}/",
    "http://127.0.0.1%2f@good.example:{}/",
    "http://2130706433:{}/",
    "http://0x7f000001:{}/",
    "http://0x7f.1:{}/",
    "http://0177.0.0.1:{}/",
    "http://127.1:{}/",
    "http://0:{}/",
    "http://①②⑦.0.0.1:{}/",
    "http://127。0。0。1:{}/",
    "http://[::1%25lo]:{}/",
    "http://[fe80::1%eth0]:{}/",
    "http://[::1:{}/",
    "http://::1:{}/",
    "http://127.0.0.1:{}:80/",
    "http://127.0.0.1:+{}/",
    "http://127.0.0.1:0/",
    "http://127.0.0.1:65536/",
    "http://127.0.0.1:99999999/",
    "http://.127.0.0.1:{}/",
    "http://a..b:{}/",
    "http://-x.example:{}/",
]


@pytest.mark.parametrize("url", FORBIDDEN)
def test_what_is_not_public_is_refused_on_every_path_and_hears_nothing(ask, canary, names, url):
    names(
        inside_example=[["127.0.0.1"]],
        mixed_example=[["93.184.216.34", "127.0.0.1"]],
        six_example=[["::1"]],
        public_example=[["93.184.216.34"]],
    )
    with pytest.raises(Exception, match="egress_forbidden") as refused:
        ask(url.format(canary.port))
    assert refused.value.happened == "no"
    assert (canary.lines, canary.requests) == (0, [])


@pytest.mark.parametrize("url", INVALID)
def test_what_two_programs_could_read_in_two_ways_is_refused_on_every_path(ask, canary, settings, url):
    settings.PLACET_EGRESS_ALLOW = f"{canary.here},good.example"
    with pytest.raises(Exception, match="egress_invalid") as refused:
        ask(url.format(canary.port))
    assert refused.value.happened == "no"
    assert (canary.lines, canary.requests) == (0, [])


@pytest.mark.parametrize("url", FORBIDDEN + INVALID)
def test_no_transport_reaches_what_connect_refuses(call, canary, names, settings, url):
    names(
        inside_example=[["127.0.0.1"]],
        mixed_example=[["93.184.216.34", "127.0.0.1"]],
        six_example=[["::1"]],
        public_example=[["93.184.216.34"]],
    )
    settings.PLACET_EGRESS_ALLOW = "good.example"
    with pytest.raises(transport.TransportFailed) as refused:
        call(url.format(canary.port))
    expected = "egress_forbidden" if url in FORBIDDEN else "endpoint_invalid"
    assert (refused.value.code, refused.value.happened) == (expected, "no")
    assert (canary.lines, canary.requests) == (0, [])


def test_a_listed_server_is_reached_over_every_transport_and_none_follows_its_redirect(call, canary, settings):
    settings.PLACET_EGRESS_ALLOW = canary.here
    with Web() as target:
        away = [("Location", f"{target.url}/secret")]
        for path in ("/", "/chat/completions"):
            canary.routes[path] = lambda handler, body: plain(handler, status=307, content=b"", headers=away)
        settings.PLACET_EGRESS_ALLOW = "127.0.0.1"
        with pytest.raises(transport.TransportFailed) as refused:
            call(canary.url)
        assert refused.value.code == "egress_redirect"
        assert (len(canary.requests), target.lines) == (1, 0)


@pytest.mark.parametrize("listed", ["{}", "127.0.0.0/8:{}", "127.0.0.0/8", "10.0.0.0/8, good.example ,127.0.0.1"])
def test_a_listed_address_is_reached_on_every_path(ask, canary, settings, listed):
    settings.PLACET_EGRESS_ALLOW = listed.format(canary.here if listed == "{}" else canary.port)
    answer = ask(canary.url + "/x?y=1")
    assert (answer.status, answer.body) == (200, b'{"ok":true}')
    assert [request[1] for request in canary.requests] == ["/x?y=1"]


@pytest.mark.parametrize("listed", ["127.0.0.1:1", "127.0.0.2", "10.0.0.0/8", "[::1]:{}", "other.example"])
def test_listing_one_place_opens_no_other(ask, canary, settings, listed):
    settings.PLACET_EGRESS_ALLOW = listed.format(canary.port)
    with pytest.raises(Exception, match="egress_forbidden"):
        ask(canary.url)
    assert canary.lines == 0


def test_a_listed_name_opens_what_is_inside_but_no_metadata_service(ask, canary, names, settings):
    names(forge_example=[["127.0.0.1"]], link_example=[["169.254.169.254"]], six_example=[["fd00:ec2::254"]])
    settings.PLACET_EGRESS_ALLOW = f"Forge.Example.:{canary.port},link.example,six.example"
    assert ask(f"http://forge.example:{canary.port}/").status == 200
    assert canary.requests[0][2]["Host"] == f"forge.example:{canary.port}"
    for name in ("link", "six"):
        with pytest.raises(Exception, match="egress_forbidden"):
            ask(f"https://{name}.example/")
    with pytest.raises(Exception, match="egress_forbidden"):
        ask(f"http://forge.example:{canary.port + 1}/")


def test_a_name_that_changes_its_address_is_judged_and_used_once_per_connection(ask, names, settings):
    with Web("127.0.0.2") as listed, Web("127.0.0.3") as other:
        resolver = names(moving_example=[["127.0.0.2"], ["127.0.0.3"]])
        settings.PLACET_EGRESS_ALLOW = "127.0.0.2"
        assert ask(f"http://moving.example:{listed.port}/").status == 200
        assert resolver.asked == ["moving.example"]
        connect.close()
        with pytest.raises(Exception, match="egress_forbidden"):
            ask(f"http://moving.example:{listed.port}/")
        assert (len(listed.requests), other.lines) == (1, 0)


def test_the_address_that_was_judged_is_the_one_that_is_connected_to(names, monkeypatch):
    names(public_example=[["93.184.216.34"], ["127.0.0.1"]])
    tried = []

    class Line(socket.socket):
        def connect(self, address):
            tried.append(address)
            raise OSError("no network here")

    monkeypatch.setattr(lines.socket, "socket", Line)
    with pytest.raises(ConnectRefused, match="egress_unreachable"):
        fetch("https://public.example/")
    assert tried == [("93.184.216.34", 443)]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 300, 304])
def test_no_redirect_is_followed_not_even_to_where_we_may_go(ask, canary, settings, status):
    with Web() as target:
        settings.PLACET_EGRESS_ALLOW = "127.0.0.1"
        there = [("Location", f"{target.url}/secret")]
        canary.routes["/"] = lambda handler, body: plain(handler, status=status, content=b"", headers=there)
        with pytest.raises(Exception, match="egress_redirect") as refused:
            ask(canary.url + "/")
        assert refused.value.happened == "maybe"
        assert (len(canary.requests), target.lines) == (1, 0)


def test_no_proxy_and_no_password_file_is_taken_from_the_environment(ask, canary, settings, monkeypatch, tmp_path):
    settings.PLACET_EGRESS_ALLOW = "127.0.0.1"
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login alice password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with Web() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert ask(canary.url).status == 200
        assert proxy.lines == 0
    assert "authorization" not in {name.lower() for name in canary.requests[0][2]}


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/drip", "egress_timeout"),
        ("/drip-headers", "egress_timeout"),
        ("/hang", "egress_timeout"),
        ("/never-final", "egress_(timeout|too_large)"),
        ("/endless", "egress_too_large"),
        ("/endless-headers", "egress_(protocol_error|too_large)"),
        ("/reset", "egress_unreachable"),
        ("/cut-off", "egress_unreachable"),
        ("/garbage", "egress_protocol_error"),
        ("/upgrade", "egress_protocol_error"),
        ("/zipped", "egress_encoded"),
    ],
)
def test_an_answer_that_is_slow_endless_or_broken_ends_and_may_have_happened(ask, canary, settings, path, code):
    settings.PLACET_EGRESS_ALLOW = canary.here
    with pytest.raises(Exception, match=code) as refused:
        ask(canary.url + path, seconds=0.5)
    assert refused.value.happened == "maybe"
    assert len(canary.requests) == 1
    assert ask(canary.url).status == 200


def test_a_body_has_a_limit_to_the_byte(ask, canary, settings):
    settings.PLACET_EGRESS_ALLOW = canary.here
    canary.routes["/"] = lambda handler, body: plain(handler, content=b"x" * 1000)
    assert len(fetch(canary.url, most_bytes=1000).body) == 1000
    with pytest.raises(ConnectRefused, match="egress_too_large"):
        fetch(canary.url, most_bytes=999)


def test_nothing_listens_nothing_happened(ask, settings):
    with Web() as gone:
        settings.PLACET_EGRESS_ALLOW = gone.here
    with pytest.raises(Exception, match="egress_unreachable") as refused:
        ask(gone.url)
    assert refused.value.happened == "no"


def test_a_resolver_that_hangs_or_knows_nothing_ends_with_the_deadline(ask, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(lines, "lookup", lambda *_, **__: gate.wait(10))
    with pytest.raises(Exception, match="egress_timeout") as refused:
        ask("https://slow.example/", seconds=0.2)
    assert refused.value.happened == "no"
    gate.set()

    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(lines, "lookup", unknown)
    with pytest.raises(Exception, match="egress_unresolved"):
        ask("https://nowhere.example/")


def test_a_process_without_files_or_threads_left_has_sent_nothing(canary, settings, monkeypatch):
    settings.PLACET_EGRESS_ALLOW = f"{canary.here},named.example"

    def no_files(*_):
        raise OSError(24, "Too many open files")

    def no_threads(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(lines.socket, "socket", no_files)
        with pytest.raises(ConnectRefused, match=r"egress_unreachable \(happened: no\)"):
            fetch(canary.url)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_threads)
        for _ in range(lines.LOOK_UPS + 1):
            with pytest.raises(ConnectRefused, match="can't start new thread"):
                fetch("http://named.example/")
    assert fetch(canary.url).status == 200


def test_without_the_certificate_authorities_that_were_named_nothing_is_trusted(call, canary, settings, tmp_path):
    settings.PLACET_EGRESS_ALLOW = canary.here
    settings.PLACET_CA_FILE = str(tmp_path / "missing.pem")
    connect.tls.cache_clear()
    with pytest.raises(transport.TransportFailed) as refused:
        call(canary.url)
    assert (refused.value.code, refused.value.happened, canary.lines) == ("egress_forbidden", "no", 0)
    connect.tls.cache_clear()


def test_a_deadline_that_has_passed_sends_nothing(ask, canary, settings):
    settings.PLACET_EGRESS_ALLOW = canary.here
    with pytest.raises(Exception, match="egress_timeout") as refused:
        ask(canary.url, seconds=-1)
    assert (refused.value.happened, canary.lines) == ("no", 0)


def test_connections_are_kept_and_a_name_is_looked_up_once_for_each(canary, names, settings):
    resolver = names(forge_example=[["127.0.0.1"]])
    settings.PLACET_EGRESS_ALLOW = "forge.example"
    for _ in range(5):
        assert fetch(f"http://forge.example:{canary.port}/").status == 200
    assert (canary.lines, resolver.asked, len(canary.requests)) == (1, ["forge.example"], 5)


@pytest.mark.parametrize("size", [0, 300, 200_000])
def test_head_and_body_of_a_request_leave_together_and_whole(settings, size):
    body = bytes(index % 251 for index in range(size))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        pieces = []

        def serve():
            line, _ = listening.accept()
            with line:
                pieces.append(line.recv(1 << 20))
                while len(b"".join(pieces).partition(b"\r\n\r\n")[2]) < size:
                    pieces.append(line.recv(1 << 20))
                line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        serving = threading.Thread(target=serve)
        serving.start()
        port = listening.getsockname()[1]
        settings.PLACET_EGRESS_ALLOW = f"127.0.0.1:{port}"
        asked = {"purpose": "tests", "deadline": time.monotonic() + 10, "most_bytes": 100}
        assert connect.fetch(f"http://127.0.0.1:{port}/", method="POST", body=body, **asked).body == b"ok"
        serving.join()
    assert b"".join(pieces).partition(b"\r\n\r\n")[2] == body
    assert len(pieces[0]) > pieces[0].index(b"\r\n\r\n") + 4 or not body


def test_many_threads_share_a_pool(canary, settings):
    settings.PLACET_EGRESS_ALLOW = canary.here
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(fetch(canary.url).status)) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [200] * 24
    assert len(canary.requests) == 24 >= canary.lines


@pytest.fixture
def secure(tmp_path, settings, names):
    """A server with a certificate for good.example alone; also reached as bad.example."""
    authority, context = certificate(tmp_path, "good.example", "127.0.0.1")
    settings.PLACET_CA_FILE = str(authority)
    connect.tls.cache_clear()
    names(good_example=[["127.0.0.1"]], bad_example=[["127.0.0.1"]])
    with Web(context=context) as web:
        settings.PLACET_EGRESS_ALLOW = f"good.example:{web.port},bad.example:{web.port}"
        yield web
    connect.close()
    connect.tls.cache_clear()


def test_the_certificate_is_checked_for_the_name_and_not_for_the_address(ask, secure):
    answer = ask(f"https://good.example:{secure.port}/")
    assert answer.status == 200
    assert secure.requests[0][2]["Host"] == f"good.example:{secure.port}"
    with pytest.raises(Exception, match=r"egress_unreachable.*TLS with bad.example") as refused:
        ask(f"https://bad.example:{secure.port}/")
    assert refused.value.happened == "no"
    assert len(secure.requests) == 1


def test_one_tls_context_serves_all_calls_of_a_process(ask, secure, monkeypatch):
    made = []
    real = ssl.create_default_context
    monkeypatch.setattr(ssl, "create_default_context", lambda *a, **k: made.append(1) or real(*a, **k))
    for _ in range(3):
        ask(f"https://good.example:{secure.port}/")
    assert len(made) <= 1


def test_a_server_without_tls_where_tls_is_asked_for_hears_no_request(ask, canary, settings):
    settings.PLACET_EGRESS_ALLOW = canary.here
    with pytest.raises(Exception, match=r"egress_(unreachable|timeout)") as refused:
        ask(f"https://127.0.0.1:{canary.port}/", seconds=1)
    assert (refused.value.happened, canary.requests) == ("no", [])


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "accept-encoding"])
def test_what_frames_a_request_is_ours_to_set(canary, settings, name):
    settings.PLACET_EGRESS_ALLOW = canary.here
    with pytest.raises(ConnectRefused, match="egress_invalid"):
        fetch(canary.url, headers={name: "1"})
    with pytest.raises(ConnectRefused, match="egress_invalid"):
        fetch(canary.url, headers={"X": "1\r\nY: 2"})
    assert canary.requests == []


def test_a_forked_process_opens_connections_of_its_own(canary, settings):
    settings.PLACET_EGRESS_ALLOW = canary.here
    assert fetch(canary.url).status == 200
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        status = 1
        try:
            status = 0 if fetch(canary.url).status == 200 else 1
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert fetch(canary.url).status == 200
    assert (canary.lines, len(canary.requests)) == (2, 3)


@pytest.mark.parametrize(
    "text", ["http://x", "a b", "10.0.0.1/8", "x:0", "x:70000", "x:y", "1.2.3", "[::1", "*.example"]
)
def test_a_list_that_cannot_be_read_is_named_and_opens_nothing(canary, settings, text):
    with pytest.raises(ValueError, match=r"is no|has host bits"):
        destinations.read_list(text)
    settings.PLACET_EGRESS_ALLOW = f"{canary.here},{text}"
    with pytest.raises(ConnectRefused, match="egress_forbidden"):
        fetch(canary.url)
    assert canary.lines == 0


def test_the_list_takes_names_addresses_and_ranges_of_both_kinds():
    listed = destinations.read_list("A.example., b.example:8080, 10.0.0.1:1, [fd00::1]:2, fd00:1::/32, [fd00:2::/32]:3")
    assert listed.names == {("a.example", None), ("b.example", 8080)}
    assert [(str(network), port) for network, port in listed.networks] == [
        ("10.0.0.1/32", 1), ("fd00::1/128", 2), ("fd00:1::/32", None), ("fd00:2::/32", 3),
    ]  # fmt: skip


@pytest.mark.parametrize("address", ["93.184.216.34", "1.1.1.1", "2606:2800:220:1::1", "2a00:1450::1"])
def test_public_addresses_are_public(address):
    destinations.admit("https", "x.example", 443, ipaddress.ip_address(address), destinations.Listed())
    wrapped = f"64:ff9b::{address}" if "." in address else address
    destinations.admit("https", "x.example", 443, ipaddress.ip_address(wrapped), destinations.Listed())
