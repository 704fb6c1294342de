"""A pixel classifier: features, a forest and its classes, as a file and in memory.

The file is an `.npz` of plain arrays, `pixel_classifier.npz`, and says all that is computed with;
the card beside it, `model.json`, says what it was made of and how to find objects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cellmill.arrays.npz import read_npz, write_npz
from cellmill.arrays.windows import Windowed
from cellmill.compute.threads import in_threads
from cellmill.errors import BadInput
from cellmill.pixel_classification.feature_set import KINDS, Feature, FeatureSet, plan_of
from cellmill.pixel_classification.features import (
    blurred_rows,
    derive,
    extended,
    window_sides,
    windows,
    with_channels,
)
from cellmill.pixel_classification.forest import Forest, vote_rows
from cellmill.pixel_classification.torch_device import pixels_on

FILE_NAME = "pixel_classifier.npz"
FORMAT = "cellmill-pixel-classifier/1"

#: Colours of classes of which nobody says one, in turn: the background first.
COLOURS = ("#444444", "#ffb000", "#648fff", "#dc267f", "#fe6100", "#785ef0", "#00b0a0", "#a0a000")
_COLOUR = re.compile("#[0-9a-f]{6}")
_KEYS = (
    *("format", "axes", "z_spacing", "kinds", "sigmas", "channels"),
    *("class_values", "class_names", "class_colours"),
)


@dataclass(frozen=True)
class PixelClass:
    """One class of pixels.

    Args:
        value: by which scribbles and class images show it; 0 only where no pixel is unlabelled.
        name: an identifier, such as `background` or a kind of object.
        colour: `#rrggbb`, in which it is shown.
    """

    value: int
    name: str
    colour: str

    def __post_init__(self) -> None:
        _require(0 <= self.value < 2**31, "value of a class", "0 to 2³¹ - 1", f"{self.value}")
        _require(self.name.isidentifier(), "name of a class", "an identifier", repr(self.name))
        right = _COLOUR.fullmatch(self.colour) is not None
        _require(right, "colour of a class", "#rrggbb", repr(self.colour))


@dataclass(frozen=True, eq=False)
class PixelClassifier:
    """Says of each pixel how likely it is of each class.

    Args:
        features: what it looks at.
        forest: what it has learnt.
        classes: at least two, in the order of their values, which is that of probabilities.

    Raises:
        BadInput: the parts do not fit each other.
    """

    features: FeatureSet
    forest: Forest
    classes: tuple[PixelClass, ...]

    def __post_init__(self) -> None:
        values = [each.value for each in self.classes]
        names = {each.name for each in self.classes}
        ordered = values == sorted(set(values)) and len(names) == len(values)
        _require(ordered, "classes", "ascending values and different names", f"{values}")
        count = self.forest.classes
        _require(count == len(values), "classes", f"{count}, as the forest has", f"{len(values)}")
        reach = self.forest.reach
        fits = reach <= self.features.count
        _require(fits, "features", f"at least {reach}", f"{self.features.count}")

    def probabilities(
        self, image: np.ndarray, *, device: str = "cpu", threads: int | None = None
    ) -> np.ndarray:
        """Compute the probability of each class at each pixel.

        Args:
            image: `(Y, X)`, `(Y, X, C)`, `(Z, Y, X)` or `(Z, Y, X, C)`, real numbers, as the
                classifier was trained on.
            device: `cpu`; `cuda`, a GPU by torch; or `auto`, a GPU where torch finds one with room.
            threads: of processors; none takes all.

        Returns:
            `(Y, X, K)` or `(Z, Y, X, K)` float32. Of any window of the image they are the same, if
            it comes with the halo of the features.

        Raises:
            BadInput: the image has other axes or channels, no numbers, NaN or infinity; or there is
                no such device.
        """
        pixels = with_channels(image, self.features)
        out = np.empty((*pixels.shape[:-1], len(self.classes)), np.float32)
        on = pixels_on(device, self.features, window_sides(self.features), self.forest)
        if on is not None:
            for window in windows(pixels.shape[:-1]):
                given = extended(pixels, window, self.features)
                out[window] = on.probabilities(given, self.features, self.forest)
            return out

        def work(window: tuple[slice, ...]) -> None:
            self.classify(extended(pixels, window, self.features), out[window])

        in_threads(work, windows(pixels.shape[:-1]), threads)
        return out

    def classify(self, window: np.ndarray, out: np.ndarray) -> None:
        """Compute the probabilities of a window that comes with the halo of the features.

        Args:
            window: `(C, …)` float32, contiguous, `features.halo` more on each side than `out`.
            out: `(Y, X, K)` or `(Z, Y, X, K)` float32, which is filled.
        """
        plan, count = plan_of(self.features), self.features.count

        def vote(at: tuple[slice, ...], rows: np.ndarray) -> None:
            if self.features.axes == 2:
                vote_rows(rows, plan, count, *self.forest.arguments, out[at])
                return
            values = np.empty((count, *out[at].shape[:-1]), np.float32)
            derive(rows, values, self.features)
            found = self.forest.probabilities(values.reshape(count, -1))
            out[at] = found.reshape(out[at].shape)

        blurred_rows(window, self.features, vote)

    def class_image(self, probabilities: np.ndarray) -> np.ndarray:
        """The value of the likeliest class of each pixel; of equally likely ones the first.

        Args:
            probabilities: `(…, K)`.

        Returns:
            int32, without the last axis.
        """
        return class_values(probabilities, self.classes)

    def save(self, folder: Path) -> None:
        """Write `pixel_classifier.npz` into a folder."""
        filters, classes = self.features.features, self.classes
        write_npz(
            folder / FILE_NAME,
            {
                "format": np.array(FORMAT),
                "axes": np.array(self.features.axes, np.int64),
                "z_spacing": np.array(self.features.z_spacing, np.float64),
                "kinds": np.array([each.kind for each in filters]),
                "sigmas": np.array([each.sigma for each in filters], np.float64),
                "channels": np.array([each.channel for each in filters], np.int64),
                "class_values": np.array([each.value for each in classes], np.int64),
                "class_names": np.array([each.name for each in classes]),
                "class_colours": np.array([each.colour for each in classes]),
                **{f"forest_{name}": array for name, array in self.forest.to_arrays().items()},
            },
        )

    @classmethod
    def load(cls, folder: Path) -> PixelClassifier:
        """Read `pixel_classifier.npz` of a folder; nothing in it is executed.

        Raises:
            BadInput: there is none, or it is damaged or no classifier.
        """
        path = folder / FILE_NAME
        what = f"pixel classifier '{path}'"
        if not path.is_file():
            expected = f"a pixel classifier, {FILE_NAME} (MODEL=…)"
            raise BadInput(f"model '{folder}'", expected=expected, found="none")
        arrays = {name: np.array(array) for name, array in read_npz(path).items()}
        given = str(arrays.get("format", "none"))
        _require(given == FORMAT, what, f"format '{FORMAT}'", repr(given))
        missing = [key for key in _KEYS if key not in arrays]
        _require(not missing, what, f"arrays {', '.join(_KEYS)}", f"none of {', '.join(missing)}")
        forest = {
            name.removeprefix("forest_"): array
            for name, array in arrays.items()
            if name.startswith("forest_")
        }
        try:
            features = _features_of(arrays)
            return cls(features, Forest.from_arrays(forest), _classes_of(arrays))
        except (TypeError, ValueError) as error:
            raise BadInput(what, expected="arrays of its format", found=f"{error}") from None
        except BadInput as bad:
            raise bad.about(f"{what}, {bad.what}") from None


def class_values(probabilities: np.ndarray, classes: Sequence[PixelClass]) -> np.ndarray:
    """The value of the likeliest class of each pixel; of equally likely ones the first.

    Args:
        probabilities: `(…, K)`.
        classes: K, in their order.

    Returns:
        int32, without the last axis.
    """
    values = np.array([each.value for each in classes], np.int32)
    found: np.ndarray = values[probabilities.argmax(axis=-1)]
    return found


@dataclass(frozen=True)
class ClassImage:
    """The value of the likeliest class of each pixel, made of probabilities as it is read.

    Args:
        probabilities: `(…, K)`, read by windows.
        classes: in their order.
    """

    probabilities: Windowed
    classes: tuple[PixelClass, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the image, without classes."""
        return tuple(self.probabilities.shape[:-1])

    @property
    def dtype(self) -> np.dtype:
        """Of values."""
        return np.dtype(np.int32)

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Read a window."""
        return class_values(np.asarray(self.probabilities[window]), self.classes)


def _features_of(arrays: Mapping[str, np.ndarray]) -> FeatureSet:
    columns = zip(
        arrays["kinds"].tolist(),
        arrays["sigmas"].tolist(),
        arrays["channels"].tolist(),
        strict=True,
    )
    known: dict[str, Any] = {kind: kind for kind in KINDS}
    found = tuple(
        Feature(known.get(kind, str(kind)), float(sigma), int(channel))
        for kind, sigma, channel in columns
    )
    return FeatureSet(found, int(arrays["axes"]), float(arrays["z_spacing"]))


def _classes_of(arrays: Mapping[str, np.ndarray]) -> tuple[PixelClass, ...]:
    names = ("class_values", "class_names", "class_colours")
    columns = zip(*(arrays[name].tolist() for name in names), strict=True)
    return tuple(PixelClass(int(value), str(name), str(colour)) for value, name, colour in columns)


def named_classes(values: Sequence[int], names: Sequence[str] = ()) -> tuple[PixelClass, ...]:
    """Classes of the values that scribbles have.

    Args:
        values: ascending.
        names: of each; none: the first is `background`, the second `object`, others `class_3` and
            so on.

    Raises:
        BadInput: there are fewer than two values, other names than values, or a name is none.
    """
    if len(values) < 2:
        found = f"{len(values)} ({', '.join(map(str, values))})" if len(values) else "none"
        raise BadInput("scribbles", expected="pixels of at least two classes", found=found)
    if names and len(names) != len(values):
        shown = ", ".join(map(str, values))
        expected = f"{len(values)} names, for the values {shown}"
        raise BadInput("classes", expected=expected, found=", ".join(names))
    default = ["background", "object", *(f"class_{value}" for value in values[2:])]
    return tuple(
        PixelClass(int(value), name.strip().replace("-", "_"), COLOURS[place % len(COLOURS)])
        for place, (value, name) in enumerate(zip(values, names or default, strict=True))
    )


def _require(holds: bool, what: str, expected: str, found: str) -> None:
    if not holds:
        raise BadInput(what, expected=expected, found=found)
