"""The stage that finds a model's best post-processing parameters on images with truth."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.files import write_text
from cellmill.arrays.rows import check_memory
from cellmill.compute.threads import threads_within
from cellmill.contract import (
    HTML,
    GroundTruth,
    Input,
    Metrics,
    Model,
    Output,
    Predictions,
    Record,
    Table,
    for_each_image,
    stage,
)
from cellmill.errors import BadInput
from cellmill.models.card import ModelCard
from cellmill.models.chosen import card_of, chosen_compartment
from cellmill.models.fetch import FetchedModel, copy_model
from cellmill.reporting.tuning import render_tuning
from cellmill.segmentation.methods import Recipe, recipes_of
from cellmill.stages.shared.slides.labels import model_shape, source_shape
from cellmill.stages.shared.truth import truth_of
from cellmill.terminal import say
from cellmill.tuning.grid import ParameterGrid
from cellmill.tuning.scores import Scores, group_of
from cellmill.tuning.scoring import score_points, shared_bytes
from cellmill.tuning.search import Search, check_refinements
from cellmill.tuning.surface import Surface, surface_csv, tuning_document


@stage(image="imaging", family="training")
def tune_postprocessing(
    predictions: Input[list[Predictions]],
    truth: Input[list[GroundTruth]],
    base: Input[Model],
    model: Output[Model],
    results: Output[Metrics],
    surface: Output[Table],
    html: Output[HTML],
    record: Output[Record],
    on_bad_image: Literal["fail", "skip"] = "fail",
    compartment: str = "",
    objective: Literal[
        "ap_50_90", "mean_ap", "ap_50", "ap_70", "f1_50", "panoptic_quality"
    ] = "ap_50_90",
    image_groups: str = "",
    method: str = "",
    parameters: dict = {},
    axes: dict = {},
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
        compartment: What is segmented, one kind of object. Empty is the model card's default.
        objective: What is made as great as possible: mean average precision for IoU 0.50 to 0.90
            or to 0.95, average precision or F1 at one IoU, or panoptic quality.
        image_groups: Patterns of image names with `*`, with commas between: each is a series, an
            image belongs to the first that it fits, and the objective is the mean over the series.
            Empty pools all images.
        method: How objects are found; empty is the card's method.
        parameters: Parameters of the method in place of the card's, by name, as a JSON object; they
            stay as they are unless axes name them too.
        axes: Values to try, by name of the parameter, as a JSON object: '{"radius": [2, 3]}'. The
            method says which parameters are tuned around the card's values where none are named.
        refinements: How often values halfway between the best and its neighbours are tried.
        memory_mib: Memory to work in, in MiB, beyond what the program itself takes.
    """
    check_memory(memory_mib)
    check_refinements(refinements)
    card = ModelCard.load(base.path)
    chosen = chosen_compartment(card, compartment)
    recipe = recipes_of(card, (chosen,), method=method, parameters=parameters)[chosen]
    grid = ParameterGrid.around(recipe.parameters, axes)
    images = _Images.open(predictions, truth, card, chosen)
    patterns = [pattern.strip() for pattern in image_groups.split(",") if pattern.strip()]
    scorer = _Scorer(images, recipe, patterns, record, memory_mib, on_bad_image)
    search = Search(scorer.score, objective, grid)
    search.run(refinements)
    if scorer.without_truth:
        say(f"left out, without truth: {', '.join(scorer.without_truth)}", to=sys.stderr)
    found = Surface(
        model=f"{card.name} {card.version}",
        method=recipe.method.name,
        compartment=chosen,
        objective=objective,
        grid=search.grid,
        points=tuple(search.points),
        in_first_grid=search.in_first_grid,
        eligible=search.eligible,
        scores=dict(sorted(search.scores.items())),
        images={group: tuple(names) for group, names in sorted(scorer.counted.items())},
    )
    document = tuning_document(found)
    with record.step("write"):
        _write_model(base, card, recipe, found, document, model)
        write_text(results.path, json.dumps(document, indent=1, allow_nan=False) + "\n")
        write_text(surface.path, surface_csv(found))
        write_text(html.path, render_tuning(found, document))
    results.metadata.update(
        objective=objective,
        default=document["default"]["value"],
        best=document["best"]["value"],
        **document["best"]["parameters"],
    )
    record.note(
        best=document["best"], default=document["default"], without_truth=scorer.without_truth
    )
    _tell(document)


