"""DeepCell's object errors: what went wrong with each object, in words a biologist uses.

After Caicedo et al. 2019 (Cytometry A 95, 952) and Jaqaman et al. 2008 (Nature Methods 5, 695), as
DeepCell reports them, with its two cutoffs (0.4 and 0.1):

1. A true and a predicted object with an IoU above 0.6 are one *correct* detection.
2. Of the objects left over, two are linked when their IoU is at least 0.1 or more than half of
   either lies in the other.
3. Linked objects form groups. A true object alone is *missed*, a predicted one alone *gained*; one
   and one are too different to be the same object: one missed and one gained. Several true with
   one predicted object are a *merge* (all but one of them missed from it), one true with several
   predicted a *split* (all but one gained from it), anything larger is a *catastrophe*.

Precision and recall are correct over predicted and over true objects. SEG (Maška et al. 2014,
Bioinformatics 30, 1609) is the mean, over all true objects, of the IoU with the predicted object
that covers more than half of it, 0 where none does.

DeepCell 0.12 gets two of these wrong, and `deepcell_compat` repeats both, so that figures can be
compared with published ones:

- each catastrophe is also counted as one correct detection, which raises precision, recall and F1;
- its SEG is the mean IoU of those correct pairs that *fail* its half-covered test, and that test
  takes the running number of the pair, among all pairs whose bounding boxes overlap or touch, for
  the label whose area is to be half covered. What comes out depends on the order of the labels; it
  is None where no pair fails, and also here for more than 20,000 objects, where DeepCell's own
  dense matrix would not fit a machine.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cellmill.labels.pairs import LabelPairs
from cellmill.metrics.counts import count, f_score, ratio

MATCH_IOU = 0.6
LINK_IOU = 0.1
LINK_COVER = 0.5
#: What may become of an object, see `outcome_of_each`.
OUTCOMES = ("matched", "missed", "gained", "merged", "split", "confused")
COMPAT_OBJECTS = 20_000


@dataclass(frozen=True)
class ObjectErrors:
    """DeepCell's counts under DeepCell's names; `n_true` and `n_pred` are numbers of objects."""

    n_true: int = count("true objects")
    n_pred: int = count("predicted objects")
    correct_detections: int = count("pairs with an IoU above 0.6")
    missed_detections: int = count("true objects found by nothing")
    gained_detections: int = count("predicted objects where nothing is")
    missed_det_from_merge: int = count("true objects lost in merges")
    gained_det_from_split: int = count("predicted objects too many in splits")
    true_det_in_catastrophe: int = count("true objects in catastrophes")
    pred_det_in_catastrophe: int = count("predicted objects in catastrophes")
    merge: int = count("predicted objects that cover several true ones")
    split: int = count("true objects cut into several predicted ones")
    catastrophe: int = count("groups of several true and several predicted objects")
    seg_sum: float = count("sum over true objects of the IoU that SEG takes")
    compat_seg_sum: float = count("the same, as DeepCell 0.12 adds it up")
    compat_seg_pairs: int = count("pairs in DeepCell 0.12's sum")
    compat_seg_missing: int = count("images too large for DeepCell 0.12's SEG")

    @property
    def both_empty(self) -> bool:
        """Neither image has an object."""
        return self.n_true + self.n_pred == 0

    @property
    def precision(self) -> float:
        """Correct / predicted."""
        return ratio(self.correct_detections, self.n_pred, both_empty=self.both_empty)

    @property
    def recall(self) -> float:
        """Correct / true."""
        return ratio(self.correct_detections, self.n_true, both_empty=self.both_empty)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return f_score(self.precision, self.recall)

    @property
    def seg(self) -> float:
        """Maška's SEG: the mean of `seg_sum` over the true objects."""
        return ratio(self.seg_sum, self.n_true, both_empty=self.both_empty)

    def compat(self) -> dict[str, Any]:
        """Give what DeepCell 0.12 reports where it differs; two empty images score 0 there."""
        correct = self.correct_detections + self.catastrophe
        precision = correct / self.n_pred if self.n_pred else 0.0
        recall = correct / self.n_true if self.n_true else 0.0
        has_seg = self.compat_seg_pairs and not self.compat_seg_missing
        return {
            "correct_detections": correct,
            "precision": precision,
            "recall": recall,
            "f1": f_score(precision, recall),
            "seg": self.compat_seg_sum / self.compat_seg_pairs if has_seg else None,
        }

    def to_dict(self) -> dict[str, Any]:
        """Give counts and scores, ready for JSON."""
        return {
            **asdict(self),
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "seg": self.seg,
            "deepcell_compat": self.compat(),
        }


