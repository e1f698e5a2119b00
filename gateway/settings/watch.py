"""Settings that follow their files: a changed file gives new settings or a list of problems, never half of each."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pydantic import BaseModel
from watchfiles import awatch

from gateway.settings.load import load_settings
from gateway.settings.model import Settings
from gateway.settings.problems import Problem, SettingsError
from gateway.settings.sections.governance import Governance, Rules

log = logging.getLogger(__name__)

_WRITTEN_BY_US = frozenset({"database", "socket"})
"""Fields whose paths the gateway itself writes; their changes mean nothing."""

_MAX_RULE_FILES = 2000

_Stamp = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Reload:
    """One attempt to take up changed files. `settings` is None where they were refused, for `problems`."""

    settings: Settings | None
    problems: tuple[Problem, ...] = ()


def referenced_files(path: Path, settings: Settings) -> list[Path]:
    """The settings file and every file it names (certificates, secrets, users, keys, rules, policies), sorted."""
    return sorted({path, *_files(settings)})


def _files(section: BaseModel) -> Iterator[Path]:
    for name in type(section).model_fields:
        if name in _WRITTEN_BY_US:
            continue
        value = getattr(section, name)
        for item in (
            value if isinstance(value, tuple) else value.values() if isinstance(value, dict) else (value,)
        ):
            if isinstance(item, BaseModel):
                yield from _files(item)
            elif isinstance(item, Path) and item.is_file():
                yield item
            elif isinstance(item, Path) and isinstance(section, Rules | Governance):
                # Lazily, so that a directory with a million files costs no more than one with a few.
                yield from islice((file for file in item.rglob("*.y*ml") if file.is_file()), _MAX_RULE_FILES)


class SettingsWatcher:
    """Async iterator of reloads. `settings` is always the last good value; `poke()` (SIGHUP) reloads at once.

    File events wake it quickly; every `backstop_s` seconds it looks by itself, for file systems without events.
    Without `follow_files` only `poke()` reloads. Iterate it from one task; `close()` ends the iteration.
    """

    def __init__(
        self, path: Path, settings: Settings, *, backstop_s: float = 2.0, follow_files: bool = True
    ) -> None:
        self.path = path
        self._follow_files = follow_files
        self.settings = settings
        self._backstop_s = backstop_s
        self._poked = False
        self._closed = False
        self._wake = asyncio.Event()
        self._last_problems: tuple[Problem, ...] = ()

    def poke(self) -> None:
        """Reload now, changed or not. Call it from the loop's thread."""
        self._poked = True
        self._wake.set()

    def close(self) -> None:
        """End the iteration."""
        self._closed = True
        self._wake.set()

    def listen_for_sighup(self) -> None:
        """Let SIGHUP reload. Only in the main thread of a process; not on Windows."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.poke)

    async def __aiter__(self) -> AsyncIterator[Reload]:
        seen = self._stamp()
        while not self._closed:
            await self._wait()
            stamp = self._stamp()
            poked, self._poked = self._poked, False
            if self._closed or (stamp == seen and not poked and not self._last_problems):
                continue
            outcome = await self._reload()
            unchanged = outcome.problems and outcome.problems == self._last_problems and not poked
            self._last_problems = outcome.problems
            if outcome.settings is not None:
                self.settings = outcome.settings
            # Stamped before reading, so that a change during the reading counts as a change afterwards.
            seen = stamp if outcome.settings is None else self._stamp_after(stamp)
            if not unchanged:
                yield outcome

    async def _reload(self) -> Reload:
        try:
            return Reload(await asyncio.to_thread(load_settings, self.path))
        except SettingsError as error:
            return Reload(None, tuple(error.problems))

    def _stamp(self) -> _Stamp:
        return tuple(_stamp_of(file) for file in referenced_files(self.path, self.settings))

    def _stamp_after(self, before: _Stamp) -> _Stamp:
        """The stamp for the new set of files; those that were watched keep what was seen before reading."""
        known = {entry[0]: entry for entry in before}
        return tuple(known.get(entry[0], entry) for entry in self._stamp())

    async def _wait(self) -> None:
        """Until a file event, a poke, or the backstop."""
        if not self._follow_files:
            await self._wake.wait()
        if not self._wake.is_set():
            files = {str(file.absolute()) for file in referenced_files(self.path, self.settings)}
            directories = {file.parent for file in referenced_files(self.path, self.settings)}
            try:
                async with asyncio.timeout(self._backstop_s):
                    events = awatch(
                        *directories,
                        watch_filter=lambda _, changed: changed in files,
                        stop_event=self._wake,
                        debounce=200,
                        step=50,
                        recursive=False,
                    )
                    async with aclosing(events):
                        await anext(events, None)
            except TimeoutError:
                pass
            except (OSError, RuntimeError) as error:  # no inotify left, or a directory that vanished
                log.debug("file events are not available (%s); looking every %ss", error, self._backstop_s)
                await self._wait_for_poke()
        self._wake.clear()

    async def _wait_for_poke(self) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), self._backstop_s)
        except TimeoutError:
            pass


def _stamp_of(file: Path) -> tuple[str, int, int, int]:
    try:
        status = file.stat()
    except OSError:
        return str(file), 0, 0, 0
    return str(file), status.st_mtime_ns, status.st_size, status.st_ino
