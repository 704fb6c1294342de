"""The images on which ours is held against deepcell's own."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cellmill.arrays.batch_writer import BatchWriter
from cellmill.datasets.samples import sample_image
from tests.conformance.tissue import MPP, as_integers, draw_tissue


@dataclass(frozen=True)
class Case:
    """One image and what it is there for.

    Attributes:
        name: of the image.
        shape: (Y, X) in pixels.
        dtype: of the pixels.
        mpp: microns per pixel; 0 where unknown.
        channels: indices of the two channels, -1 where blank (`segmentation_channels`).
        change: what is done to the drawn image `(Y, X, 2)`.
        real: the image is stardist's, not drawn.
        alone: it is also run with each compartment alone, which changes how labels are resized.
    """

    name: str
    shape: tuple[int, int]
    dtype: type = np.uint16
    mpp: float = MPP
    channels: tuple[int, int] = (0, 1)
    change: Callable[[np.ndarray], np.ndarray] = np.asarray
    real: bool = False
    alone: bool = False

    def image(self) -> np.ndarray:
        """Give the image `(Y, X, C)` in its dtype; what is drawn depends on the name alone."""
        if self.real:
            import tifffile

            return tifffile.imread(sample_image()[0])[..., np.newaxis]
        seed = zlib.crc32(self.name.encode())
        drawn = draw_tissue(seed, self.shape, scale=MPP / (self.mpp or MPP)).image
        image = drawn if self.dtype is np.float32 else as_integers(drawn, self.dtype)
        return self.change(image)


def _constant_membrane(image: np.ndarray) -> np.ndarray:
    image[..., 1] = 37
    return image


def _empty_part(image: np.ndarray) -> np.ndarray:
    image[: image.shape[0] // 2] = 0
    return image


def _saturated(image: np.ndarray) -> np.ndarray:
    return np.minimum(image, np.uint8(120))


CASES = (
    Case("odd sides", (411, 377)),
    Case("odd sides, 8 bits", (301, 515), np.uint8, alone=True),
    Case("smaller than a tile", (151, 202), alone=True),
    Case("very small", (31, 18)),
    Case("as large as a tile", (256, 256), np.uint8),
    Case("one tile wide", (430, 256)),
    Case("a side of a tile, a side less", (256, 199)),
    Case("finer pixels", (500, 433), mpp=0.325, alone=True),
    Case("finer pixels, 8 bits", (467, 390), np.uint8, mpp=0.35, alone=True),
    Case("coarser pixels", (290, 303), mpp=0.65, alone=True),
    Case("float, unknown mpp", (280, 260), np.float32, mpp=0.0),
    Case("constant membrane", (320, 290), np.uint8, change=_constant_membrane, alone=True),
    Case("no membrane", (288, 300), channels=(0, -1)),
    Case("half empty", (380, 280), change=_empty_part),
    Case("saturated", (300, 310), np.uint8, change=_saturated),
    Case("real nuclei", (512, 512), mpp=0.0, channels=(0, -1), real=True),
)

ALONE = tuple(case for case in CASES if case.alone)
CRASHES = Case("wider than a tile, not as high", (200, 700))


def write_images(folder: Path, cases: tuple[Case, ...]) -> None:
    """Write the cases' images as `tiff_to_npz` would."""
    with BatchWriter(folder) as out:
        for case in cases:
            image = case.image()
            out.write(
                case.name,
                {"image": image},
                axes={"image": "YXC"},
                mpp=(case.mpp, case.mpp) if case.mpp else None,
                mpp_source="parameter" if case.mpp else "unknown",
                channels=("nuclear", "membrane")[: image.shape[-1]],
                attributes={"segmentation_channels": list(case.channels)},
            )
