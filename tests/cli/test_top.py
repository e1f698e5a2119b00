from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from gateway.admin.client import AdminClient
from gateway.cli.top import bar, cells, print_once
from gateway.cli.top_app import ConfirmCancel, TopApp, TrailScreen
from tests.admin.conftest import Running, serve
from tests.admin.fake_gateway import live

ROOT = Path(__file__).parents[2]


async def settled(pilot: Pilot[None]) -> None:
    """Until the table shows an answer of the API."""
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


def rows(app: TopApp) -> list[list[str]]:
    table = app.screen_stack[0].query_one(DataTable)
    return [[str(cell) for cell in table.get_row_at(i)] for i in range(table.row_count)]


def ids(app: TopApp) -> list[str]:
    return [row[-1] for row in rows(app)]


def summary(app: TopApp) -> str:
    return str(app.screen_stack[0].query_one("#summary", Static).render())


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with serve(tmp_path) as served:
        yield served


async def test_live_queries_are_shown_and_refreshed(running: Running) -> None:
    async with AdminClient(running.local) as client:
        app = TopApp(client, interval=60)
        async with app.run_test(size=(160, 30)) as pilot:
            await settled(pilot)
            assert ids(app) == ["q-old", "q-new"]
            first = rows(app)[0]
            assert first[:6] == ["60.0 s", "running", "query", "trino", "trino-a", "alice"]
            assert first[6].endswith("40%")
            assert first[7:9] == ["1,234", "5.0 MB"]
            running.gateway.running.append(live("q-third", age_ms=1.0))
            await pilot.press("r")
            await settled(pilot)
            assert ids(app) == ["q-old", "q-new", "q-third"]
            assert "3 running" in summary(app)


async def test_sort_and_filter_keep_the_cursor_on_its_query(running: Running) -> None:
    running.gateway.running.append(live("q-big", age_ms=1.0, bytes_out=10**12, principal="carol"))
    async with AdminClient(running.local) as client:
        app = TopApp(client, interval=60)
        async with app.run_test(size=(160, 30)) as pilot:
            await settled(pilot)
            assert app.chosen() == "q-old"
            await pilot.press("s")
            assert ids(app)[0] == "q-big"
            assert app.chosen() == "q-old"
            assert "sorted by bytes" in summary(app)
            await pilot.press("slash", *"bob", "enter")
            assert ids(app) == ["q-new"]
            assert "1 of 3" in summary(app)
            await pilot.press("escape")
            assert len(ids(app)) == 3


async def test_a_query_is_stopped_only_after_a_yes(running: Running) -> None:
    async with AdminClient(running.local) as client:
        app = TopApp(client, interval=60)
        async with app.run_test(size=(160, 30)) as pilot:
            await settled(pilot)
            await pilot.press("k")
            await pilot.pause()
            assert isinstance(app.screen, ConfirmCancel)
            await pilot.press("n")
            await settled(pilot)
            assert running.gateway.cancelled == []
            await pilot.press("down", "k")
            await pilot.pause()
            await pilot.press("y")
            await settled(pilot)
            assert [query_id for query_id, _ in running.gateway.cancelled] == ["q-new"]
            assert ids(app) == ["q-old"]


async def test_enter_shows_the_trail(running: Running) -> None:
    async with AdminClient(running.local) as client:
        app = TopApp(client, interval=60)
        async with app.run_test(size=(160, 30)) as pilot:
            await settled(pilot)
            await pilot.press("enter")
            await settled(pilot)
            assert isinstance(app.screen, TrailScreen)
            text = str(app.screen.query_one("#trail", Static).render())
            assert "route: chose by r1" in text
            await pilot.press("escape")
            await pilot.pause()
            assert not isinstance(app.screen, TrailScreen)


