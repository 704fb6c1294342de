"""A random forest as plain arrays: made of scikit-learn's, run without it.

A pixel's probabilities are the means of what its leaves say, as scikit-learn computes them (within
1e-6: float32 sums in the order of the trees). A threshold is rounded down to float32, which sends
every float32 value where scikit-learn sends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellmill.compute.kernels import kernel
from cellmill.compute.threads import bands, in_threads
from cellmill.errors import BadInput
from cellmill.pixel_classification.filters import derive_row
from cellmill.pixel_classification.lanes import LANES, add_where, at_most

#: No path from a root to a leaf is longer.
DEEPEST = 120
#: Pixels whose features lie ready at once; whole words.
_PIECE = 8 * LANES
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_ONE, _NONE = np.uint32(1), np.uint64(0)


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees laid out one after the other, each level by level from its root.

    A node's children lie side by side behind it; of a leaf the left child is the leaf itself.

    Args:
        features: `(n,)` uint32, the feature that a node looks at; 0 of a leaf.
        thresholds: `(n,)` float32: up to it a pixel goes left, beyond it right.
        left: `(n,)` uint32, the left child; the right one is the next.
        votes: `(n, K)` float32, of a leaf the probability of each class; 0 of a node.
        roots: `(trees,)` uint32, ascending, the first 0.

    Raises:
        BadInput: the arrays are no forest.
    """

    features: np.ndarray
    thresholds: np.ndarray
    left: np.ndarray
    votes: np.ndarray
    roots: np.ndarray

    def __post_init__(self) -> None:
        _check(self)

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return int(self.votes.shape[1])

    @property
    def trees(self) -> int:
        """How many trees there are."""
        return len(self.roots)

    @property
    def depth(self) -> int:
        """How many nodes the longest way from a root to a leaf has."""
        level, found = self.roots.astype(np.int64), 0
        while len(level := level[self.left[level] != level]):
            level = np.concatenate([self.left[level], self.left[level] + np.uint32(1)])
            level, found = level.astype(np.int64), found + 1
        return found

    @property
    def reach(self) -> int:
        """How many features there must be: one more than the last that is looked at."""
        return int(self.features.max()) + 1

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name; `from_arrays` gives an equal forest back."""
        return {name: getattr(self, name) for name in _DTYPES}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Forest:
        """A forest of its arrays, which come from anywhere.

        Raises:
            BadInput: one is missing or of another type, or they are no forest.
        """
        given = {}
        for name, (dtype, axes) in _DTYPES.items():
            if name not in arrays:
                raise BadInput("forest", expected=f"an array '{name}'", found="none")
            given[name] = np.asarray(arrays[name])
            if given[name].dtype != dtype or given[name].ndim != axes:
                found = f"{given[name].dtype} of {given[name].ndim} axes"
                expected = f"{np.dtype(dtype)} of {axes} axes in '{name}'"
                raise BadInput("forest", expected=expected, found=found)
        try:
            return cls(**given)
        except BadInput as bad:
            raise bad.about(f"forest, {bad.what}") from None

    @classmethod
    def of_trees(cls, estimators: Any) -> Forest:
        """A forest of scikit-learn's fitted decision trees, `forest.estimators_`."""
        parts: dict[str, list[Any]] = {name: [] for name in _DTYPES}
        start = 0
        for estimator in estimators:
            tree = estimator.tree_
            order = _by_level(tree.children_left, tree.children_right)
            place = np.empty(len(order), np.int64)
            place[order] = np.arange(len(order))
            inner = tree.children_left[order] >= 0
            left = np.where(inner, place[tree.children_left[order]], place[order]) + start
            votes = tree.value[order, 0]
            parts["features"].append(np.where(inner, tree.feature[order], 0))
            parts["thresholds"].append(np.where(inner, _rounded_down(tree.threshold[order]), 0))
            parts["left"].append(left)
            shares = votes / votes.sum(axis=1, keepdims=True)
            parts["votes"].append(np.where(inner[:, np.newaxis], 0, shares))
            parts["roots"].append([start])
            start += len(order)
        return cls(**{k: np.concatenate(v).astype(_DTYPES[k][0]) for k, v in parts.items()})

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """The probability of each class.

        Args:
            features: `(F, n)` float32.

        Returns:
            `(n, K)` float32; they add up to 1 within 1e-6.

        Raises:
            BadInput: there are fewer features than the trees look at.
        """
        features = np.asarray(features, np.float32)
        if features.ndim != 2 or len(features) < self.reach:
            expected = f"(F, n), F at least {self.reach}"
            raise BadInput("features", expected=expected, found=f"{features.shape}")
        out = np.empty((features.shape[1], self.classes), np.float32)

        def work(band: tuple[int, int]) -> None:
            _vote(features[:, slice(*band)], *self.arguments, out[slice(*band)])

        in_threads(work, bands(features.shape[1], _PIECE))
        return out

    @property
    def arguments(self) -> tuple[np.ndarray, ...]:
        """The arrays as kernels take them."""
        return self.features, self.thresholds, self.left, self.votes, self.roots


#: Types and numbers of axes of a forest's arrays.
_DTYPES: dict[str, tuple[type, int]] = {
    "features": (np.uint32, 1),
    "thresholds": (np.float32, 1),
    "left": (np.uint32, 1),
    "votes": (np.float32, 2),
    "roots": (np.uint32, 1),
}


