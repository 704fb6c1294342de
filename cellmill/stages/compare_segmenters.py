"""The stage that puts several segmenters' labels of the same images side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.files import write_text
from cellmill.arrays.rows import check_memory
from cellmill.arrays.windows import Windowed
from cellmill.contract import (
    HTML,
    GroundTruth,
    Images,
    Input,
    Labels,
    Metrics,
    Output,
    Record,
    Scores,
    Table,
    stage,
)
from cellmill.errors import BadInput
from cellmill.labels.kinds import Compartment, in_order
from cellmill.labels.pairs import check_labels
from cellmill.metrics import pool
from cellmill.metrics.comparison import compare_scores
from cellmill.metrics.differences import FoundObjects, differing_objects, find_true_objects
from cellmill.models.chosen import card_of
from cellmill.reporting.comparison import (
    ComparedKind,
    ComparedSegmenter,
    Comparison,
    comparison_csv,
    comparison_json,
    render_comparison,
)
from cellmill.reporting.comparison_pictures import CellPictures, Panel, cell_pictures, image_panels
from cellmill.reporting.display import shown_channels
from cellmill.stages.shared.truth import truth_of
from cellmill.typed_json import read_object

#: The name of the row of DeepCell's own package.
REFERENCE = "deepcell_reference"
#: So many of the cells that differ are shown.
_MOST_CELLS = 12


@stage(image="imaging", family="reporting")
def compare_segmenters(
    images: Input[Images],
    truth: Input[GroundTruth],
    labels: Input[list[Labels]],
    scores: Input[list[Scores]],
    preprocess_records: Input[list[Record]],
    predict_records: Input[list[Record]],
    postprocess_records: Input[list[Record]],
    comparison: Output[HTML],
    table: Output[Table],
    numbers: Output[Metrics],
    record: Output[Record],
    segmenters: list,
    reference_labels: Input[Labels] | None = None,
    reference_scores: Input[Scores] | None = None,
    reference_record: Input[Record] | None = None,
    max_side: int = 720,
    memory_mib: int = 1024,
) -> None:
    """Put several segmenters' labels of the same images side by side: a table, a page, numbers.

    Scores are pooled over the images that have truth and that every segmenter was scored on, with
    bootstrap intervals over images.

    Args:
        images: Batch of images, array `image` (Y, X, C), the original pixels.
        truth: Batch of true label images, array `labels`; entries without arrays have none.
        labels: A batch for each segmenter, with an array a kind of object (Y, X) int32.
        scores: A batch for each segmenter, in the same order, as metrics scores labels.
        preprocess_records: For each segmenter the record of preprocessing.
        predict_records: For each segmenter the record of prediction.
        postprocess_records: For each segmenter the record of post-processing.
        comparison: The page, whole in itself: scores, errors, time, outlines side by side, and the
            cells where segmenters differ.
        table: The figures as CSV, a row a segmenter.
        numbers: The figures as JSON; its metadata are the headlines.
        record: What was done, with times and versions.
        segmenters: The segmenters in that order, each a JSON object with its `name`.
        reference_labels: What deepcell_reference found, for a row of its own below the others.
        reference_scores: Its scores.
        reference_record: Its record.
        max_side: Longest side of the images' pictures, in px.
        memory_mib: Memory to work in, in MiB, beside the tables of cells and the pictures.
    """
    check_memory(memory_mib)
    reference = (reference_labels, reference_scores, reference_record)
    if any(reference) and not all(reference):
        raise BadInput(
            "the reference", expected="its labels, scores and record together", found="some of them"
        )
    records = (preprocess_records, predict_records, postprocess_records)
    names = _names(segmenters, (labels, scores, *records))
    groups: list[tuple[Record, ...]] = [*zip(*records, strict=True)]
    if reference_labels and reference_scores:
        if REFERENCE in names:
            raise BadInput("segmenters", expected=f"none named {REFERENCE}", found=f"{names}")
        names = [*names, REFERENCE]
        labels, scores = [*labels, reference_labels], [*scores, reference_scores]
    sides = _Sides(
        images=Batch.open(images.path),
        truth=Batch.open(truth.path),
        labels=dict(zip(names, (Batch.open(each.path) for each in labels), strict=True)),
        scores=dict(zip(names, (_scores_in(Batch.open(s.path)) for s in scores), strict=True)),
        memory_mib=memory_mib,
    )
    with record.step("compare"):
        kinds = [sides.compared(kind, max_side) for kind in sides.kinds]
    if reference_record:
        groups.append((reference_record,))
    found = [
        _segmenter(name, sides.labels[name], [read_object(each.path, "record") for each in group])
        for name, group in zip(names, groups, strict=True)
    ]
    whole = Comparison(found, kinds, sides.left_out)
    with record.step("write"):
        write_text(comparison.path, render_comparison(whole))
        write_text(table.path, comparison_csv(whole))
        write_text(numbers.path, comparison_json(whole))
    numbers.metadata.update(
        {
            f"{name}_ap_50": round(each.scores["ap_50"].value, 4)
            for name, each in kinds[0].scores.items()
        }
    )


@dataclass(frozen=True)
class _Sides:
    """The batches that are compared, by segmenter."""

    images: Batch
    truth: Batch
    labels: Mapping[str, Batch]
    scores: Mapping[str, Mapping[str, Mapping[str, Any]]]
    memory_mib: int

    @property
    def kinds(self) -> tuple[Compartment, ...]:
        """The kinds of object that any image has scores of.

        Raises:
            BadInput: there are none.
        """
        kinds = {
            key
            for found in self.scores.values()
            for document in found.values()
            for key, value in document.items()
            if isinstance(value, dict)
        }
        if not kinds:
            raise BadInput("truth", expected="true labels of at least one image", found="none")
        return in_order(kinds)

    @property
    def left_out(self) -> dict[str, str]:
        """Why an image does not count, for each that does not."""
        found = {}
        for entry in self.images.entries:
            lacking = [name for name, each in self.scores.items() if entry.name not in each]
            if not entry.ok:
                found[entry.name] = entry.error or "left out"
            elif lacking:
                found[entry.name] = f"not segmented by {', '.join(lacking)}"
            elif not any(self._has_truth(each[entry.name]) for each in self.scores.values()):
                found[entry.name] = "no truth"
        return found

    def compared(self, kind: Compartment, max_side: int) -> ComparedKind:
        """Compare what segmenters found of one kind of object."""
        names = [n for n, each in self.scores.items() if any(kind in d for d in each.values())]
        counted = [
            entry
            for entry in self.images.entries
            if all(kind in self.scores[name].get(entry.name, {}) for name in names)
        ]
        if not counted:
            raise BadInput(
                f"segmentations into {kind}", expected="an image that all have", found="none"
            )
        results = {n: [self.scores[n][e.name][kind] for e in counted] for n in names}
        tables = [self._objects(entry, kind, names) for entry in counted]
        differing = [differing_objects(each) for each in tables]
        panels, cells = self._pictures(kind, names, counted, tables, differing, max_side)
        return ComparedKind(
            kind,
            [entry.name for entry in counted],
            compare_scores(results),
            {name: pool(each)["pooled"] for name, each in results.items()},
            sum(map(len, differing)),
            panels,
            cells,
        )

    @staticmethod
    def _has_truth(document: Mapping[str, Any]) -> bool:
        return bool(document.get("truth"))

    def _planes(
        self, entry: Entry, kind: Compartment, names: Sequence[str]
    ) -> tuple[Windowed, dict[str, Windowed]]:
        """The true labels and each segmenter's."""
        own = self.truth.counterpart(entry, self.images)
        if own is None:
            raise BadInput(f"truth of image '{entry.name}'", expected="true labels", found="none")
        true = truth_of(self.truth, own, (kind,))[kind]
        check_labels(true, f"truth of image '{entry.name}'")
        planes = {}
        for name in names:
            batch = self.labels[name]
            planes[name] = batch.array(batch.entry(entry.name), kind)
        return true, planes

    def _objects(
        self, entry: Entry, kind: Compartment, names: Sequence[str]
    ) -> dict[str, FoundObjects]:
        true, planes = self._planes(entry, kind, names)
        return {n: find_true_objects(true, each, self.memory_mib) for n, each in planes.items()}

    def _pictures(
        self,
        kind: Compartment,
        names: Sequence[str],
        entries: Sequence[Entry],
        tables: Sequence[Mapping[str, FoundObjects]],
        differing: Sequence[Any],
        max_side: int,
    ) -> tuple[list[Panel], list[CellPictures]]:
        """The image where most differs, and the cells that differ most, over all images."""
        most = max(range(len(entries)), key=lambda i: len(differing[i]))
        spread = [
            (
                -max(t.best_iou[p] for t in table.values())
                + min(t.best_iou[p] for t in table.values()),
                i,
                p,
            )
            for i, table in enumerate(tables)
            for p in differing[i][:_MOST_CELLS]
        ]
        cells = []
        for _, i, place in sorted(spread)[:_MOST_CELLS]:
            image, channels = self._image(entries[i])
            planes = self._planes(entries[i], kind, names)
            name = entries[i].name
            cells.append(cell_pictures(image, *planes, tables[i], int(place), channels, name))
        image, channels = self._image(entries[most])
        planes = self._planes(entries[most], kind, names)
        return image_panels(image, *planes, tables[most], channels, max_side), cells

    def _image(self, entry: Entry) -> tuple[Windowed, tuple[int, ...]]:
        image = self.images.array(entry, "image")
        chosen = entry.attribute("segmentation_channels", tuple[int, ...], (0,))
        return image, shown_channels(chosen, image.shape[2])


