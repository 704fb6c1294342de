"""Aggregated Jaccard index (AJI).

Kumar et al. 2017, "A Dataset and a Technique for Generalized Nuclear Segmentation for
Computational Pathology", IEEE Transactions on Medical Imaging 36, 1550, algorithm 1:

- each true object takes the predicted object with which its IoU is greatest (two true objects may
  take the same one); a true object that overlaps nothing takes none;
- the intersections of all taken pairs are added up, and so are their unions; a true object that
  takes none adds its own area to the unions;
- every predicted object that nobody took adds its area to the unions;
- AJI = intersections / unions.

The paper leaves a tie of two greatest IoUs open: here the larger overlap wins, then the lower
label. AJI punishes a wrong split or merge twice; panoptic quality does not.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cellmill.labels.pairs import LabelPairs
from cellmill.metrics.counts import count, ratio


@dataclass(frozen=True)
class AggregatedJaccard:
    """The two sums of Kumar's algorithm 1."""

    intersection: int = count("pixels shared by each true object and the one it took")
    union: int = count("pixels in their unions, plus objects that took or were taken by none")

    @property
    def aji(self) -> float:
        """Intersection / union; 1 for two empty images."""
        return ratio(self.intersection, self.union, both_empty=self.union == 0)

    def to_dict(self) -> dict[str, Any]:
        """Give counts and the score, ready for JSON."""
        return {**asdict(self), "aji": self.aji}


def aggregated_jaccard(pairs: LabelPairs) -> AggregatedJaccard:
    """Count what the aggregated Jaccard index needs.

    Example:
        >>> from cellmill.labels.pairs import pair_labels
        >>> aggregated_jaccard(pair_labels(np.array([[1, 1, 0, 2]]), np.array([[1, 1, 1, 0]])))
        AggregatedJaccard(intersection=2, union=4)
    """
    unions = pairs.unions
    order = np.lexsort((pairs.predicted_index, -pairs.overlaps, -pairs.ious, pairs.truth_index))
    taking, first = np.unique(pairs.truth_index[order], return_index=True)
    best = order[first]
    lone_truth = pairs.truth.areas.sum() - pairs.truth.areas[taking].sum()
    taken = np.unique(pairs.predicted_index[best])
    lone_predicted = pairs.predicted.areas.sum() - pairs.predicted.areas[taken].sum()
    return AggregatedJaccard(
        intersection=int(pairs.overlaps[best].sum()),
        union=int(unions[best].sum() + lone_truth + lone_predicted),
    )