def _check(forest: Forest) -> None:
    """Refuse arrays with which a kernel could read beyond them or never end."""
    nodes, places = len(forest.left), np.arange(len(forest.left))
    one_length = {len(forest.features), len(forest.thresholds), len(forest.votes)} == {nodes}
    _require(bool(nodes) and one_length, "arrays of one length, at least 1", f"{nodes}")
    _require(forest.votes.shape[1] >= 2, "at least two classes", f"{forest.votes.shape[1]}")
    roots = forest.roots.astype(np.int64)
    ascending = len(roots) > 0 and roots[0] == 0 and bool((np.diff(roots) > 0).all())
    _require(ascending and roots[-1] < nodes, "roots that ascend from 0", f"{len(roots)} roots")
    left = forest.left.astype(np.int64)
    leaf = left == places
    ends = np.append(roots[1:], nodes)[np.searchsorted(roots, places, side="right") - 1]
    inside = leaf | ((left > places) & (left + 1 < ends))
    _require(bool(inside.all()), "children behind their node, in its tree", "others")
    depth = np.zeros(nodes, np.int64)
    for place in np.flatnonzero(~leaf):
        depth[left[place]] = depth[left[place] + 1] = depth[place] + 1
    _require(int(depth.max()) <= DEEPEST, f"trees of depth {DEEPEST} at most", f"{depth.max()}")
    votes = forest.votes[leaf]
    finite = np.isfinite(forest.thresholds).all() and np.isfinite(votes).all()
    shares = finite and (votes >= 0).all() and (np.abs(votes.sum(axis=1) - 1) < 1e-5).all()
    _require(bool(shares), "finite thresholds, and leaves of probabilities", "others")


def _require(holds: bool, expected: str, found: str) -> None:
    if not holds:
        raise BadInput("forest", expected=expected, found=found)


def _by_level(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """A tree's nodes level by level, siblings side by side."""
    order, level = [np.zeros(1, np.int64)], np.zeros(1, np.int64)
    while len(level):
        inner = level[left[level] >= 0]
        level = np.stack([left[inner], right[inner]], axis=1).reshape(-1)
        order.append(level)
    return np.concatenate(order)


def _rounded_down(thresholds: np.ndarray) -> np.ndarray:
    """The greatest float32 values that are not above some float64 ones."""
    nearest = thresholds.astype(np.float32)
    return np.where(nearest > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest)


@kernel
def _vote_piece(values, features, thresholds, left, votes, roots, sums, stack, bits, count):  # type: ignore[no-untyped-def]
    """Sum what the trees say of a piece of pixels.

    Args:
        values: `(F × _PIECE,)` float32, a feature after the other.
        features: of the forest, as the next four.
        thresholds: see `features`.
        left: see `features`.
        votes: see `features`.
        roots: see `features`.
        sums: `(K × _PIECE,)` float32, a class after the other, which are set.
        stack: uint32 to work in, longer than any tree is deep.
        bits: uint64, as long.
        count: how many pixels of the piece count.
    """
    classes = votes.shape[1]
    for place in range(classes * _PIECE):
        sums[place] = 0
    for start in range(0, count, LANES):
        for tree in range(len(roots)):
            node, mine, top = roots[tree], _ALL, 0
            while True:
                child = left[node]
                if child == node:
                    for k in range(classes):
                        add_where(sums, k * _PIECE + start, mine, votes[node, k])
                    if top == 0:
                        break
                    top -= 1
                    node, mine = stack[top], bits[top]
                    continue
                at = np.int64(features[node]) * _PIECE + start
                lower = at_most(values, at, thresholds[node])
                to_left, to_right = mine & lower, mine & ~lower
                if to_right == _NONE:
                    node = child
                elif to_left == _NONE:
                    node = child + _ONE
                else:
                    stack[top], bits[top] = child + _ONE, to_right
                    top += 1
                    node, mine = child, to_left


@kernel
def _vote(values, features, thresholds, left, votes, roots, out):  # type: ignore[no-untyped-def]
    """Probabilities `(n, K)` of pixels whose features are there, `(F, n)`."""
    count, classes = out.shape
    piece = np.zeros((values.shape[0], _PIECE), np.float32)
    sums = np.empty(classes * _PIECE, np.float32)
    stack, bits = np.empty(DEEPEST + 1, np.uint32), np.empty(DEEPEST + 1, np.uint64)
    share = np.float32(1 / len(roots))
    for start in range(0, count, _PIECE):
        length = min(_PIECE, count - start)
        for f in range(values.shape[0]):
            for i in range(length):
                piece[f, i] = values[f, start + i]
        _vote_piece(
            piece.reshape(-1), features, thresholds, left, votes, roots, sums, stack, bits, length
        )
        for i in range(length):
            for k in range(classes):
                out[start + i, k] = sums[k * _PIECE + i] * share


@kernel
def vote_rows(blurred, plan, count, features, thresholds, left, votes, roots, out):  # type: ignore[no-untyped-def]
    """Probabilities `(rows, X, K)` of rows of an image, from its blurred rows.

    Args:
        blurred: as `derive_row` takes it.
        plan: as `derive_row` takes it.
        count: of features.
        features: of the forest, as the next four.
        thresholds: see `features`.
        left: see `features`.
        votes: see `features`.
        roots: see `features`.
        out: float32.
    """
    rows, width, classes = out.shape
    piece = np.zeros((count, _PIECE), np.float32)
    sums = np.empty(classes * _PIECE, np.float32)
    stack, bits = np.empty(DEEPEST + 1, np.uint32), np.empty(DEEPEST + 1, np.uint64)
    share = np.float32(1 / len(roots))
    for y in range(rows):
        for start in range(0, width, _PIECE):
            length = min(_PIECE, width - start)
            derive_row(blurred, plan, y, start, piece[:, :length])
            _vote_piece(
                piece.reshape(-1), features, thresholds, left, votes, roots, sums, stack, bits,
                length,
            )  # fmt: skip
            for i in range(length):
                for k in range(classes):
                    out[y, start + i, k] = sums[k * _PIECE + i] * share