def _names(segmenters: Sequence[Any], given: Sequence[Sequence[Any]]) -> list[str]:
    """The segmenters' names, one for each of the batches and records."""
    names = [each.get("name", "") if isinstance(each, dict) else str(each) for each in segmenters]
    if len(set(names)) != len(names) or not all(names):
        raise BadInput("segmenters", expected="a name of its own for each", found=f"{names}")
    for artifacts in given:
        if len(artifacts) != len(names):
            raise BadInput(
                "segmenters",
                expected=f"{len(names)} batches and records of each kind, as many as names",
                found=f"{len(artifacts)}",
            )
    return names


def _scores_in(batch: Batch) -> dict[str, dict[str, Any]]:
    """Documents of scores by image; images that were left out have none."""
    return {
        entry.name: read_object(batch.file(entry, "json"), "scores")
        for entry in batch.entries
        if entry.ok and "json" in entry.files
    }


def _segmenter(name: str, labels: Batch, records: Sequence[Mapping[str, Any]]) -> ComparedSegmenter:
    card = card_of(labels.attributes, f"labels '{labels.folder}'")
    notes = {each["stage"]: each["notes"] for each in records}
    methods = notes.get("postprocess", {}).get("segmentation", {})
    ran = notes.get("predict", {})
    engine = f"{ran['engine']} on {ran.get('device', 'cpu')}" if "engine" in ran else ""
    if REFERENCE in notes:
        kinds = {kind for entry in labels.entries if entry.ok for kind in entry.arrays}
        methods = {kind: {"method": "deepcell"} for kind in in_order(kinds)}
        libraries = records[0]["libraries"]
        engine = f"deepcell {libraries['deepcell']}, tensorflow {libraries['tensorflow']}"
    return ComparedSegmenter(
        name,
        f"{card.name} {card.version}",
        {kind: str(each["method"]) for kind, each in methods.items()},
        {each["stage"]: float(each["totals"]["wall_s"]) for each in records},
        max(int(each["totals"]["peak_rss_bytes"]) for each in records),
        engine,
    )
