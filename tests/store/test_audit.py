from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.store.audit import AuditLimits, AuditLog, AuditUnavailable
from gateway.store.audit_chain import Link, parse_line, segment_file
from gateway.store.audit_files import segments
from gateway.store.audit_records import LoginFailed
from gateway.store.audit_verify import Break, Report, verify
from tests.store.audit_samples import decided, finished


def lines_of(directory: Path, stream: str = "proxy-0") -> list[bytes]:
    return [line for _, path in segments(directory)[stream] for line in path.read_bytes().splitlines()]


def query_ids(directory: Path, stream: str = "proxy-0") -> list[str]:
    parsed = [parse_line(line) for line in lines_of(directory, stream)]
    return [line.record["query_id"] for line in parsed if line.kind == "decided"]


async def write(directory: Path, count: int = 5, **options: object) -> AuditLog:
    audit = AuditLog(directory, "proxy-0", **options)  # type: ignore[arg-type]
    audit.open()
    for i in range(count):
        audit.append(decided(f"q{i}"))
        await audit.commit()
        audit.append(finished(f"q{i}"))
    await audit.close()
    return audit


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """A real write error without root: no file of this process may grow past `limit` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("sync", ["os", "fsync"])
async def test_what_is_committed_is_in_the_file_before_commit_returns(tmp_path: Path, sync: str) -> None:
    audit = AuditLog(tmp_path, "proxy-0", sync=sync)
    audit.open()
    for i in range(3):
        audit.append(decided(f"q{i}"))
        await audit.commit()
        assert query_ids(tmp_path)[-1] == f"q{i}"
    await audit.close()
    assert verify(tmp_path).ok


@pytest.mark.parametrize("sync", ["os", "fsync"])
async def test_an_uncommitted_record_is_written_soon_by_itself(tmp_path: Path, sync: str) -> None:
    audit = AuditLog(tmp_path, "proxy-0", sync=sync)
    audit.open()
    audit.append(decided("q0"))
    for _ in range(500):
        if query_ids(tmp_path):
            break
        await asyncio.sleep(0.01)
    assert query_ids(tmp_path) == ["q0"]
    await audit.close()


async def test_fsync_mode_shares_one_wait_among_many_queries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = AuditLog(tmp_path, "proxy-0", sync="fsync")
    audit.open()
    calls = 0
    real = os.fsync

    def counted(fd: int) -> None:
        nonlocal calls
        calls += 1
        time.sleep(0.01)
        real(fd)

    monkeypatch.setattr(os, "fsync", counted)

    async def one(i: int) -> None:
        audit.append(decided(f"q{i}"))
        await audit.commit()

    await asyncio.gather(*(one(i) for i in range(100)))
    assert calls <= 3
    assert sorted(query_ids(tmp_path)) == sorted(f"q{i}" for i in range(100))
    await audit.close()
    assert verify(tmp_path).ok


async def test_a_restart_continues_the_chain_in_a_new_file(tmp_path: Path) -> None:
    await write(tmp_path)
    await write(tmp_path)
    report = verify(tmp_path)
    assert report.ok
    assert report.streams[0].segments == 2
    assert report.records == 2 * (1 + 5 * 2)


async def test_a_second_process_of_the_same_name_gets_its_own_stream(tmp_path: Path) -> None:
    first, second = AuditLog(tmp_path, "proxy-0"), AuditLog(tmp_path, "proxy-0")
    first.open()
    second.open()
    assert (first.stream, second.stream) == ("proxy-0", "proxy-0-2")
    await first.close()
    await second.close()


async def test_segments_rotate_by_size_and_by_age(tmp_path: Path) -> None:
    now = 1000.0
    limits = AuditLimits(segment_bytes=2000, segment_age_s=60)
    audit = AuditLog(tmp_path, "proxy-0", limits=limits, clock=lambda: now)
    audit.open()
    for i in range(10):
        audit.append(decided(f"q{i}"))
        await audit.commit()
    by_size = len(segments(tmp_path)["proxy-0"])
    assert by_size >= 3
    now += 61
    audit.append(decided("late"))
    await audit.commit()
    assert len(segments(tmp_path)["proxy-0"]) == by_size + 1
    await audit.close()
    assert verify(tmp_path).ok


async def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    directory = tmp_path / "audit"
    await write(directory)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


# -- tampering: each of these must be found, and named -----------------------------------------------------


def tamper(directory: Path, change: object) -> Report:
    path = directory / segment_file("proxy-0", 1)
    lines = path.read_bytes().splitlines(keepends=True)
    change(lines)  # type: ignore[operator]
    path.write_bytes(b"".join(lines))
    return verify(directory)


def edit(lines: list[bytes]) -> None:
    lines[3] = lines[3].replace(b"alice", b"mallo")


def delete(lines: list[bytes]) -> None:
    del lines[3]


def swap(lines: list[bytes]) -> None:
    lines[3], lines[4] = lines[4], lines[3]


def repeat(lines: list[bytes]) -> None:
    lines.insert(3, lines[2])


def cut_tail(lines: list[bytes]) -> None:
    del lines[-2:]


def cut_into_tail(lines: list[bytes]) -> None:
    lines[-1] = lines[-1][:30]


def drop_opening(lines: list[bytes]) -> None:
    del lines[0]


def garble(lines: list[bytes]) -> None:
    lines[3] = b"not a record\n"


@pytest.mark.parametrize(
    ("change", "what", "line"),
    [
        (edit, Break.EDITED, 4),
        (delete, Break.DELETED, 4),
        (swap, Break.DELETED, 4),
        (repeat, Break.REORDERED, 4),
        (cut_tail, Break.TRUNCATED, 0),
        (cut_into_tail, Break.TRUNCATED, 0),
        (drop_opening, Break.DELETED, 1),
        (garble, Break.MALFORMED, 4),
    ],
)
async def test_tampering_is_found_and_named(tmp_path: Path, change: object, what: Break, line: int) -> None:
    await write(tmp_path)
    problem = tamper(tmp_path, change).first_problem
    assert problem is not None
    assert (problem.what, problem.line) == (what, line)


async def test_a_missing_segment_in_the_middle_and_at_the_end_is_found(tmp_path: Path) -> None:
    for _ in range(3):
        await write(tmp_path)
    kept = (tmp_path / segment_file("proxy-0", 3)).read_bytes()
    (tmp_path / segment_file("proxy-0", 3)).unlink()
    problem = verify(tmp_path).first_problem
    assert problem is not None
    assert problem.what is Break.TRUNCATED
    (tmp_path / segment_file("proxy-0", 3)).write_bytes(kept)
    (tmp_path / segment_file("proxy-0", 2)).unlink()
    problem = verify(tmp_path).first_problem
    assert problem is not None
    assert problem.what is Break.SEGMENT_MISSING


async def test_a_head_kept_elsewhere_shows_even_a_whole_forged_directory(tmp_path: Path) -> None:
    original = await write(tmp_path / "a")
    anchor = [("proxy-0", original.head)]
    assert verify(tmp_path / "a", anchors=anchor).ok
    audit = AuditLog(tmp_path / "b", "proxy-0")
    audit.open()
    for i in range(5):
        audit.append(decided(f"q{i}", principal="mallory"))
        audit.append(finished(f"q{i}"))
    await audit.close()
    assert verify(tmp_path / "b").ok, "consistent in itself"
    forged = verify(tmp_path / "b", anchors=anchor).first_problem
    assert forged is not None
    assert forged.what is Break.REPLACED
    gone = verify(tmp_path / "none", anchors=anchor).first_problem
    assert gone is not None
    assert gone.what is Break.TRUNCATED


async def test_with_a_key_a_chain_cannot_be_recomputed_without_it(tmp_path: Path) -> None:
    await write(tmp_path, key=b"k" * 32)
    assert verify(tmp_path, key=b"k" * 32).ok
    problem = verify(tmp_path).first_problem
    assert problem is not None
    assert problem.what is Break.EDITED


async def test_a_torn_last_line_is_tolerated_reported_and_written_past(tmp_path: Path) -> None:
    await write(tmp_path)
    path = tmp_path / segment_file("proxy-0", 1)
    with path.open("ab") as file:
        file.write(b'0123abc {"n":12,"k":"deci')
    assert verify(tmp_path).ok
    assert verify(tmp_path).streams[0].torn == (path.name,)
    await write(tmp_path)
    assert verify(tmp_path).ok
    assert verify(tmp_path).streams[0].segments == 2


async def test_a_damaged_newest_file_is_left_alone_and_another_stream_is_used(tmp_path: Path) -> None:
    await write(tmp_path)
    with (tmp_path / segment_file("proxy-0", 1)).open("ab") as file:
        file.write(b"garbage\n")
    audit = await write(tmp_path)
    assert audit.stream == "proxy-0-2"
    by_stream = {stream.stream: stream.problem for stream in verify(tmp_path).streams}
    assert by_stream["proxy-0-2"] is None
    assert by_stream["proxy-0"] is not None


# -- the disk fails ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sync", ["os", "fsync"])
async def test_refuse_means_no_query_without_its_record_and_recovery_loses_nothing(
    tmp_path: Path, sync: str, caplog: pytest.LogCaptureFixture
) -> None:
    audit = AuditLog(tmp_path, "proxy-0", sync=sync, on_failure="refuse")
    audit.open()
    audit.append(decided("q0"))
    await audit.commit()
    with file_size_limit((tmp_path / segment_file("proxy-0", 1)).stat().st_size + 100):
        for i in range(1, 4):
            audit.append(decided(f"q{i}"))
            with pytest.raises(AuditUnavailable, match="on_failure is `refuse`"):
                await audit.commit()
    assert not audit.healthy
    assert audit.counts.failures == 3
    assert sum("cannot write" in record.message for record in caplog.records) == 1, "said once, not per query"
    audit.append(decided("q4"))
    await audit.commit()
    assert audit.healthy
    await audit.close()
    assert query_ids(tmp_path) == [f"q{i}" for i in range(5)]
    assert verify(tmp_path).ok


@pytest.mark.parametrize("sync", ["os", "fsync"])
async def test_it_finds_out_by_itself_that_the_disk_is_back(
    tmp_path: Path, sync: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.audit.RETRY_S", 0.05)
    audit = AuditLog(tmp_path, "proxy-0", sync=sync)
    audit.open()
    with file_size_limit(50):
        audit.append(decided("q0"))
        with pytest.raises(AuditUnavailable):
            await audit.commit()
        await asyncio.sleep(0.15)
        assert not audit.healthy
    await asyncio.sleep(0.5)  # nobody asks for anything meanwhile
    assert audit.healthy
    await audit.close()
    assert query_ids(tmp_path) == ["q0"]


async def test_continue_lets_queries_pass_and_counts_them(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path, "proxy-0", on_failure="continue")
    audit.open()
    with file_size_limit(50):
        audit.append(decided("q0"))
        await audit.commit()
    assert audit.counts.unaudited == 1
    await audit.close()
    assert query_ids(tmp_path) == ["q0"]


async def test_records_past_the_bound_are_counted_and_the_gap_is_itself_audited(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path, "proxy-0", on_failure="continue", limits=AuditLimits(pending_bytes=2000))
    audit.open()
    with file_size_limit(50):
        for i in range(20):
            audit.append(decided(f"q{i}"))
            await audit.commit()
    lost = audit.counts.lost
    assert 0 < lost < 20
    await audit.commit()
    await audit.close()
    report = verify(tmp_path)
    assert report.ok
    assert report.streams[0].lost == lost
    assert len(query_ids(tmp_path)) == 20 - lost


async def test_rotation_into_a_full_disk_leaves_no_half_made_segment(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path, "proxy-0", limits=AuditLimits(segment_bytes=1))
    audit.open()
    with file_size_limit(10):
        audit.append(decided("q0"))
        with pytest.raises(AuditUnavailable):
            await audit.commit()
    assert len(segments(tmp_path)["proxy-0"]) == 1
    audit.append(decided("q1"))
    await audit.commit()
    await audit.close()
    assert query_ids(tmp_path) == ["q0", "q1"]
    assert verify(tmp_path).ok


def test_an_unusable_directory_is_said_clearly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditUnavailable, match=r"set audit\.directory"):
        AuditLog(tmp_path / "file", "proxy-0").open()


async def test_a_commit_that_the_disk_never_answers_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = AuditLog(tmp_path, "proxy-0", sync="fsync", limits=AuditLimits(commit_timeout_s=0.05))
    audit.open()
    monkeypatch.setattr(os, "fsync", lambda fd: time.sleep(0.3))
    audit.append(decided("q0"))
    with pytest.raises(AuditUnavailable, match="did not answer in time"):
        await audit.commit()
    monkeypatch.undo()
    await asyncio.sleep(0.3)
    await audit.close()


async def test_a_failed_fsync_writes_the_records_again_into_a_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that loses a write cannot be had for real; everything but the error is."""
    audit = AuditLog(tmp_path, "proxy-0", sync="fsync")
    audit.open()

    def broken(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        audit.append(decided("q0"))
        with pytest.raises(AuditUnavailable, match="Input/output"):
            await audit.commit()
    audit.append(decided("q1"))
    await audit.commit()
    await audit.close()
    assert len(segments(tmp_path)["proxy-0"]) == 2
    assert query_ids(tmp_path) == ["q0", "q0", "q1"]
    assert verify(tmp_path).ok


async def test_after_closing_nothing_is_written_or_taken_for_written(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path, "proxy-0")
    audit.open()
    await audit.close()
    audit.append(decided("q0"))
    with pytest.raises(AuditUnavailable, match="not open"):
        await audit.commit()
    assert query_ids(tmp_path) == []


# -- real death -------------------------------------------------------------------------------------------

WRITER = """
import asyncio, sys
from pathlib import Path
from gateway.store.audit import AuditLog
from tests.store.audit_samples import decided

async def main():
    audit = AuditLog(Path(sys.argv[1]), "proxy-0")
    audit.open()
    for i in range(1_000_000):
        audit.append(decided(f"q{i}"))
        await audit.commit()
        print(f"q{i}", flush=True)

asyncio.run(main())
"""


def test_kill_dash_nine_loses_no_acknowledged_record(tmp_path: Path) -> None:
    acknowledged = run_and_kill(tmp_path, 300)
    written = query_ids(tmp_path)
    assert written[: len(acknowledged)] == acknowledged
    assert verify(tmp_path).ok


def run_and_kill(directory: Path, after: int) -> list[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(directory)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
    )
    assert process.stdout is not None
    try:
        acknowledged = [process.stdout.readline().strip() for _ in range(after)]
    finally:
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate(timeout=10)
    complete = rest.rpartition("\n")[0]
    return acknowledged + complete.split()


# -- secrets ----------------------------------------------------------------------------------------------


async def test_no_record_type_can_hold_a_text_or_a_secret() -> None:
    import dataclasses

    from gateway.store import audit_records

    forbidden = {"text", "sql", "statement", "password", "token", "error_text", "message", "literal"}
    kinds = [
        kind
        for kind in vars(audit_records).values()
        if isinstance(kind, type) and dataclasses.is_dataclass(kind) and hasattr(kind, "kind_name")
    ]
    assert len(kinds) == 7
    for kind in kinds:
        assert not forbidden & {field.name for field in dataclasses.fields(kind)}


async def test_a_log_in_record_names_who_and_why(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path, "proxy-0")
    audit.open()
    audit.append(LoginFailed(time=1.0, user="bob", peer="10.0.0.1", method="password", reason="rejected"))
    await audit.close()
    assert parse_line(lines_of(tmp_path)[-1]).record["user"] == "bob"


def test_a_chain_position_is_fixed_width() -> None:
    assert len(Link(1, bytes(20), 1).encode()) == len(Link(10**15, b"\xff" * 20, 10**7).encode())
