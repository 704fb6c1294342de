"""AJI is Kumar's algorithm 1."""

import numpy as np
import pytest

from cellmill.labels.pairs import pair_labels
from cellmill.metrics.aji import AggregatedJaccard, aggregated_jaccard
from tests.labels.made_pairs import random_pairs


def kumar(truth: np.ndarray, predicted: np.ndarray) -> tuple[int, int]:
    """Do algorithm 1 object by object, with our rule for ties."""
    shared = together = 0
    taken = set()
    for true in range(1, truth.max() + 1):
        mine = truth == true
        options = []
        for label in np.unique(predicted[mine]):
            if label:
                both = np.count_nonzero(mine & (predicted == label))
                either = np.count_nonzero(mine | (predicted == label))
                options.append((both / either, both, -label, either))
        if not options:
            together += np.count_nonzero(mine)
            continue
        _, both, label, either = max(options)
        shared, together = shared + both, together + either
        taken.add(-label)
    lone = set(range(1, predicted.max() + 1)) - taken
    return shared, together + np.count_nonzero(np.isin(predicted, list(lone)))


def test_aji_is_kumars_algorithm():
    for truth, predicted in random_pairs(200, 6):
        found = aggregated_jaccard(pair_labels(truth, predicted))
        assert found == AggregatedJaccard(*kumar(truth, predicted))


def test_aji_equals_cellposes_where_every_object_overlaps_one_other(cellpose_metrics):
    """Cellpose divides by the joint foreground, the same only where overlaps are one to one."""
    rng = np.random.default_rng(7)
    for _ in range(50):
        truth, predicted = np.zeros((2, 60, 60), int)
        for label in range(1, 10):
            y, x = 20 * ((label - 1) // 3), 20 * ((label - 1) % 3)
            for image in (truth, predicted):
                # Each covers 9 to 15 of 15 px a side from one corner: every IoU is above 0.3.
                height, width = rng.integers(9, 16, 2)
                image[y : y + height, x : x + width] = label
        found = aggregated_jaccard(pair_labels(truth, predicted)).aji
        assert found == pytest.approx(
            cellpose_metrics.aggregated_jaccard_index([truth], [predicted])[0]
        )
