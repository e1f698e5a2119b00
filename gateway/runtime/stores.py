"""Opening the store of the settings: its URL, its keys, and waiting for one that is away."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable
from urllib.parse import quote

from sqlalchemy.exc import SQLAlchemyError

from gateway.settings import Settings
from gateway.store.store import Store

log = logging.getLogger(__name__)

RETRY_S = 5.0


async def opened_store(settings: Settings, on_state: Callable[[bool], None]) -> Store:
    """The store, as soon as it can be opened. Raises SchemaError for one that never can.

    Nobody who serves clients waits for this: the audit is on disk, history follows.
    """
    away = False
    while True:
        try:
            store = await Store.open(store_url(settings))
        except (SQLAlchemyError, OSError) as error:
            if not away:
                log.warning(
                    "store not reachable, history waits in the audit's files: %s", type(error).__name__
                )
            away = True
            on_state(False)
            await asyncio.sleep(RETRY_S)
        else:
            if away:
                log.info("the store is reachable again")
            on_state(True)
            return store


def store_url(settings: Settings) -> str:
    """The store's URL with its password put in; never to be logged."""
    store = settings.store
    if store.password is None:
        return store.url
    scheme, _, rest = store.url.partition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}://{user}:{quote(store.password.reveal(), safe='')}{at}{host}"


def encryption_keys(settings: Settings) -> list[bytes]:
    """The key of statement texts; none where it is not configured. Raises ValueError for a bad one."""
    reference = settings.store.encryption_key
    if reference is None:
        return []
    try:
        return [base64.b64decode(reference.reveal(), validate=True)]
    except binascii.Error as error:
        raise ValueError("store.encryption_key: expected 32 bytes in base64") from error
