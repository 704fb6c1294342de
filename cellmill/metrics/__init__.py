"""How good a segmentation is: label images against true ones.

`evaluate` gives every score at once and `pool` puts images together; the pieces are in modules of
their own: `pairs` (the sparse table of overlaps), `matching`, `panoptic`, `aji`, `boundary`,
`pixels`, `object_errors`. `evaluate_classes` and `pool_classes` do the same for classes of pixels.
"""

from cellmill.labels.pairs import LabelPairs, add_pairs, pair_labels
from cellmill.metrics.aji import aggregated_jaccard
from cellmill.metrics.boundary import match_boundaries
from cellmill.metrics.classes import evaluate_classes, pool_classes
from cellmill.metrics.evaluation import FIELDS, evaluate, pool
from cellmill.metrics.matching import IOU_THRESHOLDS, Matching, match, match_all, matched_rows
from cellmill.metrics.object_errors import classify_errors
from cellmill.metrics.panoptic import count_panoptic
from cellmill.metrics.pixels import pixel_overlap

__all__ = [
    "FIELDS",
    "IOU_THRESHOLDS",
    "LabelPairs",
    "Matching",
    "add_pairs",
    "aggregated_jaccard",
    "classify_errors",
    "count_panoptic",
    "evaluate",
    "evaluate_classes",
    "match",
    "match_all",
    "match_boundaries",
    "matched_rows",
    "pair_labels",
    "pixel_overlap",
    "pool",
    "pool_classes",
]
