"""Pixel classification while a person paints: what is known of scribbles is kept, and added to.

Of an image of any size only the surroundings of new scribbles and the visible field are read. Both
come with the halo of the features, so that values are those of the whole image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellmill.pixel_classification.choosing import Samples, fitted
from cellmill.pixel_classification.classifier import PixelClassifier, named_classes
from cellmill.pixel_classification.feature_set import DEFAULT_KINDS, DEFAULT_SIGMAS, FeatureSet
from cellmill.pixel_classification.features import features_at
from cellmill.pixel_classification.forest import Forest

#: Of the forest that answers while scribbles are painted; the one that is saved is chosen.
TREES, DEPTH = 20, 9
#: Side of the squares by which an image is read around scribbles.
_SQUARE = 512
#: Scribbled pixels that it learns from at most, drawn anew at each stroke.
_MOST = 20_000


@dataclass(frozen=True)
class Field:
    """Probabilities of a window of an image.

    Attributes:
        corner: `(y, x)` of its first pixel.
        probabilities: `(Y, X, K)` float32.
        classifier: whose they are.
    """

    corner: tuple[int, int]
    probabilities: np.ndarray
    classifier: PixelClassifier


class LiveClassifier:
    """Learns from scribbles on one image, stroke by stroke.

    Args:
        image: `(Y, X, C)`, read by windows.
        sigmas: scales of the features, in pixels.
    """

    def __init__(self, image: Any, sigmas: Sequence[float] = DEFAULT_SIGMAS) -> None:
        self.image = image
        self.features = FeatureSet.of(DEFAULT_KINDS, tuple(sigmas), image.shape[-1])
        self._places = np.zeros(0, np.int64)
        self._values: np.ndarray = np.zeros((0, self.features.count), np.float32)
        self.classifier: PixelClassifier | None = None

    def learn(self, scribbles: np.ndarray) -> PixelClassifier | None:
        """Learn from all scribbles; only what is new is looked up in the image.

        Args:
            scribbles: `(Y, X)` integers: 0 is not labelled, other values are classes.

        Returns:
            The classifier; None while fewer than two classes are scribbled.
        """
        flat = scribbles.ravel()
        places = np.flatnonzero(flat)
        marks = flat[places]
        values = np.unique(marks)
        if len(values) < 2:
            self.classifier = None
            return None
        self._look_up(places)
        found = self._values[np.searchsorted(self._places, places)]
        if len(places) > _MOST:
            drawn = np.random.default_rng(0).choice(len(places), _MOST, replace=False)
            found, marks = found[drawn], marks[drawn]
        forest = fitted(Samples(found, np.searchsorted(values, marks)), TREES, DEPTH, 0)
        classes = named_classes(values.tolist())
        trees = Forest.of_trees(forest.estimators_)
        self.classifier = PixelClassifier(self.features, trees, classes)
        return self.classifier

    def field(self, y: slice, x: slice) -> Field | None:
        """Classify a window; None while nothing is learnt."""
        if self.classifier is None:
            return None
        pixels, inner = self._around(y, x, self.classifier.features)
        found = self.classifier.probabilities(pixels)[inner]
        return Field((y.start, x.start), found, self.classifier)

    def _look_up(self, places: np.ndarray) -> None:
        """Add the features of places that are not known yet."""
        new = np.setdiff1d(places, self._places, assume_unique=True)
        if not len(new):
            return
        width = self.image.shape[1]
        y, x = np.divmod(new, width)
        values = np.empty((len(new), self.features.count), np.float32)
        squares = y // _SQUARE * (width // _SQUARE + 1) + x // _SQUARE
        for square in np.unique(squares):
            mine = np.flatnonzero(squares == square)
            rows = slice(int(y[mine].min()), int(y[mine].max()) + 1)
            columns = slice(int(x[mine].min()), int(x[mine].max()) + 1)
            pixels, inner = self._around(rows, columns, self.features)
            wanted = np.zeros(pixels.shape[:2], bool)
            wanted[inner][y[mine] - rows.start, x[mine] - columns.start] = True
            values[mine] = features_at(pixels, wanted, self.features)
        every = np.concatenate([self._places, new])
        order = np.argsort(every)
        self._places = every[order]
        self._values = np.concatenate([self._values, values])[order]

    def _around(
        self, y: slice, x: slice, wanted: FeatureSet
    ) -> tuple[np.ndarray, tuple[slice, slice]]:
        """A window with the halo of the features, and where the window lies in it."""
        spans, inner = [], []
        for part, far, side in zip((y, x), wanted.halo, self.image.shape[:2], strict=True):
            start, stop = max(part.start - far, 0), min(part.stop + far, side)
            spans.append(slice(start, stop))
            inner.append(slice(part.start - start, part.stop - start))
        return np.asarray(self.image[tuple(spans)]), (inner[0], inner[1])
