"""The load generator reads answers right, or its figures mean nothing."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from benchmarks.client import BadAnswer, Connection, flood, request
from benchmarks.load import next_uri
from benchmarks.targets import Target

Answers = Callable[[list[bytes]], Target]


@pytest.fixture
def answers() -> Iterator[Answers]:
    """A server that sends these pieces, one `send` each, for the first request of each connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def serve(pieces: list[bytes]) -> Target:
        def run() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                peer.recv(65536)
                for piece in pieces:
                    peer.sendall(piece)
                peer.recv(65536)

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return Target("direct", *listener.getsockname())

    yield serve
    for thread in threads:
        thread.join(10)
    listener.close()


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        [HEAD + b"Content-Length: 5\r\n\r\nhello"],
        [HEAD + b"content-length: 5\r\n", b"\r\nhe", b"llo"],
        [HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"],
        [
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r",
            b"\nh",
            b"e\r\n3;x=y\r\nllo",
            b"\r\n0\r\n",
            b"\r\n",
        ],
    ],
)
def test_an_answer_is_read_whole_however_it_arrives(answers: Answers, pieces: list[bytes]) -> None:
    with Connection(target := answers(pieces)) as connection:
        assert connection.ask(request("POST", "/", target, b"x")) == b"hello"


def test_another_status_is_an_error_with_what_was_said(answers: Answers) -> None:
    target = answers([b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbusy"])
    with Connection(target) as connection, pytest.raises(BadAnswer, match="busy"):
        connection.ask(request("GET", "/", target))


def test_a_stream_that_ends_early_is_no_figure(answers: Answers) -> None:
    target = answers([HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"])
    with Connection(target) as connection:
        assert connection.drain(request("GET", "/", target), 3)[0] > 3
    target = answers([b"HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\nabc"])
    with Connection(target) as connection, pytest.raises(BadAnswer, match="500"):
        connection.drain(request("GET", "/", target), 3)


async def test_a_failing_target_ends_the_load(answers: Answers) -> None:
    target = answers([b"HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\nabc"])
    async with asyncio.timeout(10):
        with pytest.raises(BadAnswer, match="500"):
            await flood(target, lambda _: request("GET", "/", target), 1)


def test_the_next_page_is_asked_for_at_the_target_itself() -> None:
    page = b'{"id":"x","nextUri":"http://elsewhere:8080/v1/statement/queued/x/y/1","stats":{}}'
    assert next_uri(page) == "/v1/statement/queued/x/y/1"
    assert next_uri(b'{"id":"x","stats":{}}') is None
