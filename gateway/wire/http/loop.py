"""Choice of the event loop: uvloop where it exists, the standard loop elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """The loop maker for `asyncio.Runner(loop_factory=...)`; uvloop has no build for some platforms."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def install() -> str:
    """Make the process use uvloop for every new loop where it is present; returns the name of the choice."""
    try:
        import uvloop
    except ImportError:
        return "asyncio"
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    return "uvloop"
