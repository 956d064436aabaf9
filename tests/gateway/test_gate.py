import asyncio

import pytest

from aigrid.core.errors import RateLimited, Unavailable
from aigrid.gateway.gate import Gate


async def test_places_are_given_in_turn_and_the_rest_is_refused():
    gate = Gate(1, 1, 60.0)
    await gate.enter()
    second = asyncio.create_task(gate.enter())
    await asyncio.sleep(0)
    assert gate.waiting == 1
    with pytest.raises(RateLimited) as refused:
        await gate.enter()
    assert refused.value.code == "queue_full"
    assert refused.value.retry_after
    gate.leave()
    await second
    assert (gate.running, gate.waiting) == (1, 0)
    gate.leave()
    assert gate.running == 0


async def test_a_wait_too_long_is_refused_and_its_place_is_free():
    gate = Gate(1, 5, 0.02)
    await gate.enter()
    with pytest.raises(RateLimited) as refused:
        await gate.enter()
    assert refused.value.code == "queue_timeout"
    assert gate.waiting == 0
    gate.leave()
    await gate.enter()


async def test_places_are_not_lost_when_waiters_are_cancelled_at_any_moment():
    gate = Gate(3, 100, 60.0)

    async def visit(at: int) -> None:
        await gate.enter()
        try:
            await asyncio.sleep(0.001 * (at % 3))
        finally:
            gate.leave()

    visits = [asyncio.create_task(visit(at)) for at in range(100)]
    for at, task in enumerate(visits):
        if at % 4 == 0:
            await asyncio.sleep(0)
            task.cancel()
    ended = await asyncio.gather(*visits, return_exceptions=True)
    assert {type(end) for end in ended} <= {type(None), asyncio.CancelledError}
    assert (gate.running, gate.waiting) == (0, 0)


async def test_draining_waits_for_those_inside_and_lets_nobody_in():
    gate = Gate(2, 2, 5.0)
    await gate.enter()
    assert not await gate.drain(0.01)
    with pytest.raises(Unavailable):
        await gate.enter()
    asyncio.get_running_loop().call_later(0.01, gate.leave)
    assert await gate.drain(60.0)


async def test_a_place_given_up_in_the_moment_it_is_given_is_refused_and_not_lost():
    gate = Gate(1, 5, 0.0)
    await gate.enter()
    waiter = asyncio.create_task(gate.enter())
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(gate.leave)
    with pytest.raises(RateLimited):
        await waiter
    assert gate.waiting == 0
    assert gate.running == 0
