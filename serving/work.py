"""Images that are worked on side by side, a bounded number of which wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from cellmill.compute.threads import thread_count
from serving.metrics import Metrics
from serving.refusals import Busy

Result = TypeVar("Result")


class Work:
    """Threads that work on images, apart from those that read and write messages.

    Args:
        workers: images side by side; 0: one more than CPUs, so that one prepares while others run.
        most_waiting: images that wait at most.
        patience: seconds to an answer.
        metrics: counts what waits.
    """

    def __init__(self, workers: int, most_waiting: int, patience: float, metrics: Metrics) -> None:
        count = workers or thread_count() + 1
        self._images = ThreadPoolExecutor(count, "image")
        self._messages = ThreadPoolExecutor(2, "message")
        self._most, self._patience, self._metrics = count + most_waiting, patience, metrics
        self._count = 0

    async def message(self, work: Callable[[], Result]) -> Result:
        """Read or write a message, which may be large."""
        return await asyncio.get_running_loop().run_in_executor(self._messages, work)

    async def images(self, works: Sequence[Callable[[], Result]]) -> list[Result]:
        """Work on the images of one request.

        Raises:
            Busy: too many wait, or there is no answer in time.
        """
        # Of more images than may wait at all a request is taken when nothing else is there.
        if self._count and self._count + len(works) > self._most:
            found = f"{self._count} that are worked on or wait"
            raise Busy("server", expected=f"at most {self._most} images", found=found)
        loop = asyncio.get_running_loop()
        futures = []
        for work in works:
            self._add(1)
            future = self._images.submit(work)
            # What was given up goes on to its end, and counts until then.
            future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._add, -1))
            futures.append(asyncio.wrap_future(future, loop=loop))
        done, late = await asyncio.wait(
            futures, timeout=self._patience, return_when=asyncio.FIRST_EXCEPTION
        )
        for each in late:
            each.cancel()
        for each in done:
            if not each.cancelled() and (error := each.exception()):
                raise error
        if late:
            raise Busy("server", expected=f"an answer within {self._patience:g} s", found="none")
        return [each.result() for each in futures]

    def _add(self, count: int) -> None:
        self._count += count
        self._metrics.waiting.set(self._count)
