"""Label images made by others: the truth that a segmentation is measured against.

What a file is, is decided by what it says of itself (`kinds`), then by its values (`labels`); a
user can say it instead. `read` reads files that fit the memory, `large` copies others, `opened`
says what TIFF and OME-Zarr are; `pieces` looks for labels that are no objects.
"""

from cellmill.io.truth.kinds import TruthKind
from cellmill.io.truth.labels import Truth
from cellmill.io.truth.large import copy_labels, copy_volume
from cellmill.io.truth.read import read_truth

__all__ = ["Truth", "TruthKind", "copy_labels", "copy_volume", "read_truth"]
