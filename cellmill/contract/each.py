"""The loop over a batch that all stages share: skipping, timing, progress."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract.progress import Progress
from cellmill.contract.recording import Recorder
from cellmill.errors import BadInput, CellmillError, MachineFault
from cellmill.terminal import say


def for_each_image(
    source: Batch | Iterable[Entry],
    work: Callable[[Entry], None],
    *,
    writers: Sequence[BatchWriter],
    record: Recorder,
    on_bad_image: Literal["fail", "skip"] | str = "fail",
    label: str = "images",
) -> None:
    """Do the work on every image of a batch.

    An image that an earlier stage skipped is passed on as skipped. An image on which the work
    raises `CellmillError` fails the stage, or with `"skip"` is recorded as skipped. An image
    that a process before this one had done, before it was killed, is not done again.

    Args:
        source: the batch, or its entries.
        work: what to do with one entry; it writes to the writers.
        writers: the batches being written; a skipped image is marked in each.
        record: the stage's record.
        on_bad_image: `"fail"` or `"skip"`.
        label: what the progress line calls the work.

    Raises:
        BadInput: an image is bad and `on_bad_image` is `"fail"`; or no image is left.
        MachineFault: the machine refuses, whatever `on_bad_image` is: a full disk is no image's
            fault.
    """
    entries = list(source.entries if isinstance(source, Batch) else source)
    errors: list[str] = []
    with Progress(label, len(entries)) as progress:
        for entry in entries:
            with record.image(entry.name) as timing:
                error = entry.error if not entry.ok else ""
                done = bool(writers) and all(writer.has(entry.name) for writer in writers)
                if done:
                    error = writers[0].error_of(entry.name)
                if entry.ok and not done:
                    try:
                        work(entry)
                    except MachineFault:
                        raise
                    except CellmillError as failure:
                        error = str(failure)
                        if on_bad_image == "fail":
                            raise
                        say(f"skipped {entry.name}: {error}", to=sys.stderr)
                if error:
                    errors.append(error)
                    timing.status, timing.error = "skipped", error
                    for writer in writers:
                        writer.skip(entry, error)
                for writer in writers:
                    writer.finish(entry.name)
            progress.advance()
    if entries and len(errors) == len(entries):
        raise BadInput(
            f"all {len(entries)} images of the batch",
            expected="at least one good image",
            found=f"first: {errors[0]}",
        )
