"""What a segmentation method is: what it reads, what it is told, and how it gives labels.

A method is a value of `Method`, in a module that imports nothing heavy: its functions import what
they compute with when they are called, so that listing methods and checking cards costs nothing.

It has two forms. In memory, `segment` takes whole maps and gives labels. Tile by tile, for images
of any size, the work has four steps, each of which may run in a process of its own:

1. `prepare`, once: whatever depends on the whole image (extremes, a threshold, a histogram).
2. `work`, for each tile, in any order and by any number of processes side by side.
3. `settle`, once: what tiles depend on each other for. It may go over all tiles as often as it has
   to: floods that cross a seam, survivors exchanged between tiles, global tables.
4. `labels`: the objects as a label image that is read by windows.

What the steps hand on lies in a `Workspace`, so that a run that was killed goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from cellmill.arrays.windows import Box, Grid, Windowed
from cellmill.arrays.workspace import Workspace
from cellmill.errors import BadInput

Numbering = Literal["canonical", "reference"]
NUMBERINGS: tuple[Numbering, ...] = ("canonical", "reference")

#: Of tiles, in pixels: none is smaller, whatever the memory.
_SIDES = (2048, 1024, 512, 256)
#: The same of volumes: their tiles are cubes.
_VOLUME_SIDES = (512, 256, 128, 64)

#: The name by which a method reads the image itself, as the network would be shown it.
IMAGE = "image"


@dataclass(frozen=True)
class Role:
    """One thing that a method reads.

    A card says which head plays the role: `<name>_head`, and from which channel on:
    `<name>_channel`.

    Attributes:
        name: an identifier.
        meaning: what the map must show, for a person.
        channels: how many channels of the head it reads: 1 is a plane `(Y, X)`, more keep an axis
            of channels at the end; 0 is all from the chosen one on.
        volume_channels: how many it reads of a volume, if the head has them from the chosen one on;
            0 is as many as of an image.
        head: what is read where a card names nothing; `IMAGE` is the image itself. Empty: a card
            must name a head.
        strided: whether a head may play it that has fewer values than the image has pixels.
    """

    name: str
    meaning: str
    channels: int = 1
    volume_channels: int = 0
    head: str = ""
    strided: bool = False


@dataclass(frozen=True)
class Maps:
    """What a method reads of one image, by role.

    Attributes:
        arrays: `(Y, X)` or `(Z, Y, X)` of a role that reads one channel, else with the channels at
            the end; read by windows. A role that allows it may have a map of fewer values: value
            `i` is then at pixel `i × stride`.
        names: what messages call each.
        shape: `(Y, X)` or `(Z, Y, X)` of the image at the model's scale, and of the labels.
        mpp: µm per pixel at that scale, an axis each; none where unknown.
        strides: pixels at that scale a value of the map, where it is not 1: of all axes, or an axis
            each.
    """

    arrays: Mapping[str, Windowed]
    names: Mapping[str, str]
    shape: tuple[int, ...]
    mpp: tuple[float, ...] | None = None
    strides: Mapping[str, int | tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, mpp: tuple[float, ...] | None = None, **planes: Windowed) -> Maps:
        """Maps by role, at least one of a single channel, `(Y, X)` or `(Z, Y, X)`."""
        names = {role: f"{role} map" for role in planes}
        shape = min((tuple(plane.shape) for plane in planes.values()), key=len)
        return cls(planes, names, shape, mpp)

    def __getitem__(self, role: str) -> Windowed:
        return self.arrays[role]

    def strides_of(self, role: str) -> tuple[int, ...]:
        """Pixels a value of a role's map along each axis."""
        stride = self.strides.get(role, 1)
        return (stride,) * len(self.shape) if isinstance(stride, int) else stride

    def read(self, role: str, box: Box | None = None) -> np.ndarray:
        """Read the map of a role, whole or a box.

        Raises:
            BadInput: it holds NaN or infinity there.
        """
        from cellmill.arrays.finite import require_finite

        array = self.arrays[role]
        whole = (slice(None),) * len(array.shape)
        within = box.slices if box else ()
        values = np.asarray(array[within + whole[len(within) :]])
        require_finite(values, self.names[role])
        return values


class TiledSegmentation(Protocol):
    """The segmentation of one image by tiles, opened anew by each process that takes part."""

    def prepare(self, threads: int | None = None) -> None:
        """Take what depends on the whole image, and make the arrays that tiles are kept in."""
        ...

    def work(self, tiles: Iterable[int], threads: int | None = None) -> None:
        """Work on these tiles, so many at once.

        Those that are done, and of which nothing was lost, are left (see
        `cellmill.arrays.workspace.unfinished_tiles`). Each tile is written whole.
        """
        ...

    def settle(self, threads: int | None = None) -> Mapping[str, int]:
        """Settle what depends on several tiles, once all are done; counts for the record."""
        ...

    def labels(self, threads: int | None = None) -> Windowed:
        """The objects, cleaned up: `(Y, X)` integers, any ids in the method's own order."""
        ...


