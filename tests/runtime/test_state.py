"""The state directory: private, and its sockets short enough wherever it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.runtime.state import MAX_SOCKET_PATH, StateDir, StateUnusable


def test_sockets_lie_inside_where_the_path_is_short() -> None:
    assert StateDir(Path("/var/lib/gateway")).run == Path("/var/lib/gateway/run")


def test_a_deep_directory_gets_a_short_one_for_its_sockets() -> None:
    deep = StateDir(Path("/" + "d" * 90))
    assert len(str(deep.wire_socket("abcde"))) <= MAX_SOCKET_PATH
    assert deep.run != StateDir(Path("/" + "e" * 90)).run, "no two gateways share it"


def test_a_directory_that_others_can_open_is_refused(tmp_path: Path) -> None:
    class Settings:
        class server:
            state = tmp_path / "var"

    (tmp_path / "var").mkdir()
    state = StateDir(tmp_path / "var")
    state.run.mkdir()
    state.run.chmod(0o755)
    try:
        with pytest.raises(StateUnusable, match="0700"):
            StateDir.open(Settings())  # type: ignore[arg-type]
    finally:
        state.run.rmdir()