def classify_errors(pairs: LabelPairs) -> ObjectErrors:
    """Sort the objects of two label images into DeepCell's kinds of error.

    Example:
        >>> from cellmill.labels.pairs import pair_labels
        >>> errors = classify_errors(pair_labels(np.array([[1, 2]]), np.array([[1, 1]])))
        >>> errors.merge, errors.missed_det_from_merge, errors.correct_detections
        (1, 1, 0)
    """
    correct = pairs.ious > MATCH_IOU
    groups = _grouped(pairs, correct)
    kept = groups.trues + groups.preds > 0
    trues, preds = groups.trues[kept], groups.preds[kept]
    cover_true = pairs.overlaps / pairs.truth.areas[pairs.truth_index]
    alike = (trues == 1) & (preds == 1)
    merges = (trues > 1) & (preds == 1)
    splits = (trues == 1) & (preds > 1)
    catastrophes = (trues > 1) & (preds > 1)
    compat_sum, compat_pairs, compat_missing = _compat_seg(pairs, correct)
    return ObjectErrors(
        n_true=len(pairs.truth),
        n_pred=len(pairs.predicted),
        correct_detections=int(correct.sum()),
        missed_detections=int(((preds == 0) | alike).sum()),
        gained_detections=int(((trues == 0) | alike).sum()),
        missed_det_from_merge=int((trues[merges] - 1).sum()),
        gained_det_from_split=int((preds[splits] - 1).sum()),
        true_det_in_catastrophe=int(trues[catastrophes].sum()),
        pred_det_in_catastrophe=int(preds[catastrophes].sum()),
        merge=int(merges.sum()),
        split=int(splits.sum()),
        catastrophe=int(catastrophes.sum()),
        seg_sum=float(pairs.ious[cover_true > LINK_COVER].sum()),
        compat_seg_sum=compat_sum,
        compat_seg_pairs=compat_pairs,
        compat_seg_missing=compat_missing,
    )


