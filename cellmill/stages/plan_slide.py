"""The stage that takes a slide's statistics and cuts it into shards, one for each task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.channels import selected_channels
from cellmill.arrays.files import absolute_place
from cellmill.arrays.resume import fingerprint_of, key_of
from cellmill.contract import (
    Images,
    Input,
    Model,
    Output,
    PlannedSlides,
    Record,
    for_each_image,
    stage,
)
from cellmill.contract.recording import digest
from cellmill.errors import BadInput
from cellmill.models.card import ModelCard
from cellmill.models.chosen import check_sees_planes, chosen_compartments
from cellmill.preprocessing import ScaleSettings, Scaling, network_input
from cellmill.segmentation.methods import recipes_of, tiled_form
from cellmill.stages.shared.notes import note_contrast
from cellmill.stages.shared.scaling import (
    note_scalings,
    scaled_attributes,
    scaled_mpp,
    scaling_for,
    size_model_of,
)
from cellmill.stages.shared.slides.maps import planned_marks
from cellmill.stages.shared.slides.plan import UNIT, SlidePlan, map_layout, shard_boxes


class Shards(NamedTuple):
    """Numbers of the shards, 0 and up: what the tasks of a loop are given."""

    shards: list


@stage(image="imaging", family="slides")
def plan_slide(
    images: Input[Images],
    model: Input[Model],
    plan: Output[PlannedSlides],
    record: Output[Record],
    compartment: str = "",
    method: str = "",
    parameters: dict = {},
    store: str = "",
    most_shards: int = 16,
    match_mpp: bool = True,
    diameter: str = "",
    memory_mib: int = 1024,
    on_bad_image: Literal["fail", "skip"] = "fail",
) -> Shards:
    """Take the statistics of whole slides and cut them into shards, one for each task.

    Normalisation depends on the whole image (percentiles, extremes): they are taken here, once, so
    that each shard is normalised as the whole is. The arrays into which predictions go are made:
    of all that the network gives they keep what the method reads.

    Args:
        images: Batch of images, array `image` (Y, X, C).
        model: Model folder; its card says which channels, scale and normalisation it expects.
        plan: Batch with the maps that are read, `<compartment>_<role>` (Y', X') or (Y', X', C)
            float32, to be filled by predict_shard; its attributes hold each slide's plan.
        record: What was done, with times and versions.
        compartment: What will be segmented: nuclear, whole-cell, another kind of object that the
            model has, both, all, or several with commas between; empty is the card's default.
        method: How objects will be found; empty is the card's method.
        parameters: Parameters of the method in place of the card's, by name, as a JSON object;
            plan_segmentation may still change all but the heads that are read.
        store: Folder or URI under which the slides' large arrays go; all tasks must reach it. Empty
            is beside the output `plan`.
        most_shards: At most so many shards; a slide has fewer if it is small.
        match_mpp: Go by the pixel size where no diameter is given: to the model's microns per
            pixel, or where that would put the objects out of the range that it was trained over to
            the diameter that it was trained on.
        diameter: The objects' diameter in pixels, which is brought to the one that the model was
            trained on; or auto, to estimate it from the whole slide. Empty goes by the pixel size.
        memory_mib: Memory to work in, in MiB, beyond what the program itself takes.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.

    Returns:
        shards: Numbers of the shards, from 0, for a loop over them; as many as the slide that is
            cut into most has.
    """
    if most_shards < 1:
        raise BadInput("most_shards", expected="at least 1", found=f"{most_shards}")
    card = ModelCard.load(model.path)
    check_sees_planes(card)
    compartments = chosen_compartments(card, compartment)
    recipes = recipes_of(card, compartments, method=method, parameters=parameters)
    for recipe in recipes.values():
        tiled_form(recipe)
    settled = card.with_postprocessing({name: each.plain() for name, each in recipes.items()})
    source, model_digest = Batch.open(images.path), digest(model.path)
    root = absolute_place(store or f"{plan.uri or plan.path}.store")
    settings = ScaleSettings.of(card, diameter, compartment, match_mpp)
    size_model = size_model_of(model.path, settings)
    scalings: dict[str, Scaling] = {}
    contrast: dict[str, list[str]] = {}
    with BatchWriter(plan.path, attributes={"model": settled.to_dict()}, run=source.run) as out:

        def work(entry: Entry) -> None:
            image = source.array(entry, "image")
            wanted = [channel.name for channel in card.input.channels]
            fewest = card.input.fewest_channels
            selected = selected_channels(image, entry, wanted, card.name, fewest)
            with record.step("find scale"):
                scaling = scaling_for(settings, entry, selected, memory_mib, size_model)
            scalings[entry.name] = scaling
            shape, attributes = scaling.shape, scaled_attributes(entry, scaling, image.shape[:2])
            with record.step("statistics"):
                prepared = network_input(
                    image,
                    card,
                    channels=selected.channels,
                    shape=shape,
                    memory=memory_mib << 20,
                    what=f"image '{entry.name}'",
                )
            if notes := prepared.normalisation.notes:
                contrast[entry.name] = attributes["contrast"] = [*notes]
            kept_as = [entry.arrays["image"].content, model_digest, settled.to_dict(), compartments]
            key = key_of(*kept_as, selected.channels, shape)
            made = SlidePlan(
                name=entry.name,
                shape=shape,
                channels=selected.channels,
                normalisation=prepared.normalisation,
                compartments=compartments,
                # Two tasks write no storage unit of any map together.
                shards=tuple(shard_boxes(shape, most_shards, UNIT * card.alignment)),
                fingerprint=fingerprint_of(entry.name),
                store=f"{root}/{entry.name}-{key}",
            )
            layout = map_layout(card, recipes, shape)
            with record.step("make arrays"):
                _make_maps(out, entry, attributes, made, layout)

        for_each_image(source, work, writers=[out], record=record, on_bad_image=on_bad_image)
    note_scalings(scalings, record)
    note_contrast(contrast, record)
    plans = [entry.attributes["plan"] for entry in out.entries if entry.ok]
    shards = max(len(made["shards"]) for made in plans)
    record.note(shards=shards, unit_px=UNIT, store=root)
    return Shards(list(range(shards)))


def _make_maps(
    out: BatchWriter,
    entry: Entry,
    attributes: Mapping[str, Any],
    made: SlidePlan,
    layout: Mapping[str, tuple[tuple[int, ...], type, str]],
) -> None:
    """Make the arrays that predictions go into, zero-filled, with the plan beside them."""
    with out.create(
        entry.name,
        layout,
        mpp=scaled_mpp(entry, attributes["scale"]),
        mpp_source=entry.mpp_source,
        attributes={**attributes, "plan": made.to_dict()},
        container="zarr",
        store=made.store,
    ):
        planned_marks(made).claim()
