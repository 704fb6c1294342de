"""Richardson-Lucy block by block in one process, the objects in memory or in mapped files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from cellmill.compute.threads import in_threads
from cellmill.restoration.blocks import BlockedRichardsonLucy, Slices
from cellmill.restoration.sums import Sums, added, factors

Order = Callable[[Sequence[Slices]], Iterable[Slices]]


def deconvolve_blocks(
    work: BlockedRichardsonLucy,
    start: np.ndarray | float,
    iterations: int,
    *,
    order: Order = list,
    threads: int | None = None,
) -> tuple[np.ndarray, tuple[Sums, ...]]:
    """Compute all iterations in memory.

    Args:
        work: what is computed.
        start: the first object, of `work.shape`, or its value everywhere.
        iterations: how many at most.
        order: in which order blocks are computed; it changes nothing.
        threads: blocks at once; None is `thread_count()`.

    Returns:
        The last object, float32, and the sums of each iteration.
    """
    objects = [np.full(work.shape, start, np.float32)]
    objects += [np.zeros_like(objects[0]) for _ in range(work.objects_read)]
    done = tuple(iterate(work, objects, iterations, order=order, threads=threads))
    return objects[len(done) % len(objects)], done


def iterate(
    work: BlockedRichardsonLucy,
    objects: Sequence[np.ndarray],
    iterations: int,
    done: Sequence[Sums] = (),
    *,
    order: Order = list,
    threads: int | None = None,
) -> Iterator[Sums]:
    """Compute iterations one by one, until consensus ends them or all are done.

    Args:
        work: what is computed.
        objects: float32 arrays of `work.shape`, one more than `work.objects_read`; the object after
            iteration `n` is in the array of number `n` modulo their number.
        iterations: how many at most, those that are done included.
        done: sums of the iterations that are done.
        order: see `deconvolve_blocks`.
        threads: as well.

    Yields:
        The sums of each iteration, once its object is there.
    """
    sums = list(done)
    while len(sums) < iterations and not (sums and sums[-1].ends):
        number = len(sums) + 1
        following = objects[number % len(objects)]
        last = [
            objects[max(number - back, 0) % len(objects)]
            for back in range(1, work.objects_read + 1)
        ]
        forward = factors(sums)

        def one(
            place: Slices,
            last: Sequence[np.ndarray] = last,
            forward: tuple[float, float] = forward,
            out: np.ndarray = following,
        ) -> Sums:
            found = work.block(place, last, forward)
            out[place] = found.image
            return found.sums

        sums.append(added(in_threads(one, order(work.blocks), threads)))
        yield sums[-1]
