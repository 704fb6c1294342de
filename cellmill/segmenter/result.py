"""What segmenting an image gives: labels, what was done, and on request the network's maps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from cellmill.arrays.windows import Windowed
from cellmill.errors import BadInput
from cellmill.io.labels import write_labels


@dataclass(frozen=True)
class SegmentationFacts:
    """What was done to segment an image, and what came of it.

    Attributes:
        name: of the image.
        model: name of the model.
        model_version: its version.
        methods: how each kind of object was found: the method and its parameters.
        engine: what ran the network: `engine`, its version, `device`, `precision`, `threads`, …
            Empty where a method needs no network.
        versions: of cellmill and numpy.
        scale: by how much the image was enlarged for the network, (y, x).
        scaling: what decided that: `by` (`diameter`, `auto`, `mpp` or nothing), the `kind` and
            `diameter` of the objects in pixels, the `network_diameter` that they were brought to,
            and how the diameter was estimated.
        mpp: pixel size (y, x) of the image in microns, None where unknown.
        mpp_source: where it came from.
        objects: how many there are of each kind.
        vanished: how many of each kind were lost when labels came back to the image's own scale.
        median_diameter_px: of each kind, of the disk of equal area; 0 without objects.
        tiled: whether the image was larger than the memory that it was given.
        seconds: of each step.
        remarks: what a person should know.
    """

    name: str
    model: str
    model_version: str
    methods: Mapping[str, Mapping[str, Any]]
    engine: Mapping[str, Any]
    versions: Mapping[str, str]
    scale: tuple[float, float]
    scaling: Mapping[str, Any]
    mpp: tuple[float, ...] | None
    mpp_source: str
    objects: Mapping[str, int]
    vanished: Mapping[str, int]
    median_diameter_px: Mapping[str, float]
    tiled: bool
    seconds: Mapping[str, float]
    remarks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The facts as JSON values."""
        return asdict(self)


@dataclass(frozen=True, repr=False)
class Segmentation:
    """Labels of one image.

    Attributes:
        labels: `(Y, X)` integers by kind of object (`nuclear`, `whole_cell`): 0 is background,
            objects are 1…n in raster order of their first pixels. Numpy arrays, int32; of an image
            that was read from a path and is larger than memory, arrays that are read by windows
            (`labels["nuclear"][:1000, :1000]`).
        facts: what was done.
        maps: the network's outputs by head, `(Y', X', channels)` float32 at its scale; empty unless
            they were asked for.
    """

    labels: Mapping[str, Windowed]
    facts: SegmentationFacts
    maps: Mapping[str, Windowed] = field(default_factory=dict)
    #: Arrays that are read by windows lie in a temporary folder: it goes when nothing holds this.
    _folder: object = field(default=None, compare=False)

    def __repr__(self) -> str:
        shape = " × ".join(str(side) for side in next(iter(self.labels.values())).shape)
        found = ", ".join(f"{count} {kind}" for kind, count in self.counts.items())
        return f"<Segmentation of {self.facts.name}: {found} in {shape} px>"

    @property
    def counts(self) -> dict[str, int]:
        """How many objects there are of each kind."""
        return dict(self.facts.objects)

    @property
    def label_image(self) -> np.ndarray:
        """The labels of the only kind of object, `(Y, X)`, in memory.

        Raises:
            BadInput: there are several kinds.
        """
        if len(self.labels) != 1:
            raise BadInput(
                "label_image",
                expected="one kind of object (labels['…'] gives each of several)",
                found=", ".join(self.labels),
            )
        (labels,) = self.labels.values()
        return np.asarray(labels)

    def write(self, path: str | os.PathLike[str], *, dtype: str = "int32") -> None:
        """Write the labels as OME-TIFF, or as OME-Zarr to a path that ends in `.zarr`.

        Args:
            path: see `cellmill.write_labels`.
            dtype: `"int32"`, or `"uint16"` for programs that open no other integers.

        Raises:
            BadInput: the labels do not fit the dtype, or it cannot be written there.
        """
        write_labels(path, self.labels, mpp=self.facts.mpp, dtype=dtype)
