"""Pixel overlap of the foregrounds, which object is which left aside: Jaccard and Dice."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cellmill.labels.pairs import LabelPairs
from cellmill.metrics.counts import count, ratio


@dataclass(frozen=True)
class Pixels:
    """Foreground pixels of both images."""

    truth: int = count("pixels in true objects")
    predicted: int = count("pixels in predicted objects")
    both: int = count("pixels in a true and in a predicted object")

    @property
    def jaccard(self) -> float:
        """Both / either."""
        either = self.truth + self.predicted - self.both
        return ratio(self.both, either, both_empty=either == 0)

    @property
    def dice(self) -> float:
        """2 × both / (truth + predicted)."""
        total = self.truth + self.predicted
        return ratio(2 * self.both, total, both_empty=total == 0)

    def to_dict(self) -> dict[str, Any]:
        """Give counts and scores, ready for JSON."""
        return {**asdict(self), "jaccard": self.jaccard, "dice": self.dice}


def pixel_overlap(pairs: LabelPairs) -> Pixels:
    """Count foreground pixels.

    Example:
        >>> import numpy as np
        >>> from cellmill.labels.pairs import pair_labels
        >>> pixel_overlap(pair_labels(np.array([[1, 1, 0, 2]]), np.array([[4, 4, 4, 0]]))).jaccard
        0.5
    """
    return Pixels(
        truth=int(pairs.truth.areas.sum()),
        predicted=int(pairs.predicted.areas.sum()),
        both=int(pairs.overlaps.sum()),
    )
