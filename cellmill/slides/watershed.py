"""What the tasks that segment a slide share: its maps, its flooded ids, its marks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.store import Ledger, unpacked
from cellmill.arrays.windows import Grid, WritableWindowed
from cellmill.arrays.zarr import open_zarr
from cellmill.errors import BadInput
from cellmill.segmentation import WatershedParameters
from cellmill.segmentation.tile_flooding import TileFlooder
from cellmill.segmentation.tile_markers import MaximaStatistics
from cellmill.slides.plan import SlidePlan


@dataclass(frozen=True)
class SharedFlood:
    """One compartment of one slide, as any task that works on it opens it.

    Attributes:
        flooder: floods its tiles.
        marks: of the tiles that are done.
        flooded: `(Y', X')` ids, written by the flooder.
        parameters: of the watershed.
    """

    flooder: TileFlooder
    marks: Ledger
    flooded: WritableWindowed
    parameters: WatershedParameters


def shared_floods(batch: Batch, entry: Entry) -> dict[str, SharedFlood]:
    """Open what plan_watershed prepared for a slide, by compartment.

    Args:
        batch: that plan_watershed wrote.
        entry: of the slide.

    Raises:
        BadInput: it is not such a batch, or its arrays are not there.
    """
    made = SlidePlan.of(entry.attributes, entry.name)
    try:
        about = entry.attributes["watershed"]
        side, fingerprint = int(about["side"]), str(about["fingerprint"])
        chosen = {
            name: WatershedParameters(**values) for name, values in about["parameters"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(
            f"watershed of '{entry.name}'",
            expected="what the stage plan_watershed makes",
            found=f"{type(error).__name__}: {error}",
        ) from error
    statistics = unpacked(batch.file(entry, "statistics").read_bytes())
    found: dict[str, SharedFlood] = {}
    for name in made.compartments:
        prefix = f"{name}_"
        mine = {k.removeprefix(prefix): v for k, v in statistics.items() if k.startswith(prefix)}
        flooded = open_zarr(f"{made.store}/flooded.zarr/{name}/0", "YX", write=True)
        flooder = TileFlooder(
            batch.array(entry, f"{name}_maxima"),
            batch.array(entry, f"{name}_interior"),
            chosen[name],
            MaximaStatistics.from_arrays(mine),
            flooded,
            Grid(made.shape, side),
        )
        marks = flooded_marks(made, name, fingerprint)
        found[name] = SharedFlood(flooder, marks, flooded, chosen[name])
    return found


def flooded_marks(made: SlidePlan, compartment: str, fingerprint: str) -> Ledger:
    """The marks of the tiles of a compartment that are flooded, as the fingerprint says."""
    return Ledger(f"{made.store}/floods/{compartment}", fingerprint)


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
