"""Slots, queues and fairness: the pure book, the local one, and the one shared by processes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.edge.admission import AdmissionBook, AdmissionLimits, AdmissionRefused, LocalAdmission
from gateway.edge.admission_socket import AdmissionServer, SocketAdmission

A_B = (("a", "b"),)


def book(**limits: object) -> AdmissionBook:
    return AdmissionBook(AdmissionLimits(**limits))  # type: ignore[arg-type]


def test_least_loaded_backend_is_chosen_and_ties_follow_the_plan() -> None:
    b = book()
    chosen = [b.request("u", A_B, lambda _: None) for _ in range(4)]
    assert chosen == ["a", "b", "a", "b"]


def test_load_is_relative_to_a_backends_limit() -> None:
    b = book(per_backend={"a": 1, "b": 3})
    assert [b.request("u", A_B, lambda _: None) for _ in range(4)] == ["a", "b", "b", "b"]


def test_a_later_tier_is_used_only_when_the_first_is_down() -> None:
    b = book(per_backend={"a": 1, "z": 5})
    tiers = (("a",), ("z",))
    assert b.request("u", tiers, lambda _: None) == "a"
    assert isinstance(b.request("u", tiers, lambda _: None), int), "busy is not down: it waits"
    b.set_unavailable(["a"])
    assert b.running_on == {"a": 1, "z": 1}, "the waiting one moved to the fallback"


def test_a_flood_does_not_starve_another_principal() -> None:
    b = book(per_backend={"a": 1})
    order: list[str] = []
    assert b.request("flood", (("a",),), lambda _: None) == "a"
    for _ in range(5):
        b.request("flood", (("a",),), lambda _: order.append("flood"))
    b.request("quiet", (("a",),), lambda _: order.append("quiet"))
    b.release("flood", "a")
    b.release(order[0], "a")
    assert order == ["flood", "quiet"] or order == ["quiet", "flood"]
    assert "quiet" in order[:2]


def test_fewest_running_goes_first() -> None:
    b = book(per_backend={"a": 3})
    got: list[str] = []
    for _ in range(3):
        b.request("busy", (("a",),), lambda _: None)
    b.request("busy", (("a",),), lambda _: got.append("busy"))
    b.request("idle", (("a",),), lambda _: got.append("idle"))
    b.release("busy", "a")
    assert got == ["idle"]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [({"queued_per_principal": 0}, "queue_full"), ({"queued_total": 0}, "queue_full")],
)
def test_queue_bounds(limits: dict[str, int], reason: str) -> None:
    b = book(per_principal=1, **limits)
    b.request("u", A_B, lambda _: None)
    with pytest.raises(AdmissionRefused) as refused:
        b.request("u", A_B, lambda _: None)
    assert refused.value.reason == reason


def test_nothing_healthy_is_refused_at_once() -> None:
    b = book()
    b.set_unavailable(["a", "b"])
    with pytest.raises(AdmissionRefused) as refused:
        b.request("u", A_B, lambda _: None)
    assert refused.value.reason == "no_backend"


def test_releasing_what_is_not_held_never_goes_below_zero() -> None:
    b = book(per_backend={"a": 1})
    b.release("u", "a")
    assert b.running_on["a"] == 0
    assert b.request("u", (("a",),), lambda _: None) == "a"
    assert isinstance(b.request("u", (("a",),), lambda _: None), int)


async def test_local_wait_times_out_and_leaves_nothing_behind() -> None:
    b = book(per_backend={"a": 1})
    admission = LocalAdmission(b)
    assert admission.try_acquire("u", (("a",),)) == "a"
    assert admission.try_acquire("u", (("a",),)) is None
    with pytest.raises(AdmissionRefused) as refused:
        await admission.acquire("u", (("a",),), 0.05)
    assert refused.value.reason == "timeout"
    assert b.queued == 0


async def test_local_cancel_gives_the_slot_back() -> None:
    b = book(per_backend={"a": 1})
    admission = LocalAdmission(b)
    await admission.acquire("u", (("a",),), 1)
    waiting = asyncio.get_running_loop().create_task(admission.acquire("v", (("a",),), 5))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    admission.release("u", "a")
    assert b.queued == 0
    assert not b.running_on


@pytest.fixture
async def shared(tmp_path: Path):  # type: ignore[no-untyped-def]
    b = book(per_backend={"a": 2}, per_principal=10)
    server = AdmissionServer(b, tmp_path / "admission.sock")
    await server.start()
    processes = [SocketAdmission(tmp_path / "admission.sock", b.limits, 2) for _ in range(2)]
    for process in processes:
        process.start()
    await asyncio.sleep(0.05)
    yield b, server, processes
    for process in processes:
        await process.close()
    await server.close()


async def test_two_processes_share_one_limit(shared) -> None:  # type: ignore[no-untyped-def]
    b, _, (one, two) = shared
    assert await one.acquire("u", (("a",),), 1) == "a"
    assert await two.acquire("v", (("a",),), 1) == "a"
    with pytest.raises(AdmissionRefused):
        await two.acquire("v", (("a",),), 0.05)
    one.release("u", "a")
    assert await two.acquire("v", (("a",),), 1) == "a"
    assert b.running_on["a"] == 2


async def test_a_dead_process_gives_back_what_it_held(shared) -> None:  # type: ignore[no-untyped-def]
    b, _, (one, two) = shared
    await one.acquire("u", (("a",),), 1)
    await one.acquire("u", (("a",),), 1)
    await one.close()
    assert await two.acquire("v", (("a",),), 1) == "a"
    assert b.running_of == {"v": 1}


async def test_without_the_parent_a_process_uses_its_share(shared) -> None:  # type: ignore[no-untyped-def]
    _, server, (one, _two) = shared
    await server.close()
    one._writer.close()
    await asyncio.sleep(0.05)
    assert await one.acquire("u", (("a",),), 1) == "a"
    with pytest.raises(AdmissionRefused):
        await one.acquire("u", (("a",),), 0.05)
