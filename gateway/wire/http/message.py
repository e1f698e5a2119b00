"""What both sides of the HTTP carrier speak about: headers, peers, requests, bodies and their errors."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

HIGH_WATER = 256 * 1024
LOW_WATER = 64 * 1024

# RFC 9110 section 7.6.1, and the framing fields that each hop decides for itself.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
    }
)


class HttpError(Exception):
    """A problem of one exchange; `status` is what a client is told when nothing was sent yet."""

    status = 500


class BadMessage(HttpError):
    """The bytes are not the HTTP we accept; the text says which rule they broke."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


class BodyTooLarge(HttpError):
    """The request body is longer than the reader allows (`limit`, bytes)."""

    status = 413

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body is larger than the limit of {limit} bytes")
        self.limit = limit


class BodyTimeout(HttpError):
    """The client stopped sending in the middle of its request body."""

    status = 408


class ClientGone(HttpError, ConnectionError):
    """The client closed its connection; nobody will read the answer."""

    status = 400


class InvalidHeader(ValueError):
    """A header that we were about to send would break the message (CR, LF, control or non-latin-1 bytes)."""


class Headers:
    """Ordered multi-map of header fields: repeats are never folded, names compare case-insensitively."""

    __slots__ = ("_index", "_items")

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._items: list[tuple[str, str]] = list(items)
        self._index: dict[str, list[str]] | None = None

    def by_lower_name(self) -> Mapping[str, list[str]]:
        """All values of each name in lower case; a view for reading, made once."""
        index = self._index
        if index is None:
            index = self._index = {}
            for name, value in self._items:
                key = name.lower()
                if key in index:
                    index[key].append(value)
                else:
                    index[key] = [value]
        return index

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of `name`."""
        values = self.by_lower_name().get(name.lower())
        return values[0] if values else default

    def get_all(self, name: str) -> list[str]:
        """Every value of `name` in the order received."""
        return list(self.by_lower_name().get(name.lower(), ()))

    def items(self) -> Iterator[tuple[str, str]]:
        """All fields as received: original case, original order."""
        return iter(self._items)

    def add(self, name: str, value: str) -> None:
        self._items.append((name, value))
        self._index = None

    def set(self, name: str, value: str) -> None:
        """Replace every field of that name by one, at the end."""
        self.remove(name)
        self.add(name, value)

    def remove(self, name: str) -> None:
        """Drop every field of that name; absent is fine."""
        key = name.lower()
        if key in self:
            self._items = [item for item in self._items if item[0].lower() != key]
            self._index = None

    def copy(self) -> Headers:
        return Headers(self._items)

    def end_to_end(self) -> list[tuple[str, str]]:
        """The fields a relay may pass on: without hop-by-hop fields and those `Connection` names."""
        drop: frozenset[str] | set[str] = HOP_BY_HOP
        for value in self.by_lower_name().get("connection", ()):
            drop = drop | {token.strip().lower() for token in value.split(",")}
        return [item for item in self._items if item[0].lower() not in drop]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self.by_lower_name()

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        # Names only: values hold credentials and would reach logs.
        return f"Headers({[name for name, _ in self._items]})"


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end. `host`/`port` come from the PROXY header where a trusted peer sent one.

    `client_cert` is `ssl.SSLSocket.getpeercert()` of a verified certificate, else None.
    `via` is the address of the trusted proxy in front, if any.
    """

    host: str
    port: int
    tls: bool = False
    client_cert: dict[str, object] | None = None
    client_cert_der: bytes | None = None
    via: str | None = None


class Body:
    """The body of a request, read with back-pressure: at most 256 KiB wait here unread.

    `length` is the announced number of bytes, None when chunked. Reading raises BadMessage (broken
    chunks), BodyTimeout (the client stopped) or ClientGone (it left).
    """

    __slots__ = (
        "_chunks",
        "_done",
        "_error",
        "_on_first_read",
        "_on_low",
        "_size",
        "_waiter",
        "has_body",
        "length",
    )

    def __init__(
        self,
        length: int | None,
        on_first_read: Callable[[], None] | None = None,
        on_low: Callable[[], None] | None = None,
    ) -> None:
        self.length = length
        self.has_body = length != 0
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._done = length == 0
        self._error: HttpError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._on_first_read = on_first_read
        self._on_low = on_low

    @property
    def complete(self) -> bool:
        """Every byte of the body has arrived here (it may still be unread)."""
        return self._done

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises BodyTooLarge once it is known to pass `limit` bytes."""
        if self.length is not None and self.length > limit:
            raise BodyTooLarge(limit)
        if self._done and len(self._chunks) == 1 and self._size <= limit:
            self._size = 0
            return self._chunks.popleft()
        parts: list[bytes] = []
        total = 0
        async for chunk in self:
            total += len(chunk)
            if total > limit:
                raise BodyTooLarge(limit)
            parts.append(chunk)
        return b"".join(parts)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (chunk := await self._next()) is not None:
            yield chunk

    async def _next(self) -> bytes | None:
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._done:
                return None
            await self._wait()
        chunk = self._chunks.popleft()
        before, self._size = self._size, self._size - len(chunk)
        if before > LOW_WATER >= self._size and self._on_low is not None:
            self._on_low()
        return chunk

    async def _wait(self) -> None:
        if self._on_first_read is not None:
            hook, self._on_first_read = self._on_first_read, None
            hook()
        if self._waiter is not None:
            raise RuntimeError("the body already has a reader; a body has one reader at a time")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def feed(self, chunk: bytes) -> bool:
        """The connection has more; returns True when it should stop reading for now."""
        if chunk:
            self._chunks.append(chunk)
            self._size += len(chunk)
            self._wake()
        return self._size > HIGH_WATER

    def finish(self) -> None:
        self._done = True
        self._wake()

    def fail(self, error: HttpError) -> None:
        """The rest will never come; readers get `error` after what did."""
        if not self._done and self._error is None:
            self._error = error
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


@dataclass(slots=True)
class Request:
    """One request as it came: nothing is decoded, except that raw bytes over 0x7f in the target
    are percent-encoded (the same meaning to every receiver) and an absolute target is cut to its path."""

    method: str
    target: str
    path: str
    query: str
    headers: Headers
    version: tuple[int, int]
    peer: Peer
    body: Body
