"""Finding 16: clients that send or read so slowly that a connection is all they want."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from easel.guard import connections
from easel.guard.connections import impatient, most_connections
from tests.served import App

GET = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
UPLOAD = (b"POST /gradio_api/upload HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 600000\r\n"
          b"content-type: multipart/form-data; boundary=cut\r\n\r\n--cut\r\n"
          b'content-disposition: form-data; name="files"; filename="a.png"\r\n\r\n')


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 1.0)
    monkeypatch.setattr(connections, "PATIENCE_S", 1.0)
    monkeypatch.setattr(connections, "LOOK_EVERY_S", 0.1)


@pytest.fixture
def raw(app: App) -> Iterator[socket.socket]:
    with open_to(app) as made:
        yield made


def open_to(app: App, buffer_bytes: int = 0, address: str = "") -> socket.socket:
    made = socket.socket()
    if address:
        try:
            made.bind((address, 0))
        except OSError:  # macOS has 127.0.0.1 alone
            made.close()
            pytest.skip("this machine has one address")
    if buffer_bytes:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    made.settimeout(60)
    made.connect(("127.0.0.1", httpx.URL(app.url).port or 0))
    return made


def ended(raw: socket.socket) -> bool:
    """Whether the server ends a connection, whatever it has sent before, within the time-out."""
    try:
        while raw.recv(65536):
            pass
    except ConnectionError:
        pass
    except TimeoutError:
        return False
    return True


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: "],
                         ids=["nothing", "half a head"])
def test_a_request_that_never_comes_is_not_waited_for(raw: socket.socket, start: bytes) -> None:
    raw.sendall(start)
    assert ended(raw)


@pytest.mark.usefixtures("hasty")
def test_a_head_that_comes_byte_by_byte_is_not_waited_for(raw: socket.socket) -> None:
    done = threading.Event()

    def drip() -> None:
        try:
            raw.sendall(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: ")
            while not done.wait(0.1):
                raw.sendall(b"a")
        except OSError:
            pass

    sender = threading.Thread(target=drip, daemon=True)
    sender.start()
    try:
        assert ended(raw)
    finally:
        done.set()
        sender.join(60)


@pytest.mark.usefixtures("hasty")
def test_a_body_that_comes_byte_by_byte_is_not_waited_for(raw: socket.socket) -> None:
    raw.sendall(UPLOAD + b"a")
    assert ended(raw)


@pytest.mark.usefixtures("hasty")
def test_a_second_head_is_waited_for_no_longer_than_the_first(raw: socket.socket) -> None:
    raw.sendall(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\nGET /healthz HTTP/1.1\r\nx: ")
    assert ended(raw)


@pytest.mark.usefixtures("hasty")
def test_an_answer_that_nobody_reads_is_not_kept(app: App) -> None:
    """More than the system itself buffers on both sides: the page's description, many times."""
    with open_to(app, 4096) as raw:
        for _ in range(40):
            raw.sendall(b"GET /config HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        time.sleep(0.5)
        held = len(app.page.server.server_state.connections)
        end = time.monotonic() + 60
        while len(app.page.server.server_state.connections) >= held:
            assert time.monotonic() < end, "the connection is still there"
            time.sleep(0.1)


def test_a_slow_but_steady_upload_is_taken(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty times the patience long, and well above the least rate."""
    monkeypatch.setattr(connections, "PATIENCE_S", 0.2)
    monkeypatch.setattr(connections, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(connections, "MIN_BYTES_A_S", 1)
    head = UPLOAD.replace(b"600000", b"%d" % (len(UPLOAD.partition(b"\r\n\r\n")[2]) + 411))
    with open_to(app) as raw:
        raw.sendall(head)
        for _ in range(40):
            raw.sendall(b"a" * 10)
            time.sleep(0.1)
        raw.sendall(b"\r\n--cut--\r\n")
        assert raw.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_stream_that_waits_for_the_server_stays(app: App, monkeypatch: pytest.MonkeyPatch,
                                                  ) -> None:
    """A page that is open for hours and asks for nothing is no slow client."""
    monkeypatch.setattr(connections, "HEAD_S", 0.2)
    monkeypatch.setattr(connections, "PATIENCE_S", 0.2)
    monkeypatch.setattr(connections, "LOOK_EVERY_S", 0.05)
    with open_to(app) as raw:
        raw.sendall(b"GET /gradio_api/heartbeat/steady HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        raw.settimeout(2)
        assert not ended(raw)


def test_many_idle_connections_keep_nobody_out(app: App) -> None:
    config = app.page.server.config
    own = config.http_protocol_class
    base = own.__mro__[1]
    config.http_protocol_class = impatient(base, 30)
    idle = [open_to(app) for _ in range(60)]
    try:
        for _ in range(3):
            assert httpx.get(f"{app.url}healthz", timeout=60).status_code == 200
        assert len(app.page.server.server_state.connections) <= 31
    finally:
        for each in idle:
            each.close()
        config.http_protocol_class = own


@pytest.fixture
def hundred(app: App, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hundred connections at most, of whom nobody has to hurry."""
    monkeypatch.setattr(connections, "HEAD_S", 3600.0)
    config = app.page.server.config
    own = config.http_protocol_class
    config.http_protocol_class = impatient(own.__mro__[1], 100)
    yield
    config.http_protocol_class = own


@pytest.mark.usefixtures("hundred")
def test_visitors_who_share_an_address_leave_room_for_others(
        app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """An office behind one address may have most of the connections, and never all of them."""
    monkeypatch.setattr(connections, "is_local_name", lambda name: False)
    office = [open_to(app, address="127.0.0.2") for _ in range(140)]
    try:
        refused: list[socket.socket] = []
        while len(refused) < 140 - 75:
            waiting = [each for each in office if each not in refused]
            ready, _, _ = select.select(waiting, [], [], 90)
            assert ready, "one address holds more connections than it may"
            refused += ready
        assert all(each.recv(65536).startswith(b"HTTP/1.1 503") for each in refused)
        held = [each for each in office if each not in refused]
        assert len(held) == 75
        assert served_at(app, "127.0.0.3")
        assert not served_at(app, "127.0.0.2")
        held[0].sendall(GET)  # who came before goes on
        assert held[0].recv(65536).startswith(b"HTTP/1.1 200")
        for each in held[:30]:
            each.close()
        end = time.monotonic() + 90
        while not served_at(app, "127.0.0.2"):
            assert time.monotonic() < end, "an address that holds few connections is refused"
    finally:
        for each in office:
            each.close()


@pytest.mark.usefixtures("hundred")
def test_visitors_behind_a_proxy_of_this_machine_share_no_limit(app: App) -> None:
    """All of them come from one address then, which says nothing of who they are."""
    idle = [open_to(app, address="127.0.0.2") for _ in range(80)]
    try:
        assert served_at(app, "127.0.0.2")
        assert select.select(idle, [], [], 0)[0] == [], "one of them was ended"
    finally:
        for each in idle:
            each.close()


def served_at(app: App, address: str) -> bool:
    """Whether one more connection from an address gets an answer."""
    with open_to(app, address=address) as raw:
        try:
            raw.sendall(GET)
            return raw.recv(65536).startswith(b"HTTP/1.1 200")
        except ConnectionError:
            return False


def test_the_most_connections_leave_files_for_everything_else() -> None:
    assert 16 <= most_connections() <= connections.MAX_CONNECTIONS
