"""The stage that turns a network's maps into labelled cells at the image's own resolution."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.resume import fingerprint
from cellmill.arrays.store import remove
from cellmill.arrays.windows import Windowed, WritableWindowed
from cellmill.arrays.workspace import StoredWorkspace
from cellmill.contract import Input, Labels, Output, Predictions, Record, for_each_image, stage
from cellmill.errors import BadInput
from cellmill.labels.stitching import check_stitch_threshold
from cellmill.models.chosen import card_of, chosen_compartments
from cellmill.segmentation.interface import Numbering
from cellmill.segmentation.labelling import (
    Layouts,
    fits_memory,
    label_in_memory,
    label_in_tiles,
    label_planes,
)
from cellmill.segmentation.methods import Recipe, reads_image, recipes_of
from cellmill.segmentation.planes import PLANE_BY_PLANE
from cellmill.stages.shared.slides.labels import (
    facts_as_attributes,
    model_shape,
    source_mpp,
    source_shape,
    write_slide_labels,
)
from cellmill.terminal import say

#: How many images a warning names.
_NAMED = 5


@stage(image="imaging", family="segmentation")
def postprocess(
    predictions: Input[Predictions],
    labels: Output[Labels],
    record: Output[Record],
    on_bad_image: Literal["fail", "skip"] = "fail",
    compartment: str = "",
    method: str = "",
    parameters: dict = {},
    numbering: Literal["canonical", "reference"] = "canonical",
    stitch_threshold: float = 0.25,
    memory_mib: int = 1024,
) -> None:
    """Turn a network's maps into labelled cells, at the image's own resolution.

    Args:
        predictions: Batch with the network's heads (Y', X', channels) float32, from predict; for a
            method that reads the image itself, with array `image` as preprocess makes it; of a
            volume with Z before.
        labels: Batch with an array a kind of object, as `whole_cell` or `nuclear`, (Y, X) or
            (Z, Y, X) int32.
        record: What was done, with times and versions.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
        compartment: What to segment: nuclear, whole-cell, another kind of object that the model
            has, several with commas between; both is whole cells and nuclei, all is every kind,
            each by itself. Empty is the model card's default.
        method: How objects are found; empty is the card's method.
        parameters: Parameters of the method in place of the card's, by name, as a JSON object:
            '{"radius": 3}'. An unknown name is refused with the names that there are.
        numbering: canonical, 1 to n in raster order of first pixels; or as the method's reference
            numbers.
        stitch_threshold: Of a volume whose planes a network was given one by one: objects of
            neighbouring planes are one where their intersection over union is at least this.
        memory_mib: Memory to work in, in MiB, beyond what the program itself takes: images that
            need more are segmented tile by tile, with the same labels, volumes too where the method
            can. Volumes of which a network saw planes are segmented plane by plane, others whole.
    """
    check_stitch_threshold(stitch_threshold)
    source = Batch.open(predictions.path)
    card = card_of(source.attributes, f"predictions '{source.folder}'")
    recipes = recipes_of(
        card, chosen_compartments(card, compartment), method=method, parameters=parameters
    )
    # Labels say what made them: the card with what was set in its place.
    used = card.with_postprocessing({name: recipe.plain() for name, recipe in recipes.items()})
    with BatchWriter(labels.path, attributes={"model": used.to_dict()}) as out:
        run = _Run(recipes, numbering, stitch_threshold, memory_mib, out, record)

        def work(entry: Entry) -> None:
            try:
                run.segment(entry, {name: source.array(entry, name) for name in entry.arrays})
            except BadInput as bad:
                raise bad.about(f"image '{entry.name}', {bad.what}") from None

        for_each_image(source, work, writers=[out], record=record, on_bad_image=on_bad_image)
        done = [entry for entry in out.entries if entry.ok]
    totals = {name: sum(entry.attributes["objects"][name] for entry in done) for name in recipes}
    labels.metadata.update({f"{name}_objects": count for name, count in totals.items()})
    record.note(
        segmentation={name: recipe.plain() for name, recipe in recipes.items()},
        numbering=numbering,
        objects=totals,
    )
    _note_and_warn(done, card.input.mpp, record)


@dataclass(frozen=True)
class _Run:
    """What is the same for all images of a batch."""

    recipes: Mapping[str, Recipe]
    numbering: Numbering
    stitch: float
    memory_mib: int
    out: BatchWriter
    record: Record

    def segment(self, entry: Entry, heads: Mapping[str, Windowed]) -> None:
        """Segment an image, tile by tile if memory does not bear it otherwise."""
        stitched = entry.attribute(PLANE_BY_PLANE, bool, False)
        if stitched and not any(map(reads_image, self.recipes.values())):
            self._by_planes(entry, heads)
            return
        largest = max((head.shape[:-1] for head in heads.values()), key=math.prod, default=())
        shape = model_shape(entry) or largest
        if fits_memory(self.recipes, shape, self.memory_mib):
            self._whole(entry, heads)
        else:
            self._in_tiles(entry, heads)

    def _whole(self, entry: Entry, heads: Mapping[str, Windowed]) -> None:
        found, facts = label_in_memory(
            heads,
            self.recipes,
            source_shape(entry),
            mpp=entry.mpp,
            model_shape=model_shape(entry),
            numbering=self.numbering,
            stitch=self.stitch if entry.attribute(PLANE_BY_PLANE, bool, False) else 0.0,
            step=self.record.step,
        )
        with self.record.step("write"):
            self.out.write(
                entry.name,
                found,
                axes={name: "ZYX"[-plane.ndim :] for name, plane in found.items()},
                mpp=source_mpp(entry),
                mpp_source=entry.mpp_source,
                attributes={**entry.attributes, **facts_as_attributes(facts)},
            )

    def _by_planes(self, entry: Entry, heads: Mapping[str, Windowed]) -> None:
        def create(
            layouts: Layouts,
        ) -> contextlib.AbstractContextManager[Mapping[str, WritableWindowed]]:
            return self.out.create(
                entry.name,
                layouts,
                mpp=source_mpp(entry),
                mpp_source=entry.mpp_source,
                attributes=entry.attributes,
                container=next(iter(entry.arrays.values())).container,
            )

        with self.record.step("segment and write"):
            facts = label_planes(
                heads,
                self.recipes,
                create,
                source_shape(entry),
                stitch=self.stitch,
                mpp=entry.mpp,
                model_shape=model_shape(entry),
                numbering=self.numbering,
            )
        self.out.annotate(entry.name, **facts_as_attributes(facts))

    def _in_tiles(self, entry: Entry, heads: Mapping[str, Windowed]) -> None:
        scratch = self.out.scratch(entry.name)

        def workspace(name: str, side: int) -> StoredWorkspace:
            return StoredWorkspace(f"{scratch}/{name}", fingerprint(), side=side)

        with self.record.step("segment"):
            segmented, tiles, side = label_in_tiles(
                heads,
                self.recipes,
                workspace,
                memory_mib=self.memory_mib,
                mpp=entry.mpp,
                model_shape=model_shape(entry),
            )
        with self.record.step("write"):
            write_slide_labels(
                self.out,
                entry,
                segmented,
                side=side,
                memory_mib=self.memory_mib,
                numbering=self.numbering,
                container=next(iter(entry.arrays.values())).container,
            )
        self.out.annotate(entry.name, tiles=tiles)
        remove(scratch)


def _note_and_warn(done: list[Entry], model_mpp: float, record: Record) -> None:
    """Note and tell which images lost objects, and which have no scale though the model has one."""
    vanished = {
        e.name: e.attributes["vanished"] for e in done if any(e.attributes["vanished"].values())
    }
    unscaled = {
        entry.name: entry.attributes["median_diameter_px"]
        for entry in done
        if entry.mpp is None and model_mpp and not (entry.attributes.get("scaling") or {}).get("by")
    }
    record.note(vanished=vanished, median_diameter_px_where_mpp_unknown=unscaled)
    _warn("objects vanished at the image's own resolution", vanished)
    _warn(
        f"pixel size unknown (the model expects {model_mpp:g} µm/px), so segmented at its own "
        "scale; median diameter in px",
        unscaled,
    )


def _warn(text: str, images: Mapping[str, Mapping[str, float]]) -> None:
    """Print one line that names the first images for which it holds."""
    if images:
        listed = [
            f"'{image}': " + ", ".join(f"{value:g} ({key})" for key, value in values.items())
            for image, values in [*images.items()][:_NAMED]
        ]
        rest = f", and {len(images) - _NAMED} more images" if len(images) > _NAMED else ""
        say(f"warning: {text}: {'; '.join(listed)}{rest}", to=sys.stderr)
