"""The proxy of the fault programme does to a wire what it says, and nothing without being told."""

import contextlib
import socket
import threading
import time

import pytest

from tests.chaos.proxy import Proxy, Toxic


@pytest.fixture(scope="module")
def echo():
    """A server that says what it is told."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(near):
        with near, contextlib.suppress(OSError):
            while chunk := near.recv(1 << 16):
                near.sendall(chunk)

    def accept():
        while True:
            try:
                near, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(near,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listening.getsockname()
    listening.close()


@pytest.fixture
def proxy(echo):
    with Proxy(echo) as proxy:
        yield proxy


@pytest.fixture
def client(proxy):
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
        yield client


def told(client, text, expected=None):
    """Say something, and return what comes back until it is all there or the end."""
    client.sendall(text)
    heard = b""
    while len(heard) < len(text if expected is None else expected) and (chunk := client.recv(1 << 16)):
        heard += chunk
    return heard


def ended(client):
    """Say whether the connection is over, with or without a last word."""
    try:
        return client.recv(10) == b""
    except ConnectionError:
        return True


def test_without_toxics_everything_passes_as_it_is(proxy, client):
    text = bytes(range(256)) * 1000
    assert told(client, text) == text
    assert proxy.connections == 1


def test_latency_and_bandwidth_take_their_time_and_lose_nothing(proxy, client):
    for toxic in ({"kind": "latency", "latency": 50}, {"kind": "bandwidth", "rate": 20, "stream": "upstream"}):
        proxy.clear()
        proxy.add(**toxic)
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as slow:
            began = time.monotonic()
            assert told(slow, b"x" * 1000) == b"x" * 1000
            assert time.monotonic() - began >= 0.05


def test_a_slicer_changes_no_byte(proxy, client):
    proxy.add("slicer", average_size=7, size_variation=3, delay=10)
    text = bytes(range(256)) * 4
    assert told(client, text) == text


def test_limited_data_ends_in_the_middle(proxy, client):
    proxy.add("limit_data", bytes=10)
    assert told(client, b"x" * 64) == b"x" * 10


def test_a_timeout_swallows_everything_and_then_closes(proxy, client):
    proxy.add("timeout", timeout=50)
    client.sendall(b"hello")
    assert ended(client)


def test_a_reset_is_a_reset(proxy, client):
    proxy.add("reset_peer")
    client.sendall(b"hello")
    with pytest.raises(ConnectionResetError):
        client.recv(10)


def test_garbage_is_not_what_the_server_said(proxy, client):
    proxy.add("garbage", bytes=5)
    assert told(client, b"hello") != b"hello"


def test_a_duplicate_is_said_twice(proxy, client):
    proxy.add("duplicate")
    assert told(client, b"hello", b"hellohello") == b"hellohello"


def test_a_slow_close_comes_later(proxy, client):
    proxy.add("slow_close", delay=60, stream="upstream")
    began = time.monotonic()
    client.shutdown(socket.SHUT_WR)
    assert client.recv(10) == b""
    assert time.monotonic() - began >= 0.06


def test_what_is_down_takes_nobody_and_is_up_again_at_the_same_place(proxy, client):
    port = proxy.port
    assert told(client, b"hello") == b"hello"
    proxy.down()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)
    assert ended(client)
    proxy.up()
    assert proxy.port == port
    with socket.create_connection(("127.0.0.1", port), timeout=10) as again:
        assert told(again, b"hello") == b"hello"


def test_a_toxic_is_taken_away_again_and_befalls_only_its_share(proxy):
    proxy.add("limit_data", bytes=0, toxicity=0.5)
    heard = []
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
            heard.append(told(client, b"x"))
    assert set(heard) == {b"", b"x"}
    proxy.clear()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
        assert told(client, b"hello") == b"hello"


def test_what_no_toxic_knows_is_an_error():
    with pytest.raises(KeyError):
        Toxic("earthquake")
    with pytest.raises(ValueError, match="no \\['speed'\\]"):
        Toxic("latency", attributes={"speed": 1})
