"""How asking an engine can fail, and whether it may have seen the request."""

from __future__ import annotations


class UpstreamError(Exception):
    """The engine could not be asked or did not answer properly. `sent`: it may have seen the request."""

    sent = True


class ConnectFailed(UpstreamError):
    """No connection: nothing was sent, another engine may be tried."""

    sent = False


class PoolFull(ConnectFailed):
    """Every connection is busy and none became free in time: nothing was sent."""


class UpstreamTimeout(UpstreamError):
    """The engine was silent too long; what it did with the request is unknown."""


class UpstreamBroken(UpstreamError):
    """The connection broke or spoke no valid HTTP. `sent` False: provably no byte of the request left."""

    def __init__(self, reason: str, *, sent: bool = True) -> None:
        super().__init__(reason)
        self.sent = sent


class StaleConnection(Exception):
    """A reused connection ended before the first byte of a response."""

    def __init__(self, sent: bool) -> None:
        super().__init__()
        self.sent = sent