@dataclasses.dataclass(frozen=True)
class _Images:
    """Predictions and truth of all batches.

    Attributes:
        entries: of the predictions, in order.
        places: the batch of each, by name.
        truths: batch and entry of the truth of each image that has one, by name.
        compartment: what is segmented.
    """

    entries: tuple[Entry, ...]
    places: dict[str, Batch]
    truths: dict[str, tuple[Batch, Entry]]
    compartment: str

    @classmethod
    def open(
        cls,
        predictions: Sequence[Predictions],
        truth: Sequence[GroundTruth],
        card: ModelCard,
        compartment: str,
    ) -> _Images:
        """Open all batches, and hold their models and names against each other."""
        places: dict[str, Batch] = {}
        entries: list[Entry] = []
        for each in predictions:
            batch = Batch.open(each.path)
            _check_heads(batch, card)
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
        return cls(tuple(entries), places, named, compartment)

    def truth_of(self, entry: Entry) -> np.ndarray | None:
        """The true labels `(Y, X)` of an image, or None where there are none."""
        batch, found = self.truths.get(entry.name, (None, None))
        if batch is None or found is None:
            return None
        true = truth_of(batch, found, (self.compartment,)).get(self.compartment)
        return None if true is None else np.asarray(true[:, :])


def _check_heads(batch: Batch, card: ModelCard) -> None:
    """Refuse predictions of a model with other heads."""
    if "model" not in batch.attributes:
        return
    other = card_of(batch.attributes, f"predictions '{batch.folder}'")
    if other.heads != card.heads:
        raise BadInput(
            f"predictions '{batch.folder}'",
            expected=f"the heads of model '{card.name}' {card.version}",
            found=f"those of '{other.name}' {other.version}",
        )


class _Scorer:
    """Scores points on all images.

    Attributes:
        without_truth: names of the images that have none.
        counted: names of the images that were scored last, by group.
    """

    def __init__(
        self,
        images: _Images,
        recipe: Recipe,
        patterns: Sequence[str],
        record: Record,
        memory_mib: int,
        on_bad_image: str,
    ) -> None:
        self._images, self._recipe, self._patterns = images, recipe, patterns
        self._record, self._memory_mib, self._on_bad_image = record, memory_mib, on_bad_image
        self._group = {entry.name: group_of(entry.name, patterns) for entry in images.entries}
        self.without_truth: list[str] = []
        self.counted: dict[str, list[str]] = {}

    def score(self, points: Sequence[Any]) -> Mapping[str, Scores]:
        """Score points on every image that has truth, added up by group."""
        new: dict[str, Scores] = {}
        self.counted = {}

        def work(entry: Entry) -> None:
            true = self._images.truth_of(entry)
            if true is None:
                self.without_truth.append(entry.name)
                return
            with self._record.step("score"):
                found = self._score_image(entry, true, points)
            group = self._group[entry.name]
            new[group] = Scores.added([new[group], found]) if group in new else found
            self.counted.setdefault(group, []).append(entry.name)

        for_each_image(
            [e for e in self._images.entries if e.name not in self.without_truth],
            work,
            writers=[],
            record=self._record,
            on_bad_image=self._on_bad_image,
            label=f"{len(points)} combinations",
        )
        return new

    def _score_image(self, entry: Entry, true: np.ndarray, points: Sequence[Any]) -> Scores:
        batch, method = self._images.places[entry.name], self._recipe.method
        heads = {name: batch.array(entry, name) for name in entry.arrays}
        maps = self._recipe.maps(heads, entry.mpp, model_shape(entry))
        shape = source_shape(entry) or maps.shape
        what = f"image '{entry.name}'"
        pixels = math.prod(maps.shape)
        left = self._memory_mib - pixels * shared_bytes(method, points) / 2**20
        if pixels * method.bytes_per_pixel > left * 2**20:
            a_pixel = method.bytes_per_pixel + shared_bytes(method, points)
            most = self._memory_mib * 2**20 / a_pixel / 1e6
            raise BadInput(
                what,
                expected=f"at most {most:.1f} Mpx within memory_mib {self._memory_mib} "
                "(or a part of it)",
                found=f"{pixels / 1e6:.1f} Mpx",
            )
        if true.shape != shape:
            raise BadInput(f"truth of {what}", expected=f"{shape}", found=f"{true.shape}")
        threads = threads_within(int(left), pixels * method.bytes_per_pixel)
        try:
            return score_points(method, maps, true, points, threads)
        except BadInput as bad:
            raise bad.about(f"{what}, {bad.what}") from None


def _write_model(
    base: Model,
    card: ModelCard,
    recipe: Recipe,
    found: Surface,
    document: dict[str, Any],
    model: Model,
) -> None:
    """Copy the model; its card has the best parameters and says on what they were chosen."""
    best = dataclasses.replace(recipe, parameters=found.points[found.best])
    said = {
        key: document[key] for key in ("objective", "compartment", "images", "objects", "points")
    }
    changed = best != recipes_of(card, (found.compartment,))[found.compartment]
    tuned = dataclasses.replace(
        card.with_postprocessing({found.compartment: best.plain()}),
        version=f"{card.version}+tuned" if changed else card.version,
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
    say(
        f"{document['objective']}: {default['value']:.4f} with the card's parameters, "
        f"{best['value']:.4f} with the best of {document['points']} combinations",
        to=sys.stderr,
    )
    if default["value"] > best["value"]:
        say("the card's parameters, which were not to be tried, are better", to=sys.stderr)
    say(f"best: {best['flags']}", to=sys.stderr)
