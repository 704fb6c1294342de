"""Images wait in a bounded line, and an answer comes in time or not at all."""

import asyncio
import threading

import pytest

from cellmill.errors import BadInput
from serving.metrics import Metrics
from serving.refusals import Busy
from serving.work import Work


def test_what_is_too_much_is_refused_and_what_ended_makes_room():
    async def main():
        go, work = threading.Event(), Work(1, 1, 60.0, Metrics())
        first = asyncio.create_task(work.images([go.wait]))
        second = asyncio.create_task(work.images([lambda: 2]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="at most 2 images, found 2"):
            await work.images([lambda: 3])
        go.set()
        assert (await first, await second) == ([True], [2])
        while work._count:
            await asyncio.sleep(0)
        # More at once than may wait, where nothing else is there.
        assert await work.images([lambda n=n: n for n in range(5)]) == [*range(5)]

    asyncio.run(main())


def test_no_answer_in_time_is_said_and_its_place_is_kept_until_it_ends():
    async def main():
        go, metrics = threading.Event(), Metrics()
        work = Work(1, 4, 0.05, metrics)
        with pytest.raises(Busy, match=r"an answer within 0.05 s"):
            await work.images([go.wait])
        assert b"cellmill_images_waiting 1.0" in metrics.page()
        go.set()
        while work._count:
            await asyncio.sleep(0)

    asyncio.run(main())


def test_what_an_image_raises_is_raised():
    def fail():
        raise BadInput("image", expected="one", found="none")

    async def main():
        await Work(2, 4, 60.0, Metrics()).images([lambda: 1, fail])

    with pytest.raises(BadInput, match="image: expected one"):
        asyncio.run(main())