async def test_a_gateway_that_goes_away_is_said_and_the_screen_stays(running: Running) -> None:
    async with AdminClient(running.local) as client:
        app = TopApp(client, interval=60)
        async with app.run_test(size=(160, 30)) as pilot:
            await settled(pilot)
            running.socket.rename(running.socket.with_suffix(".away"))
            await client.__aexit__(None, None, None)  # Without this an open connection would go on.
            await client.__aenter__()
            await pilot.press("r")
            await settled(pilot)
            assert "no gateway answers" in summary(app)
            assert ids(app) == ["q-old", "q-new"]
            running.socket.with_suffix(".away").rename(running.socket)
            await pilot.press("r")
            await settled(pilot)
            assert "2 running" in summary(app)


async def test_markup_and_control_characters_of_a_client_are_only_text(running: Running) -> None:
    running.gateway.running = [live("q[/b]", principal="[red]x[/red]\x1b[2J", state="[b]")]
    async with AdminClient(running.local) as client:
        app = TopApp(client, interval=60)
        async with app.run_test(size=(160, 30)) as pilot:
            await settled(pilot)
            assert rows(app)[0][5] == "[red]x[/red][2J"
            await pilot.press("k")
            await pilot.pause()
            assert isinstance(app.screen, ConfirmCancel)
            await pilot.press("n")


# -- without a terminal ---------------------------------------------------------------------------------------

COMMAND = ("-m", "gateway", "top")


async def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *COMMAND, *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, out.decode(), err.decode()


async def test_into_a_pipe_it_prints_one_table_or_json(running: Running) -> None:
    code, out, _ = await run("--admin", str(running.socket))
    assert code == 0
    assert "\x1b" not in out
    assert [line.split()[-1] for line in out.splitlines() if "q-" in line] == ["q-old", "q-new"]
    environment = {"GATEWAY_ADMIN": running.url, "GATEWAY_ADMIN_TOKEN": running.remote.token or ""}
    code, out, _ = await run("--json", **environment)
    assert [query["id"] for query in json.loads(out)] == ["q-old", "q-new"]


async def test_no_gateway_is_a_clear_message(tmp_path: Path) -> None:
    code, out, err = await run("--admin", str(tmp_path / "none.sock"))
    assert (code, out) == (1, "")
    assert "no gateway answers" in err
    assert "Traceback" not in err


async def test_on_a_terminal_the_live_screen_opens_and_q_leaves(running: Running) -> None:
    parent, child = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *COMMAND, "--admin", str(running.socket)),
        stdin=child,
        stdout=child,
        stderr=child,
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "140", "LINES": "30"},
    )
    os.close(child)
    seen = await asyncio.wait_for(asyncio.to_thread(read_until, parent, b"q-old"), 60)
    assert b"q-old" in seen
    os.write(parent, b"q")
    await asyncio.wait_for(asyncio.to_thread(drain, parent), 60)
    assert await asyncio.wait_for(process.wait(), 30) == 0
    os.close(parent)


def read_until(fd: int, words: bytes) -> bytes:
    seen = b""
    while words not in seen and (part := os.read(fd, 65536)):
        seen += part
    return seen


def drain(fd: int) -> None:
    try:
        while os.read(fd, 65536):
            pass
    except OSError:
        pass  # The other end has gone: that is how a terminal says end of file.


# -- the parts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fraction", "drawn"),
    [
        (None, ""),
        (0.0, "             0%"),
        (0.5, "█████       50%"),
        (1.0, "██████████ 100%"),
        (7.0, "██████████ 100%"),
    ],
)
def test_progress(fraction: float | None, drawn: str) -> None:
    assert bar(fraction) == drawn


def test_every_query_fits_the_columns() -> None:
    assert len(cells(live("q", engine=None, backend=None, rows=None, bytes_out=None, fraction=None))) == 10


def test_an_empty_host_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_once([], as_json=False)
    assert "No query is running" in capsys.readouterr().out
    print_once([], as_json=True)
    assert json.loads(capsys.readouterr().out) == []
