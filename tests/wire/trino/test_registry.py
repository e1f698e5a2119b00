"""The registry forgets rather than grows, and knows a page only by its slug."""

from __future__ import annotations

from gateway.core.decision import EngineKind, Plan
from gateway.core.principal import Principal
from gateway.core.statement import Statement, StatementKind, Wire
from gateway.wire.http.client import UpstreamPool
from gateway.wire.http.message import Headers
from gateway.wire.trino.registry import Live, Registry, Replay
from gateway.wire.trino.request import Forwarded, RequestRules, read_request
from gateway.wire.trino.uris import Page
from tests.wire.trino.edge_double import DoubleBackend, DoubleLease, DoubleQuery

PLAN = Plan("SELECT 1", StatementKind.QUERY, EngineKind.TRINO, "g", ("a",))
REQUEST = read_request("SELECT 1", Headers(), RequestRules())
ORIGIN = Forwarded("http", "gw", 80, "10.0.0.1")


def query_id(number: int) -> str:
    return f"20260101_000000_{number:05d}_abcde"


def live(number: int, *, size: int = 0, seen: float = 0.0) -> Live:
    query = DoubleQuery(f"q{number}", Statement("SELECT 1", Wire.TRINO), Principal("alice"), PLAN, {})
    lease = DoubleLease(DoubleBackend("a", UpstreamPool("127.0.0.1", 1)))
    one = Live(query, lease, query_id(number), query_id(number), created=seen, seen=seen)
    one.first_page = one.next_page = Page("queued", query_id(number), "y1", 1)
    if size:
        one.replay = Replay(REQUEST, PLAN, ORIGIN, size)
    return one


def test_the_oldest_query_gives_way() -> None:
    registry = Registry(max_live=2, max_owners=3)
    first, second, third = live(1), live(2), live(3)
    assert registry.add(first) is None
    assert registry.add(second) is None
    assert registry.add(third) is first
    assert registry.get(query_id(1)) is None
    assert len(registry) == 2


def test_statements_kept_for_moving_are_bounded_in_bytes() -> None:
    registry = Registry(max_replay_bytes=100)
    lives = [live(number, size=40) for number in range(5)]
    for one in lives:
        registry.add(one)
    assert registry.replay_bytes <= 100
    assert [one.replay is not None for one in lives] == [False, False, False, True, True]
    registry.add(huge := live(9, size=1000))
    assert huge.replay is None
    assert registry.replay_bytes == 0
    assert len(registry) == 6


def test_owners_are_remembered_after_the_end_but_not_for_ever() -> None:
    registry = Registry(max_owners=2)
    for number in range(3):
        registry.add(one := live(number, size=10))
        registry.forget(one)
    assert registry.owner(query_id(0)) is None
    owner = registry.owner(query_id(2))
    assert owner is not None
    assert owner.principal == "alice"
    assert len(registry) == 0
    assert registry.replay_bytes == 0


def test_silence_is_measured_from_the_last_page() -> None:
    registry = Registry()
    for number, seen in enumerate((1.0, 5.0, 9.0)):
        registry.add(live(number, seen=seen))
    assert [one.client_id for one in registry.silent(6.0)] == [query_id(0), query_id(1)]


def test_a_page_is_known_by_its_slug() -> None:
    one = live(1)
    assert one.is_first_page(Page("queued", query_id(1), "y1", 1))
    assert not one.is_first_page(Page("queued", query_id(1), "y2", 1))
    assert not one.is_first_page(Page("queued", query_id(1), "y1", 2))
    assert not one.is_first_page(Page("executing", query_id(1), "y1", 1))
    one.first_page = None
    assert not one.is_first_page(Page("queued", query_id(1), "y1", 1))
