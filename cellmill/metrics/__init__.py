"""How good a segmentation is: label images against true ones.

`evaluate` gives every score at once and `pool` puts images together; the pieces are in modules of
their own: `pairs` (the sparse table of overlaps), `matching`, `panoptic`, `aji`, `boundary`,
`pixels`, `object_errors`.
"""

from cellmill.metrics.aji import aggregated_jaccard
from cellmill.metrics.boundary import boundary
from cellmill.metrics.evaluation import FIELDS, evaluate, pool
from cellmill.metrics.matching import IOU_THRESHOLDS, match, match_all, matched_rows
from cellmill.metrics.object_errors import object_errors
from cellmill.metrics.pairs import LabelPairs, add_pairs, pair_labels
from cellmill.metrics.panoptic import panoptic
from cellmill.metrics.pixels import pixel_overlap

__all__ = [
    "FIELDS",
    "IOU_THRESHOLDS",
    "LabelPairs",
    "add_pairs",
    "aggregated_jaccard",
    "boundary",
    "evaluate",
    "match",
    "match_all",
    "matched_rows",
    "object_errors",
    "pair_labels",
    "panoptic",
    "pixel_overlap",
    "pool",
]