@dataclass(frozen=True)
class TiledForm:
    """A method's tiled form.

    Attributes:
        open: gives the segmentation of one image: its maps, parameters, tiles, and where it works.
        bytes_for: what working on a tile of a side takes, bytes, all arrays counted.
        volume_bytes_for: the same of the blocks of a volume's grid, and of its maps where they are
            known; none where volumes are taken in memory only.
        bound: empty where the labels are those in memory, whatever the tiles; else how far they
            may differ, in words.
        refuses: why an image cannot be tiled with these parameters, as what was expected and what
            was found instead; none if it can.
    """

    open: Callable[[Maps, Any, Grid, Workspace], TiledSegmentation]
    bytes_for: Callable[[int], int]
    volume_bytes_for: Callable[[Grid, Maps | None], int] | None = None
    bound: str = ""
    refuses: Callable[[Any], tuple[str, str] | None] = lambda parameters: None

    @property
    def exact(self) -> bool:
        """Whether the labels are those in memory, whatever the tiles."""
        return not self.bound

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether it is of what has this shape: an image, or a volume where it takes them."""
        return len(shape) == 2 or self.volume_bytes_for is not None

    def bytes_of(self, grid: Grid, maps: Maps | None = None) -> int:
        """What working on a tile of a grid takes, bytes."""
        if len(grid.shape) == 2 or self.volume_bytes_for is None:
            return self.bytes_for(grid.side)
        return self.volume_bytes_for(grid, maps)

    def side_within(
        self, memory_mib: int, shape: tuple[int, ...] = (0, 0), maps: Maps | None = None
    ) -> int:
        """Side of tiles of which at least two can be worked on at once within a budget.

        Args:
            memory_mib: the budget.
            shape: of the image or volume.
            maps: of a volume, where they are known.
        """
        sides = _SIDES if len(shape) == 2 else _VOLUME_SIDES
        fitting = (
            side for side in sides if 2 * self.bytes_of(Grid(shape, side), maps) <= memory_mib << 20
        )
        return next(fitting, sides[-1])


#: Called with each label image that a sweep makes, and the places of the parameters that gave it.
Found = Callable[[np.ndarray, Sequence[int]], None]


Orientations = Callable[[Sequence[Mapping[str, np.ndarray]]], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Sweep:
    """How a method segments one image with many parameters, what they share being computed once.

    Attributes:
        run: takes maps, parameters, what to call with each result, and how many threads to use.
        shared_bytes: what is kept for all parameters together, bytes a pixel.
    """

    run: Callable[[Maps, Sequence[Any], Found, int | None], None]
    shared_bytes: Callable[[Sequence[Any]], int]


@dataclass(frozen=True)
class Method:
    """A way to turn heads, or the image, into labelled objects.

    Attributes:
        name: as cards and users spell it.
        summary: one sentence.
        parameters: a frozen dataclass; see `cellmill.segmentation.parameters`.
        roles: what it reads.
        segment: gives int32 labels of the maps' shape in memory, 1…n: in raster order of first
            pixels, or with `reference` in the order of the method's own reference.
        bytes_per_pixel: what `segment` takes.
        tiled: the tiled form; none if there is none.
        sweep: for tuning; none segments with each of the parameters anew.
        volumes: whether it takes `(Z, Y, X)`.
        orientations: gives what it reads of a volume, `(Z, Y, X, channels)` by role, from what a
            network of planes gave by role for the planes across Z `(Z, Y, X, channels)`, across Y
            `(Y, Z, X, channels)` and across X `(X, Z, Y, channels)`; none where it cannot.
    """

    name: str
    summary: str
    parameters: type[Any]
    roles: tuple[Role, ...]
    segment: Callable[[Maps, Any, Numbering], np.ndarray]
    bytes_per_pixel: int
    tiled: TiledForm | None = None
    sweep: Sweep | None = None
    volumes: bool = False
    orientations: Orientations | None = None

    def check_maps(self, maps: Maps) -> None:
        """Refuse a volume where the method takes images only.

        Raises:
            BadInput: it is one.
        """
        if len(maps.shape) != 2 and not (self.volumes and len(maps.shape) == 3):
            raise BadInput(
                f"method '{self.name}'",
                expected="an image (Y, X)" + (" or a volume (Z, Y, X)" if self.volumes else ""),
                found=f"{maps.shape}",
            )
