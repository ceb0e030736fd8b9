"""Calls in hand when a server stops: they may end, until it is time; endless ones end at once; new ones are refused."""

import asyncio

import pytest

from tieout_server.errors import DrainingError
from tieout_server.rpc.in_hand import InHand

pytestmark = pytest.mark.timeout(60)

LONG = 60.0


def soon(seconds: float = LONG) -> float:
    return asyncio.get_running_loop().time() + seconds


async def a_call(among: InHand, ends: asyncio.Event, *, is_endless: bool = False) -> str:
    with among.call(is_endless=is_endless):
        await ends.wait()
    return "answered"


async def begun(among: InHand, *, is_endless: bool = False) -> tuple[asyncio.Task[str], asyncio.Event]:
    ends = asyncio.Event()
    call = asyncio.create_task(a_call(among, ends, is_endless=is_endless))
    await asyncio.sleep(0)
    return call, ends


async def test_what_is_in_hand_ends_and_nothing_new_is_taken() -> None:
    among = InHand()
    among.check_is_open()
    call, ends = await begun(among)
    draining = asyncio.create_task(among.drain(soon()))
    await asyncio.sleep(0)
    with pytest.raises(DrainingError):
        among.check_is_open()
    assert not draining.done()
    ends.set()
    await draining
    assert await call == "answered"


async def test_what_does_not_end_in_time_is_told_to_go_elsewhere() -> None:
    among = InHand()
    call, _ = await begun(among)
    await among.drain(soon(0.05))
    with pytest.raises(DrainingError, match="Repeat it"):
        await call


async def test_what_only_its_caller_ends_is_not_waited_for() -> None:
    among = InHand()
    call, _ = await begun(among, is_endless=True)
    await among.drain(soon())
    with pytest.raises(DrainingError):
        await call


async def test_a_caller_that_leaves_meanwhile_is_told_nothing() -> None:
    among = InHand()
    call, _ = await begun(among)
    draining = asyncio.create_task(among.drain(soon()))
    await asyncio.sleep(0)
    call.cancel()
    await draining
    with pytest.raises(asyncio.CancelledError):
        await call
