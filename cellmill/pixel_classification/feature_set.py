"""Which features a pixel has: filters at several scales, of some channels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from cellmill.errors import BadInput
from cellmill.pixel_classification.filters import (
    GAUSSIAN,
    GRADIENT,
    HESSIAN,
    LAPLACIAN,
    REACH,
    TENSOR,
)

Kind = Literal["gaussian", "gradient", "laplacian", "hessian", "structure"]
"""`gaussian`: the blurred image. `gradient`: the root mean square of its Sobel derivatives
(differences of pixels two apart, not halved, as scikit-image has them).
`laplacian`: of its neighbours, the sum of second differences. `hessian`: eigenvalues of its second
derivatives (central differences of central differences), the greatest first. `structure`: the same
of the structure tensor, products of its Sobel derivatives under the same blur."""

KINDS: tuple[Kind, ...] = get_args(Kind)
DEFAULT_KINDS: tuple[Kind, ...] = ("gaussian", "gradient", "laplacian", "hessian")
DEFAULT_SIGMAS = (0.7, 1.0, 1.6, 3.5, 5.0, 10.0)
_CODES: dict[Kind, int] = {
    "gaussian": GAUSSIAN,
    "gradient": GRADIENT,
    "laplacian": LAPLACIAN,
    "hessian": HESSIAN,
    "structure": TENSOR,
}
_GREATEST_SIGMA = 64.0


@dataclass(frozen=True)
class Feature:
    """One filter of one channel.

    Args:
        kind: of the filter.
        sigma: of the blur, in pixels (of y and x).
        channel: which channel of the image.
    """

    kind: Kind
    sigma: float
    channel: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadInput("feature", expected=f"one of {', '.join(KINDS)}", found=f"'{self.kind}'")
        if not 0 < self.sigma <= _GREATEST_SIGMA:
            expected = f"more than 0, at most {_GREATEST_SIGMA:g} px"
            raise BadInput("sigma of a feature", expected=expected, found=f"{self.sigma}")
        if self.channel < 0:
            raise BadInput("channel of a feature", expected="0 or more", found=f"{self.channel}")

    def title(self, with_channel: bool = True) -> str:
        """For a person: `hessian σ 1.6 of channel 0`."""
        place = f" of channel {self.channel}" if with_channel else ""
        return f"{self.kind} σ {self.sigma:g}{place}"


@dataclass(frozen=True)
class FeatureSet:
    """The features of a pixel, in their order.

    Args:
        features: the filters; each gives one value, or as many as there are axes.
        axes: 2 of images, 3 of volumes.
        z_spacing: of a volume, how many pixels of y and x two planes are apart: along z, σ is so
            many times smaller in planes, and differences are so many times smaller.
    """

    features: tuple[Feature, ...]
    axes: int = 2
    z_spacing: float = 1.0

    def __post_init__(self) -> None:
        if not self.features or len(set(self.features)) != len(self.features):
            found = "one twice" if self.features else "none"
            raise BadInput("features", expected="at least one, each once", found=found)
        if self.axes not in (2, 3):
            raise BadInput("axes of features", expected="2 or 3", found=f"{self.axes}")
        if not 0.01 <= self.z_spacing <= 100:
            raise BadInput("z_spacing", expected="0.01 to 100", found=f"{self.z_spacing}")

    @classmethod
    def of(
        cls,
        kinds: Sequence[Kind] = DEFAULT_KINDS,
        sigmas: Sequence[float] = DEFAULT_SIGMAS,
        channels: int = 1,
        *,
        axes: int = 2,
        z_spacing: float = 1.0,
    ) -> FeatureSet:
        """All filters of some kinds at some scales of all channels.

        Raises:
            BadInput: a kind or a scale is none.
        """
        every = itertools.product(range(channels), sigmas, kinds)
        found = tuple(Feature(kind, float(sigma), channel) for channel, sigma, kind in every)
        return cls(found, axes, z_spacing)

    def values_of(self, feature: Feature) -> int:
        """How many values a filter gives."""
        return self.axes if feature.kind in ("hessian", "structure") else 1

    @property
    def count(self) -> int:
        """How many values a pixel has."""
        return sum(map(self.values_of, self.features))

    @property
    def channels(self) -> int:
        """How many channels an image must have at least."""
        return max(feature.channel for feature in self.features) + 1

    @property
    def names(self) -> list[str]:
        """A name for each value."""
        found = []
        for feature in self.features:
            count = self.values_of(feature)
            name = feature.title(self.channels > 1)
            found += [name] if count == 1 else [f"{name}, {i + 1}." for i in range(count)]
        return found

    @property
    def halo(self) -> tuple[int, ...]:
        """How far from a pixel its features look, pixels along each axis."""
        far = [0] * self.axes
        for feature in self.features:
            again = feature.kind == "structure"
            for axis, radius in enumerate(self.radii(feature.sigma)):
                far[axis] = max(far[axis], (2 * radius + 1 if again else radius) + REACH)
        return tuple(far)

    def sigmas(self, sigma: float) -> tuple[float, ...]:
        """A scale along each axis, in its own pixels."""
        return (sigma,) * 2 if self.axes == 2 else (sigma / self.z_spacing, sigma, sigma)

    def radii(self, sigma: float) -> tuple[int, ...]:
        """How far the blur of a scale looks along each axis."""
        return tuple(int(4 * each + 0.5) for each in self.sigmas(sigma))

    def weights(self, sigma: float) -> tuple[np.ndarray, ...]:
        """Of the blur of a scale along each axis, float32: the middle one, one for each pair."""
        return tuple(map(_weights, self.sigmas(sigma), self.radii(sigma)))


def _weights(sigma: float, radius: int) -> np.ndarray:
    steps = np.arange(radius + 1)
    weights = np.exp(-0.5 / (sigma * sigma) * steps**2)
    found: np.ndarray = (weights / (2 * weights.sum() - weights[0])).astype(np.float32)
    return found


def scales(wanted: FeatureSet) -> list[tuple[int, float, bool]]:
    """Each blur: channel, scale, and whether it is of products, for a structure tensor."""
    every = ((f.channel, f.sigma, f.kind == "structure") for f in wanted.features)
    return list(dict.fromkeys(every))


def plan_of(wanted: FeatureSet) -> np.ndarray:
    """What kernels derive: `(n, 3)` int64, of each filter its kind, first blur and first value."""
    first, blurs = {}, 0
    for scale in scales(wanted):
        first[scale] = blurs
        blurs += 1 if not scale[2] else (3 if wanted.axes == 2 else 6)
    plan, place = [], 0
    for feature in wanted.features:
        scale = (feature.channel, feature.sigma, feature.kind == "structure")
        plan.append((_CODES[feature.kind], first[scale], place))
        place += wanted.values_of(feature)
    return np.array(plan, np.int64)
