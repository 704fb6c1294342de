"""The stage that turns the records of one condition of a benchmark into rows of its table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cellmill.arrays.batch import Batch
from cellmill.arrays.files import write_text
from cellmill.benchmark.conditions import Condition
from cellmill.benchmark.rows import Found, Subject, rows_of
from cellmill.benchmark.tables import table_csv
from cellmill.contract import Images, Input, Labels, Output, Record, Scores, Table, stage
from cellmill.errors import BadInput
from cellmill.labels.kinds import kinds_in
from cellmill.models.chosen import card_of
from cellmill.typed_json import read_object


@stage(image="imaging", family="benchmarking")
def tabulate_benchmark(
    subjects: Input[Images],
    labels: Input[Labels],
    scores: Input[Scores],
    table: Output[Table],
    record: Output[Record],
    condition: dict,
    preprocess_record: Input[Record] | None = None,
    predict_record: Input[Record] | None = None,
    postprocess_record: Input[Record] | None = None,
    reference_record: Input[Record] | None = None,
    diameter: str = "",
) -> None:
    """Turn the records of one condition of a benchmark into rows of its table.

    Args:
        subjects: Batch as `benchmark_images` makes it.
        labels: What was found in it.
        scores: Of these labels, from `metrics`; the warm-up alone has truth.
        table: Rows of the benchmark's table, as CSV.
        record: What was done, with times and versions.
        condition: What was measured under, as `cellmill.benchmark.conditions.Condition`.
        preprocess_record: Record of preprocessing, where it was measured.
        predict_record: Record of prediction, likewise.
        postprocess_record: Record of post-processing, likewise.
        reference_record: Record of a stage that does all of this in one, likewise.
        diameter: That was given for the objects; it is a column of the table.
    """
    asked = Condition.of(condition)
    batch, found = Batch.open(subjects.path), Batch.open(labels.path)
    card = card_of(found.attributes, f"labels '{found.folder}'")
    first = batch.entries[0]
    shape = first.arrays["image"].shape
    subject = Subject(
        image=str(first.attribute("source_image", str)),
        shape=(shape[0], shape[1]),
        channels=shape[2],
        mosaic=bool(first.attribute("mosaic", bool)),
        diameter=diameter,
    )
    given = (preprocess_record, predict_record, postprocess_record, reference_record)
    documents = [read_object(each.path, "record") for each in given if each is not None]
    if not documents:
        raise BadInput("records", expected="that of at least one stage", found="none")
    rows = rows_of(asked, subject, card, documents, _found(found, Batch.open(scores.path)))
    with record.step("write"):
        write_text(table.path, table_csv(rows))
    table.metadata["rows"] = len(rows)


def _found(labels: Batch, scores: Batch) -> Found:
    """What was found in the warm-up; every repeat must have found as much."""
    entries = [entry for entry in labels.entries if entry.ok]
    kinds = kinds_in(entries[0].arrays, "labels") if entries else ()
    if not kinds:
        raise BadInput("labels", expected="labels of at least one kind", found="none")
    counts = {int(np.max(labels.read(entry, kinds[0]), initial=0)) for entry in entries}
    if len(counts) > 1:
        raise BadInput(
            "labels of one image, segmented repeatedly",
            expected="the same number of objects each time",
            found=" and ".join(map(str, sorted(counts))),
        )
    document = _document(scores)
    return Found(counts.pop(), document.get(kinds[0], {}))


def _document(scores: Batch) -> Mapping[str, Any]:
    entry = scores.entries[0]
    return read_object(scores.file(entry, "json"), "scores") if "json" in entry.files else {}
