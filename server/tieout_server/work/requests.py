"""Answering a repeated request with its first answer: the promise behind every `request_id`.

What is kept names no person: whoever may have to be forgotten is read anew for a repeat. A caller who may not see
every merchant has request_ids of its own, so that it neither meets those of others nor can tell that they are used.
"""

import hashlib
from contextvars import ContextVar
from typing import TypeVar

import msgspec

from tieout_server.clock import Clock
from tieout_server.errors import RequestIdReusedError
from tieout_server.storage import requests
from tieout_server.storage.database import Transaction
from tieout_server.storage.requests import Answered
from tieout_server.storage.sealed import answer_to
from tieout_server.storage.vault import Vault

Answer = TypeVar("Answer")

whose: ContextVar[str] = ContextVar("whose request_ids", default="")
"""The caller that has request_ids of its own, by name; empty: those of all who may see everything."""


class Requests:
    """What was asked and answered by request_id. An empty request_id asks for no such promise."""

    def __init__(self, vault: Vault, clock: Clock) -> None:
        self._vault = vault
        self._clock = clock

    async def earlier(
        self, tx: Transaction, method: str, request_id: str, asked: object, answer: type[Answer]
    ) -> Answer | None:
        """The answer that was given to the same request before, if any.

        Raises:
            RequestIdReusedError: the request_id came before with other content.
        """
        key = _key(request_id)
        if not request_id or (kept := await requests.find(tx, method, key)) is None:
            return None
        if kept.digest != _digest(asked):
            raise RequestIdReusedError(
                f"request_id {request_id!r} was used before for another {method} request. Use a new one.",
                request_id=request_id,
            )
        return msgspec.json.decode(self._vault.open(kept.answer, context=answer_to(method, key)), type=answer)

    async def keep(self, tx: Transaction, method: str, request_id: str, asked: object, answer: object) -> None:
        """Keep this answer, in the transaction of the change it reports."""
        if request_id:
            key = _key(request_id)
            sealed = self._vault.seal(msgspec.json.encode(answer).decode(), context=answer_to(method, key))
            await requests.keep(tx, method, key, Answered(_digest(asked), sealed), self._clock.now())


def _key(request_id: str) -> str:
    """The request_id as it is kept. No request_id and no name has a control character."""
    owner = whose.get()
    return f"{owner}\x1f{request_id}" if owner else request_id


def _digest(asked: object) -> str:
    return hashlib.sha256(msgspec.json.encode(asked, order="sorted")).hexdigest()