def outcome_of_each(pairs: LabelPairs) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Say what became of each object, by the groups that `classify_errors` counts.

    Args:
        pairs: the table of overlaps.

    Returns:
        For each true object, and for each predicted one, the place of its outcome in `OUTCOMES`:
        `matched`; `missed`, of true objects that are alone or too different from the one that is
        there, and `gained`, of such predicted ones; `merged`, several true and one predicted;
        `split`, one true and several predicted; `confused`, several of both.

    Example:
        >>> from cellmill.labels.pairs import pair_labels
        >>> pairs = pair_labels(np.array([[1, 2, 0, 3]]), np.array([[1, 1, 2, 0]]))
        >>> [[OUTCOMES[each] for each in side] for side in outcome_of_each(pairs)]
        [['merged', 'merged', 'missed'], ['merged', 'gained']]
    """
    groups = _grouped(pairs, pairs.ious > MATCH_IOU)
    several_true, several_pred = groups.trues > 1, groups.preds > 1
    found = []
    for place, free, alone in (
        (groups.of_true, groups.free_true, "missed"),
        (groups.of_pred, groups.free_pred, "gained"),
    ):
        conditions = [
            ~free,
            (several_true & several_pred)[place],
            (several_true & (groups.preds == 1))[place],
            ((groups.trues == 1) & several_pred)[place],
        ]
        names = ("matched", "confused", "merged", "split")
        values = [OUTCOMES.index(name) for name in names]
        found.append(np.select(conditions, values, OUTCOMES.index(alone)).astype(np.intp))
    return found[0], found[1]


@dataclass(frozen=True)
class _Groups:
    """Groups of linked objects.

    Args:
        of_true: the group of each true object, `(N,)`.
        of_pred: of each predicted one.
        free_true: which true objects are no correct detections, `(N,)`.
        free_pred: which predicted ones.
        trues: true objects of each group that are free, `(G,)`.
        preds: predicted ones.
    """

    of_true: npt.NDArray[np.intp]
    of_pred: npt.NDArray[np.intp]
    free_true: npt.NDArray[np.bool_]
    free_pred: npt.NDArray[np.bool_]
    trues: npt.NDArray[np.intp]
    preds: npt.NDArray[np.intp]


def _grouped(pairs: LabelPairs, correct: npt.NDArray[np.bool_]) -> _Groups:
    """Link the objects that no correct detection has, and group those that are linked."""
    n_true, n_pred = len(pairs.truth), len(pairs.predicted)
    cover_true = pairs.overlaps / pairs.truth.areas[pairs.truth_index]
    cover_pred = pairs.overlaps / pairs.predicted.areas[pairs.predicted_index]
    free_true, free_pred = np.ones(n_true, bool), np.ones(n_pred, bool)
    free_true[pairs.truth_index[correct]] = False
    free_pred[pairs.predicted_index[correct]] = False
    linked = (pairs.ious >= LINK_IOU) | (np.maximum(cover_true, cover_pred) > LINK_COVER)
    linked &= free_true[pairs.truth_index] & free_pred[pairs.predicted_index]
    links = coo_array(
        (
            np.ones(int(linked.sum()), bool),
            (pairs.truth_index[linked], n_true + pairs.predicted_index[linked]),
        ),
        shape=(n_true + n_pred, n_true + n_pred),
    )
    n_groups, group = connected_components(links, directed=False)
    trues = np.bincount(group[:n_true][free_true], minlength=n_groups)
    preds = np.bincount(group[n_true:][free_pred], minlength=n_groups)
    return _Groups(group[:n_true], group[n_true:], free_true, free_pred, trues, preds)


def _compat_seg(pairs: LabelPairs, correct: npt.NDArray[np.bool_]) -> tuple[float, int, int]:
    """Sum and number of the IoUs in DeepCell 0.12's SEG, and 1 where that is not computed."""
    if len(pairs.truth) + len(pairs.predicted) > COMPAT_OBJECTS:
        return 0.0, 0, 1
    number = _box_pair_numbers(pairs)
    areas = np.zeros(max(len(pairs.truth), number.max(initial=0)) + 1, np.int64)
    areas[1 : len(pairs.truth) + 1] = pairs.truth.areas
    # Number 0 is taken for the background: more than half of it, and a pair fails its test.
    areas[0] = pairs.background_pixels
    averaged = correct & (pairs.overlaps <= areas[number] / 2)
    return float(pairs.ious[averaged].sum()), int(averaged.sum()), 0


def _box_pair_numbers(pairs: LabelPairs) -> npt.NDArray[np.intp]:
    """Number each overlapping pair among all whose boxes overlap or touch, by true, then predicted.

    Returns:
        A number from 0 on for each row of `pairs`, `(K,)`.
    """
    numbers = np.zeros(len(pairs), np.intp)
    y0, x0, y1, x1 = pairs.predicted.boxes.T
    first = np.searchsorted(pairs.truth_index, np.arange(len(pairs.truth) + 1))
    before = 0
    for true, (top, left, bottom, right) in enumerate(pairs.truth.boxes):
        touching = np.flatnonzero((y0 <= bottom) & (y1 >= top) & (x0 <= right) & (x1 >= left))
        rows = slice(first[true], first[true + 1])
        numbers[rows] = before + np.searchsorted(touching, pairs.predicted_index[rows])
        before += len(touching)
    return numbers
