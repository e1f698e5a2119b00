"""Keys from a URL: a real server that hangs, lies, rotates and goes away."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiohttp import web

from gateway.identity.contract import AuthenticationFailed, Credentials
from gateway.identity.jwks_url import JwksUrl, JwksUrlOptions
from gateway.identity.keys import MAX_JWKS_BYTES
from gateway.identity.scheme import TemporarilyUnavailable

from .conftest import AUDIENCE, ISSUER, Clock, Door, KeyServer, Signer


def source(server: KeyServer, clock: Clock, **changes: float) -> JwksUrl:
    options = {"timeout_s": 10.0, "refetch_every_s": 5.0, **changes}
    return JwksUrl(JwksUrlOptions(server.url, ("RS256", "ES256"), **options), clock.monotonic)  # type: ignore[arg-type]


async def test_keys_are_fetched_once_however_many_ask(
    key_server: KeyServer, clock: Clock, rsa_signer: Signer
) -> None:
    keys = source(key_server, clock)
    found = await asyncio.gather(*(keys.candidates("RS256", rsa_signer.kid) for _ in range(50)))
    assert all(len(candidates) == 1 for candidates in found)
    assert key_server.requests == 1
    await keys.close()


async def test_rotation_is_noticed_by_the_first_token_with_a_new_kid(
    key_server: KeyServer, clock: Clock, rsa_signer: Signer, ec_signer: Signer
) -> None:
    keys = source(key_server, clock)
    assert await keys.candidates("RS256", rsa_signer.kid)
    key_server.keys = [ec_signer.jwk]
    assert await keys.candidates("ES256", ec_signer.kid)
    assert await keys.candidates("RS256", rsa_signer.kid) == [], "a withdrawn key is not used any more"
    assert key_server.requests == 2
    await keys.close()


async def test_made_up_kids_cause_one_fetch_each_few_seconds(
    key_server: KeyServer, clock: Clock, rsa_signer: Signer, ec_signer: Signer
) -> None:
    keys = source(key_server, clock)
    await keys.candidates("RS256", rsa_signer.kid)
    for number in range(500):
        assert await keys.candidates("RS256", f"made-up-{number}") == []
    assert key_server.requests == 2
    clock.pass_by(6)
    key_server.keys = [ec_signer.jwk]
    assert await keys.candidates("ES256", ec_signer.kid), "the true new key is found all the same"
    assert key_server.requests == 3
    clock.pass_by(6)
    assert await keys.candidates("RS256", "made-up-0") == []
    assert key_server.requests == 3, "an unknown kid stays unknown for a while"
    await keys.close()


async def test_a_server_that_hangs_holds_nobody_up_once_keys_are_known(
    key_server: KeyServer, clock: Clock, rsa_signer: Signer
) -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await key_server.hang.wait()
        return web.Response()

    keys = source(key_server, clock, timeout_s=0.5)
    await keys.candidates("RS256", rsa_signer.kid)
    key_server.answer = hang
    clock.pass_by(1000)
    started = time.monotonic()
    assert await keys.candidates("RS256", rsa_signer.kid)
    assert time.monotonic() - started < 0.4
    assert await keys.candidates("RS256", "new") == []
    assert time.monotonic() - started < 5, "the wait for an unknown kid is bounded"
    await keys.close()


async def test_known_keys_outlive_the_url_but_not_for_ever(
    key_server: KeyServer, clock: Clock, rsa_signer: Signer
) -> None:
    keys = source(key_server, clock, keep_s=3600)
    await keys.candidates("RS256", rsa_signer.kid)
    await key_server.stop()
    clock.pass_by(3500)
    assert await keys.candidates("RS256", rsa_signer.kid)
    clock.pass_by(200)
    with pytest.raises(TemporarilyUnavailable):
        await keys.candidates("RS256", rsa_signer.kid)
    await keys.close()


async def test_without_keys_tokens_wait_for_nobody_and_recover(clock: Clock, rsa_signer: Signer) -> None:
    server = KeyServer()
    server.keys = [rsa_signer.jwk]
    await server.start()
    port = server.port
    await server.stop()
    keys = source(server, clock)
    with pytest.raises(TemporarilyUnavailable) as refusal:
        await keys.candidates("RS256", rsa_signer.kid)
    assert refusal.value.retry_after == 5.0
    await server.start(port)
    with pytest.raises(TemporarilyUnavailable):
        await keys.candidates("RS256", rsa_signer.kid)
    assert server.requests == 0, "it was tried a moment ago"
    clock.pass_by(6)
    assert await keys.candidates("RS256", rsa_signer.kid)
    await keys.close()
    await server.stop()


async def test_bad_answers_never_replace_good_keys(
    key_server: KeyServer, clock: Clock, rsa_signer: Signer
) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while sent[0] < 64 * MAX_JWKS_BYTES:
            await response.write(b" " * 65536)
            sent[0] += 65536
        return response

    sent = [0]

    async def redirect(_: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("/elsewhere")

    async def plain(_: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>")

    async def nothing(_: web.Request) -> web.StreamResponse:
        return web.json_response({"keys": []})

    async def broken(_: web.Request) -> web.StreamResponse:
        return web.Response(status=500)

    keys = source(key_server, clock)
    await keys.candidates("RS256", rsa_signer.kid)
    for answer in (endless, redirect, plain, nothing, broken):
        key_server.answer = answer
        clock.pass_by(60)
        before = key_server.requests
        assert await keys.candidates("RS256", f"new-{answer.__name__}") == []
        assert key_server.requests == before + 1, answer.__name__
        assert await keys.candidates("RS256", rsa_signer.kid)
    await keys.close()
    assert sent[0] < 48 * MAX_JWKS_BYTES, "an endless answer is cut off (what is on its way in buffers aside)"


async def test_a_waiter_that_leaves_does_not_cancel_the_fetch(
    key_server: KeyServer, clock: Clock, rsa_signer: Signer
) -> None:
    async def slow(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.2)
        return web.json_response({"keys": [rsa_signer.jwk]})

    key_server.answer = slow
    keys = source(key_server, clock)
    async with asyncio.TaskGroup() as group:
        leaver = group.create_task(keys.candidates("RS256", rsa_signer.kid))
        stayer = group.create_task(keys.candidates("RS256", rsa_signer.kid))
        await asyncio.sleep(0.05)
        leaver.cancel()
    assert stayer.result()
    assert key_server.requests == 1
    await keys.close()


async def test_a_closed_source_starts_nothing(key_server: KeyServer, clock: Clock) -> None:
    keys = source(key_server, clock)
    await keys.close()
    with pytest.raises(TemporarilyUnavailable):
        await keys.candidates("RS256", "any")
    assert key_server.requests == 0


async def test_the_background_refresh_finds_rotated_keys_by_itself(
    key_server: KeyServer, clock: Clock, ec_signer: Signer
) -> None:
    keys = source(key_server, clock, refresh_s=0.05)
    keys.start()
    async with asyncio.timeout(10):
        await key_server.until(2)
        key_server.keys = [ec_signer.jwk]
        await key_server.until(key_server.requests + 2)
    assert keys._known() is not None
    assert keys._known().has(ec_signer.kid)  # type: ignore[union-attr]
    await keys.close()


async def test_through_the_service_a_reload_keeps_known_keys_while_the_url_is_down(
    door: Door, key_server: KeyServer, rsa_signer: Signer
) -> None:
    yaml = f"jwt: [{{issuer: '{ISSUER}', audience: {AUDIENCE}, jwks_url: '{key_server.url}'}}]\n"
    await door.configure(yaml)
    assert (await door.service.authenticate(Credentials(token=rsa_signer.token()))).name == "alice"
    await key_server.stop()
    await door.configure(yaml + "remember: 30s\n")
    assert (await door.service.authenticate(Credentials(token=rsa_signer.token(sub="bob")))).name == "bob"


async def test_while_no_keys_are_known_the_client_is_told_to_come_back_and_nothing_is_counted(
    door: Door, key_server: KeyServer, rsa_signer: Signer
) -> None:
    await key_server.stop()
    await door.configure(
        f"jwt: [{{issuer: '{ISSUER}', audience: {AUDIENCE}, jwks_url: '{key_server.url}'}}]\n"
        "login_rate: {network_attempts: 1}\n"
    )
    for _ in range(3):
        with pytest.raises(AuthenticationFailed, match="cannot be fetched now") as refusal:
            await door.service.authenticate(Credentials(token=rsa_signer.token()))
        assert refusal.value.retry_after
    assert {event.outcome.value for event in door.events} == {"unavailable"}
