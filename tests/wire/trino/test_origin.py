"""Who is believed about how clients reach us."""

import pytest

from gateway.wire.http.message import Headers, Peer
from gateway.wire.trino.origin import BadHost, OriginRules, base_url

FORWARDED = [
    ("Host", "internal:8080"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "gw.example"),
    ("X-Forwarded-Port", "8443"),
]


def base(rules: OriginRules, headers: list[tuple[str, str]], peer: Peer) -> str:
    return base_url(rules.of_request(Headers(headers), peer))


def test_a_stranger_is_not_believed() -> None:
    rules = OriginRules.of(None, ["10.0.0.0/8"])
    assert base(rules, FORWARDED, Peer("192.0.2.1", 1)) == "http://internal:8080"
    assert base(OriginRules(), FORWARDED, Peer("10.0.0.1", 1)) == "http://internal:8080"


def test_a_trusted_proxy_is_believed() -> None:
    rules = OriginRules.of(None, ["10.0.0.0/8"])
    assert base(rules, FORWARDED, Peer("10.0.0.1", 1)) == "https://gw.example:8443"
    assert base(rules, FORWARDED[:3], Peer("10.0.0.1", 1)) == "https://gw.example"
    assert base(rules, FORWARDED, Peer("192.0.2.1", 1, via="10.0.0.1")) == "https://gw.example:8443"


def test_a_sibling_on_a_unix_socket_is_believed() -> None:
    assert base(OriginRules(), FORWARDED, Peer("", 0)) == "https://gw.example:8443"


def test_the_external_url_wins() -> None:
    rules = OriginRules.of("https://sql.example/", ["0.0.0.0/0"])
    assert base(rules, FORWARDED, Peer("10.0.0.1", 1)) == "https://sql.example"


@pytest.mark.parametrize(
    ("host", "tls", "expected"),
    [
        ("a:80", False, "http://a"),
        ("a:443", True, "https://a"),
        ("a:80", True, "https://a:80"),
        ("[::1]:9", False, "http://[::1]:9"),
        ("a", False, "http://a"),
    ],
)
def test_default_ports_are_left_out(host: str, tls: bool, expected: str) -> None:
    assert base(OriginRules(), [("Host", host)], Peer("1.1.1.1", 1, tls)) == expected


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Host", "")],
        [("Host", "a/b")],
        [("Host", 'a"b')],
        [("Host", "a@b")],
        [("Host", "a:0")],
        [("Host", "a:99999")],
        [("Host", "a:1:2")],
        [("Host", "a b")],
    ],
)
def test_a_host_that_is_none_is_refused(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(BadHost):
        OriginRules().of_request(Headers(headers), Peer("1.1.1.1", 1))


@pytest.mark.parametrize("url", ["gw.example", "ftp://gw", "https://gw/path", "https://"])
def test_a_useless_external_url_is_an_error_at_start(url: str) -> None:
    with pytest.raises(ValueError, match="external URL"):
        OriginRules.of(url, ())
