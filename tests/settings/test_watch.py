"""Changed files give new settings or a list of problems; the last good value stays."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.settings import Reload, SettingsWatcher, load_settings

from .test_load import MINIMAL


class Watched:
    """A watcher that runs, and the reloads it gave."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.watcher = SettingsWatcher(path, load_settings(path), backstop_s=0.3)
        self._reloads: asyncio.Queue[Reload] = asyncio.Queue()

    async def run(self) -> None:
        async for reload in self.watcher:
            self._reloads.put_nowait(reload)

    async def next(self) -> Reload:
        return await asyncio.wait_for(self._reloads.get(), 10)

    async def nothing_for(self, seconds: float) -> bool:
        await asyncio.sleep(seconds)
        return self._reloads.empty()

    @property
    def port(self) -> int:
        return self.watcher.settings.listeners[0].port


@pytest.fixture
async def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    (tmp_path / "key").write_text("one")
    path = tmp_path / "gateway.yaml"
    path.write_text(MINIMAL + "store: {encryption_key: {file: key}}\n")
    it = Watched(path)
    async with asyncio.TaskGroup() as group:
        group.create_task(it.run())
        await asyncio.sleep(0.05)
        yield it
        it.watcher.close()


async def test_a_change_is_taken_up_and_a_bad_one_leaves_the_good(watched: Watched) -> None:
    good = watched.path.read_text()
    watched.path.write_text(good.replace("8080", "8090"))
    assert (await watched.next()).problems == ()
    assert watched.port == 8090

    watched.path.write_text(good.replace("8080", "8091").replace("wire:", "wier:"))
    refused = await watched.next()
    assert refused.settings is None
    assert any("did you mean 'wire'" in problem.message for problem in refused.problems)
    assert watched.port == 8090
    assert await watched.nothing_for(0.8), "the same problems are reported once"

    watched.path.write_text(good.replace("8080", "8092"))
    assert (await watched.next()).settings is not None
    assert watched.port == 8092


async def test_a_replaced_secret_file_is_a_change(watched: Watched) -> None:
    replacement = watched.path.parent / "key.new"
    replacement.write_text("two")
    replacement.rename(watched.path.parent / "key")
    reload = await watched.next()
    assert reload.settings is not None
    assert reload.settings.store.encryption_key is not None
    assert reload.settings.store.encryption_key.reveal() == "two"


async def test_a_new_and_a_changed_rule_file_are_changes(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    path = tmp_path / "gateway.yaml"
    path.write_text(MINIMAL + "rules: {directory: rules}\n")
    it = Watched(path)
    async with asyncio.TaskGroup() as group:
        group.create_task(it.run())
        await asyncio.sleep(0.1)
        (tmp_path / "rules" / "routing.yaml").write_text("rules: []")
        assert (await it.next()).settings is not None
        (tmp_path / "rules" / "routing.yaml").write_text("rules: [{}]")
        assert (await it.next()).settings is not None
        (tmp_path / "rules" / "README.md").write_text("not a rule")
        assert await it.nothing_for(0.8)
        it.watcher.close()


async def test_a_directory_of_links_that_is_swapped_as_kubernetes_does_is_a_change(tmp_path: Path) -> None:
    for version, port in (("v1", "8080"), ("v2", "8099")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "gateway.yaml").write_text(MINIMAL.replace("8080", port))
    (tmp_path / "..data").symlink_to("v1")
    path = tmp_path / "gateway.yaml"
    path.symlink_to("..data/gateway.yaml")
    it = Watched(path)
    async with asyncio.TaskGroup() as group:
        group.create_task(it.run())
        await asyncio.sleep(0.1)
        (tmp_path / "..tmp").symlink_to("v2")
        (tmp_path / "..tmp").rename(tmp_path / "..data")
        await it.next()
        assert it.port == 8099
        it.watcher.close()


async def test_sighup_reloads_without_a_change(watched: Watched) -> None:
    assert await watched.nothing_for(0.7)
    watched.watcher.listen_for_sighup()
    try:
        os.kill(os.getpid(), signal.SIGHUP)
        assert (await watched.next()).settings is not None
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)


async def test_a_file_that_is_gone_is_refused_and_taken_up_when_it_is_back(watched: Watched) -> None:
    text = watched.path.read_text()
    watched.path.unlink()
    assert "cannot be read" in (await watched.next()).problems[0].message
    watched.path.write_text(text)
    assert (await watched.next()).settings is not None


async def test_a_missing_file_that_appears_later_is_noticed(watched: Watched) -> None:
    watched.path.write_text(watched.path.read_text().replace("file: key", "file: later/key"))
    assert "no such file" in (await watched.next()).problems[0].message
    (watched.path.parent / "later").mkdir()
    (watched.path.parent / "later" / "key").write_text("three")
    assert (await watched.next()).settings is not None
