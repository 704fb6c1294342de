"""The stage that finds a model's best post-processing parameters on images with truth."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.files import write_text
from cellmill.arrays.rows import check_memory
from cellmill.compartments import Compartment, planes_of
from cellmill.compiled import threads_within
from cellmill.contract import (
    HTML,
    Dataset,
    Input,
    Metrics,
    Model,
    Output,
    Record,
    for_each_image,
)
from cellmill.errors import BadInput
from cellmill.models.card import ModelCard, PostprocessingParameters
from cellmill.models.chosen import card_of, chosen_compartments
from cellmill.models.fetch import FetchedModel, copy_model
from cellmill.reporting.tuning import render_tuning
from cellmill.segmentation import maps_of, watershed_parameters
from cellmill.tuning.grid import AXES, ParameterGrid
from cellmill.tuning.scores import Scores, best_point, group_of, objective_values
from cellmill.tuning.scoring import BYTES_PER_MAP, BYTES_PER_PIXEL, score_points
from cellmill.tuning.surface import Surface, surface_csv, tuning_document

#: How often the best point's parameters are tried at all values of the refined grid, one by one.
_MOST_LOOKS_ALONG = 3


def tune_postprocessing(
    predictions: Input[list[Dataset]],
    truth: Input[list[Dataset]],
    base: Input[Model],
    model: Output[Model],
    results: Output[Metrics],
    surface: Output[Dataset],
    html: Output[HTML],
    record: Output[Record],
    on_bad_image: Literal["fail", "skip"] = "fail",
    compartment: Literal["", "whole-cell", "nuclear"] = "",
    objective: Literal[
        "ap_50_90", "mean_ap", "ap_50", "ap_70", "f1_50", "panoptic_quality"
    ] = "ap_50_90",
    image_groups: str = "",
    maxima_threshold: str = "",
    maxima_smooth: str = "",
    interior_threshold: str = "",
    interior_smooth: str = "",
    pixel_expansion: str = "",
    radius: str = "",
    small_objects_fraction: str = "",
    refinements: int = 2,
    memory_mib: int = 1024,
) -> None:
    """Find the best post-processing parameters of a model on images with truth.

    All combinations of the parameters' values are tried; then, one parameter at a time, values
    halfway between the best and its neighbours, and all that are known by then. Counts are pooled
    over the images (of a group) before they are scored. Of equally good combinations the card's own
    is taken, else the first.

    Args:
        predictions: Batches of the model's maps, from predict; names are unique over all of them.
        truth: Batches with array `labels` (Y, X) or (Y, X, 2: whole cells, nuclei); images without
            truth are left out.
        base: Model whose card is tuned.
        model: The same model, its card with the best parameters.
        results: Best and default parameters, their scores, by group, and how choices made without
            a group do on it, as JSON; the headlines are its metadata.
        surface: The objective and other scores at every combination that was tried, as CSV.
        html: A page that shows the surface.
        record: What was done, with times and versions.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
        compartment: What is segmented. Empty is the model card's default.
        objective: What is made as great as possible: mean average precision for IoU 0.50 to 0.90
            or to 0.95, average precision or F1 at one IoU, or panoptic quality.
        image_groups: Patterns of image names with `*`, with commas between: each is a series, an
            image belongs to the first that it fits, and the objective is the mean over the series.
            Empty pools all images.
        maxima_threshold: Values to try, with commas between; empty for some around the card's, as
            for the others.
        maxima_smooth: Values to try, in pixels.
        interior_threshold: Values to try.
        interior_smooth: Values to try, in pixels.
        pixel_expansion: Values to try, in pixels by which the interior is widened; empty for the
            card's alone.
        radius: Values to try, in pixels; empty for the card's alone.
        small_objects_fraction: Values to try.
        refinements: How often values halfway between the best and its neighbours are tried.
        memory_mib: Memory to work in, in MiB, beyond what the program itself takes.
    """
    check_memory(memory_mib)
    if not 0 <= refinements <= 10:
        raise BadInput("refinements", expected="0 to 10", found=f"{refinements}")
    card = ModelCard.load(base.path)
    (chosen,) = chosen_compartments(card, compartment)
    wanted = {
        "maxima_threshold": maxima_threshold,
        "maxima_smooth": maxima_smooth,
        "interior_threshold": interior_threshold,
        "interior_smooth": interior_smooth,
        "pixel_expansion": pixel_expansion,
        "radius": radius,
        "small_objects_fraction": small_objects_fraction,
    }
    grid = ParameterGrid.around(card.postprocessing[chosen], wanted)
    for point in grid.points():
        watershed_parameters(point)
    patterns = [pattern.strip() for pattern in image_groups.split(",") if pattern.strip()]
    images = _Images.open(predictions, truth, card, chosen)
    for entry in images.entries:
        group_of(entry.name, patterns)

    tried: list[PostprocessingParameters] = []
    scores: dict[str, Scores] = {}
    counted: dict[str, list[str]] = {}
    without_truth: list[str] = []

    def score(points: Sequence[PostprocessingParameters]) -> None:
        """Score points that were not tried before, on every image."""
        new: dict[str, list[Scores]] = {}
        counted.clear()

        def work(entry: Entry) -> None:
            true = images.truth_of(entry)
            if true is None:
                without_truth.append(entry.name)
                return
            with record.step("score"):
                found = _score(images, entry, true, points, memory_mib)
            group = group_of(entry.name, patterns)
            new[group] = [Scores.added([*new.get(group, []), found])]
            counted.setdefault(group, []).append(entry.name)

        for_each_image(
            [e for e in images.entries if e.name not in without_truth],
            work,
            writers=[],
            record=record,
            on_bad_image=on_bad_image,
            label=f"{len(points)} combinations",
        )
        for group, (sum_of_images,) in new.items():
            before = scores.get(group)
            scores[group] = before.followed_by(sum_of_images) if before else sum_of_images
        tried.extend(points)

    first = list(grid.points())
    score([grid.default, *(point for point in first if point != grid.default)])
    if not scores:
        raise BadInput("truth", expected="true labels of at least one image", found="none")
    if without_truth:
        print(f"left out, without truth: {', '.join(without_truth)}", file=sys.stderr)
    eligible = [grid.default in first, *([True] * (len(tried) - 1))]

    def best() -> int:
        return best_point(objective_values(scores, objective), np.array(eligible))

    def score_new(points: Iterable[PostprocessingParameters]) -> None:
        new = [point for point in dict.fromkeys(points) if point not in tried]
        if new:
            score(new)
            eligible.extend([True] * len(new))

    for _ in range(refinements):
        finer = grid.finer(tried[best()])
        score_new(finer.beside(tried[best()], grid))
        grid = finer
    for _ in range(_MOST_LOOKS_ALONG):
        score_new(grid.through(tried[best()]))

    found = Surface(
        model=f"{card.name} {card.version}",
        compartment=chosen,
        objective=objective,
        grid=grid,
        points=tuple(tried),
        in_first_grid=len({*first, grid.default}),
        eligible=np.array(eligible),
        scores=dict(sorted(scores.items())),
        images={group: tuple(names) for group, names in sorted(counted.items())},
    )
    document = tuning_document(found)
    with record.step("write"):
        _write_model(base, card, chosen, found, document, model)
        write_text(results.path, json.dumps(document, indent=1, allow_nan=False) + "\n")
        write_text(surface.path, surface_csv(found))
        write_text(html.path, render_tuning(found, document))
    results.metadata.update(
        objective=objective,
        default=document["default"]["value"],
        best=document["best"]["value"],
        **{name: document["best"]["parameters"][name] for name in AXES},
    )
    record.note(best=document["best"], default=document["default"], without_truth=without_truth)
    _tell(document)


@dataclasses.dataclass(frozen=True)
class _Images:
    """Predictions and truth of all batches.

    Attributes:
        entries: of the predictions, in order.
        places: the batch of each, by name.
        truths: batch and entry of the truth of each image that has one, by name.
        parameters: which heads and channels count.
        compartment: what is segmented.
    """

    entries: tuple[Entry, ...]
    places: dict[str, Batch]
    truths: dict[str, tuple[Batch, Entry]]
    parameters: PostprocessingParameters
    compartment: Compartment

    @classmethod
    def open(
        cls,
        predictions: Sequence[Dataset],
        truth: Sequence[Dataset],
        card: ModelCard,
        compartment: Compartment,
    ) -> _Images:
        """Open all batches, and hold their models and names against each other."""
        places: dict[str, Batch] = {}
        entries: list[Entry] = []
        for each in predictions:
            batch = Batch.open(each.path)
            if "model" in batch.attributes:
                other = card_of(batch.attributes, f"predictions '{batch.folder}'")
                if other.heads != card.heads:
                    raise BadInput(
                        f"predictions '{batch.folder}'",
                        expected=f"the heads of model '{card.name}' {card.version}",
                        found=f"those of '{other.name}' {other.version}",
                    )
            for entry in batch.entries:
                if entry.name in places:
                    raise BadInput(
                        f"predictions '{batch.folder}'",
                        expected="names that no other batch has",
                        found=f"'{entry.name}' again",
                    )
                places[entry.name] = batch
                entries.append(entry)
        true = [(b, e) for b in (Batch.open(t.path) for t in truth) for e in b.entries]
        if len(true) == len(entries) == 1:
            named = {entries[0].name: true[0]}
        else:
            named = {entry.name: (batch, entry) for batch, entry in true}
        return cls(tuple(entries), places, named, card.postprocessing[compartment], compartment)

    def truth_of(self, entry: Entry) -> np.ndarray | None:
        """The true labels `(Y, X)` of an image, or None where there are none."""
        batch, found = self.truths.get(entry.name, (None, None))
        if batch is None or found is None or not found.arrays:
            return None
        if self.compartment in found.arrays:
            return batch.read(found, self.compartment)
        planes = batch.array(found, "labels")
        what = f"truth of image '{entry.name}'"
        return np.asarray(planes_of(planes, (self.compartment,), what)[self.compartment][:, :])


def _score(
    images: _Images,
    entry: Entry,
    true: np.ndarray,
    points: Sequence[PostprocessingParameters],
    memory_mib: int,
) -> Scores:
    """Score one image at every point."""
    batch = images.places[entry.name]
    heads = {name: batch.array(entry, name) for name in entry.arrays}
    maps = maps_of(heads, images.parameters)
    pixels = math.prod(maps[0].shape[:2])
    parameters = [watershed_parameters(point) for point in points]
    shared = len({p.maxima_smooth for p in parameters}) + len(
        {(p.interior_smooth, p.pixel_expansion) for p in parameters}
    )
    left = memory_mib - pixels * BYTES_PER_MAP * (shared + 3) / 2**20
    if pixels * BYTES_PER_PIXEL > left * 2**20:
        most = memory_mib * 2**20 / (BYTES_PER_PIXEL + BYTES_PER_MAP * (shared + 3)) / 1e6
        raise BadInput(
            f"image '{entry.name}'",
            expected=f"at most {most:.1f} Mpx within memory_mib {memory_mib} (or a part of it)",
            found=f"{pixels / 1e6:.1f} Mpx",
        )
    shape = tuple(entry.attributes.get("source_shape") or maps[0].shape)
    if true.shape != shape:
        raise BadInput(f"truth of image '{entry.name}'", expected=f"{shape}", found=f"{true.shape}")
    threads = threads_within(int(left), pixels * BYTES_PER_PIXEL)
    try:
        return score_points(
            np.asarray(maps[0][:, :], np.float32),
            np.asarray(maps[1][:, :], np.float32),
            true,
            parameters,
            threads,
        )
    except BadInput as bad:
        raise BadInput(
            f"image '{entry.name}', {bad.what}", expected=bad.expected, found=bad.found
        ) from None


def _write_model(
    base: Model,
    card: ModelCard,
    compartment: Compartment,
    found: Surface,
    document: dict[str, Any],
    model: Model,
) -> None:
    """Copy the model; its card has the best parameters and says on what they were chosen."""
    best = found.points[found.best]
    said = {
        key: document[key] for key in ("objective", "compartment", "images", "objects", "points")
    }
    changed = best != card.postprocessing[compartment]
    tuned = dataclasses.replace(
        card,
        version=f"{card.version}+tuned" if changed else card.version,
        postprocessing={**card.postprocessing, compartment: best},
        accuracy={
            **card.accuracy,
            "tuning": {
                **said,
                "default": document["default"]["value"],
                "best": document["best"]["value"],
                "held_out": document["held_out"],
            },
        },
    )
    copy_model(FetchedModel(base.path, tuned, str(base.path)), model.path)
    model.metadata.update(name=tuned.name, version=tuned.version)


def _tell(document: dict[str, Any]) -> None:
    """Say in three lines what came out."""
    best, default = document["best"], document["default"]
    print(
        f"{document['objective']}: {default['value']:.4f} with the card's parameters, "
        f"{best['value']:.4f} with the best of {document['points']} combinations",
        file=sys.stderr,
    )
    if default["value"] > best["value"]:
        print("the card's parameters, which were not to be tried, are better", file=sys.stderr)
    print(f"best: {best['flags']}", file=sys.stderr)
