"""What the tasks that segment a slide share: its maps, its methods, where they work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.windows import Grid
from cellmill.arrays.workspace import StoredWorkspace
from cellmill.compute.threads import threads_within
from cellmill.errors import BadInput
from cellmill.labels.kinds import Compartment, in_order
from cellmill.models.card import ModelCard
from cellmill.models.chosen import card_of
from cellmill.segmentation.interface import Maps, TiledSegmentation
from cellmill.segmentation.methods import Recipe, open_tiled, recipes_of, tiled_form
from cellmill.stages.shared.slides.plan import SlidePlan, map_name
from cellmill.typed_json import require, to_json


@dataclass(frozen=True)
class ObjectSegmentation:
    """The segmentation of one kind of object of one slide, as any task that takes part opens it.

    Attributes:
        recipe: how objects are found.
        grid: the tiles.
        work: the method's tiled segmentation.
    """

    recipe: Recipe
    grid: Grid
    work: TiledSegmentation

    def threads(self, memory_mib: int) -> int:
        """How many tiles may be worked on at once within a budget."""
        return threads_within(memory_mib, tiled_form(self.recipe).bytes_for(self.grid.side))


@dataclass(frozen=True)
class SegmentationPlan:
    """What plan_segmentation says of one slide, beside the card, which names the methods.

    Attributes:
        fingerprint: of all that the segmentation depends on.
        sides: of the tiles in pixels, by kind of object.
    """

    fingerprint: str
    sides: Mapping[str, int]

    def __post_init__(self) -> None:
        for name, side in self.sides.items():
            require(side > 0, f"sides.{name}", "a number of pixels", f"{side}")


def planned_kinds(plans: Batch) -> tuple[Compartment, ...]:
    """The kinds of object that the slides of a plan are segmented into."""
    return in_order(
        kind
        for entry in plans.entries
        if entry.ok
        for kind in SlidePlan.of(entry.attributes, entry.name).compartments
    )


def card_with(plans: Batch, parameters: Mapping[str, Any]) -> ModelCard:
    """The card that the tasks of a plan go by: as plan_slide settled it, with other parameters.

    Args:
        plans: the slides' plan.
        parameters: of the planned methods, in place of the plan's.

    Raises:
        BadInput: a parameter is wrong, or another head is asked for than the plan keeps.
    """
    card = card_of(plans.attributes, f"plan '{plans.folder}'")
    kinds = planned_kinds(plans)
    planned = recipes_of(card, kinds)
    chosen = recipes_of(card, kinds, parameters=parameters)
    for name, recipe in chosen.items():
        if recipe.sources != planned[name].sources:
            kept = ", ".join(each.head for each in planned[name].sources.values())
            read = ", ".join(each.head for each in recipe.sources.values())
            raise BadInput("parameters", expected=f"the heads of the plan, {kept}", found=read)
    return card.with_postprocessing({name: each.plain() for name, each in chosen.items()})


def begin_segmentation(
    batch: Batch, entry: Entry, card: ModelCard, fingerprint: str, memory_mib: int
) -> dict[str, Any]:
    """Make the places where a slide is segmented, and take what depends on the whole slide.

    Args:
        batch: that holds the slide's maps.
        entry: of the slide.
        card: that names the methods.
        fingerprint: of all that the segmentation depends on.
        memory_mib: to work in.

    Returns:
        A `SegmentationPlan` as JSON values.
    """
    made = SlidePlan.of(entry.attributes, entry.name)
    sides = {}
    for name, recipe in recipes_of(card, made.compartments).items():
        sides[name] = tiled_form(recipe).side_within(memory_mib)
        found = _opened(batch, entry, made, name, recipe, sides[name], fingerprint, create=True)
        found.work.prepare(found.threads(memory_mib))
    return dict(to_json(SegmentationPlan(fingerprint, sides)))


def open_segmentation(batch: Batch, entry: Entry) -> dict[str, ObjectSegmentation]:
    """Open what plan_segmentation began for a slide, by kind of object.

    Args:
        batch: that plan_segmentation wrote.
        entry: of the slide.

    Raises:
        BadInput: it is not such a batch, or its arrays are not there.
    """
    made = SlidePlan.of(entry.attributes, entry.name)
    card = card_of(batch.attributes, f"segmentation '{batch.folder}'")
    plan: SegmentationPlan = entry.attribute("segmentation", SegmentationPlan)
    if missing := [name for name in made.compartments if name not in plan.sides]:
        raise BadInput(
            f"segmentation of '{entry.name}'",
            expected="what the stage plan_segmentation makes",
            found=f"nothing of {', '.join(missing)}",
        )
    return {
        name: _opened(
            batch, entry, made, name, recipe, plan.sides[name], plan.fingerprint, create=False
        )
        for name, recipe in recipes_of(card, made.compartments).items()
    }


def _opened(
    batch: Batch,
    entry: Entry,
    made: SlidePlan,
    name: str,
    recipe: Recipe,
    side: int,
    fingerprint: str,
    *,
    create: bool,
) -> ObjectSegmentation:
    arrays = {
        role.name: batch.array(entry, map_name(name, role.name)) for role in recipe.method.roles
    }
    names = {role: f"map '{map_name(name, role)}'" for role in arrays}
    place = f"{made.store}/segmentation/{name}"
    workspace = StoredWorkspace(place, fingerprint, side=side, create=create)
    strides = {role: source.stride for role, source in recipe.sources.items()}
    maps = Maps(arrays, names, made.shape, entry.mpp, strides)
    work = open_tiled(recipe, maps, side, workspace)
    return ObjectSegmentation(recipe, Grid(made.shape, side), work)


def check_parts(plans: Batch, part: Batch) -> None:
    """Refuse what a task gave for other slides.

    Raises:
        BadInput: the slides are not those of the plan.
    """
    wanted, found = _names(plans.entries), _names(part.entries)
    if wanted != found:
        raise BadInput(f"part '{part.folder}'", expected=f"slides {wanted}", found=found)


def _names(entries: Iterable[Entry]) -> str:
    return ", ".join(entry.name for entry in entries) or "none"
