"""A network of the user's as the gate's task: what it finds in what was made of X is scored.

It is any network of planes in any form that an engine runs, with its card, as it would be used on
the target domain: planes are prepared as its card says (by the levels of all planes that are
scored together), cut into its tiles, and one channel of one head is what it finds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cellmill.errors import BadInput
from cellmill.inference.predictor import Predictor
from cellmill.inference.tiled import card_grid, predict_tiled
from cellmill.models.card import Head, ModelCard
from cellmill.models.fetch import FetchedModel
from cellmill.preprocessing.methods import normalised
from cellmill.preprocessing.normalisation import CLAHE
from cellmill.style_transfer.gate import MARGIN, Planes, best_threshold, inside


@dataclass(frozen=True)
class OwnTask:
    """What a network finds in planes of the target domain.

    Args:
        predictor: of the network.
        card: of the network.
        head: that says what is found.
        channel: of the head.
        is_logit: whether its values are logits, not probabilities.
        threshold: of the probability.
    """

    predictor: Predictor
    card: ModelCard
    head: Head
    channel: int
    is_logit: bool = False
    threshold: float = 0.5

    def probabilities(self, planes: np.ndarray) -> np.ndarray:
        """What it finds in planes `(N, n, n)` of grey values, `MARGIN` less at each side."""
        found = self.values(planes)
        return 1 / (1 + np.exp(-found)) if self.is_logit else found

    def values(self, planes: np.ndarray) -> np.ndarray:
        """The same as the network gives it, float64."""
        count, side, _ = planes.shape
        found = np.zeros((count, side, side))
        grid = card_grid(self.card, (side, side))
        out = np.zeros(self.head.shape_over((side, side)), np.float32)
        for n, plane in enumerate(self._prepared(planes)):
            predict_tiled(plane, self.predictor, grid, [out], heads=[self.head])
            fine = out[..., self.channel].repeat(self.head.stride, 0)
            found[n] = fine.repeat(self.head.stride, 1)[:side, :side]
        return inside(found, MARGIN)

    def _prepared(self, planes: np.ndarray) -> np.ndarray:
        """Planes as the network takes them, `(N, n, n, C)` float32; channels it may lack are 0."""
        grey = np.rint(planes).astype(np.uint8)[..., None]
        if self.card.preprocessing.method in CLAHE:
            ready = np.stack([normalised(plane, self.card.preprocessing)[0] for plane in grey])
        else:
            rows = grey.reshape(-1, grey.shape[2], 1)
            ready = normalised(rows, self.card.preprocessing)[0].reshape(grey.shape)
        lacking = len(self.card.input.channels) - 1
        return np.pad(ready, ((0, 0), (0, 0), (0, 0), (0, lacking)))


def load_task(fetched: FetchedModel, head: str, known: Planes, *, trusted: bool = False) -> OwnTask:
    """Load a network as the gate's task.

    Args:
        fetched: the network and its card.
        head: `NAME` or `NAME:CHANNEL` (from 0) of what it finds; empty where it has one head of
            class probabilities, of one channel.
        known: planes of the target domain. Where their truth is known the threshold is the best
            there, else 0.5; values beyond 0 to 1 there are taken for logits.
        trusted: whether the network may do more than compute.

    Raises:
        BadInput: it sees volumes or several channels, it has no such head, or no engine runs it.
    """
    card, what = fetched.card, f"task_network '{fetched.origin}'"
    if card.input.sees_volumes or card.input.fewest_channels != 1 or not card.heads:
        found = "one of volumes" if card.input.sees_volumes else f"{card.input.fewest_channels}"
        expected = "a network of planes of one channel"
        raise BadInput(what, expected=expected, found=found if card.heads else "no network")
    asked, channel = _head(card, head)
    predictor = Predictor(fetched.folder, card, [asked], trusted=trusted)
    task = OwnTask(predictor, card, asked, channel)
    values = task.values(known.grey)
    task = replace(task, is_logit=bool(values.min() < 0 or values.max() > 1))
    if not len(known.truth):
        return task
    best = best_threshold(task.probabilities(known.grey), inside(known.truth, MARGIN))
    return replace(task, threshold=best)


def _head(card: ModelCard, text: str) -> tuple[Head, int]:
    """The head and the channel that a user names, or the only one there is."""
    name, _, number = text.partition(":")
    heads = [
        head
        for head in card.heads
        if not head.margin and (head.name == name if name else head.kind == "pixelwise")
    ]
    channels = {f"{n}": n for n in range(heads[0].channels)} if len(heads) == 1 else {}
    if number in channels:
        return heads[0], channels[number]
    if not number and len(channels) == 1:
        return heads[0], 0
    there = ", ".join(
        head.name if head.channels == 1 else f"{head.name}:0 to {head.channels - 1}"
        for head in card.heads
        if not head.margin
    )
    raise BadInput("task_head", expected=f"one of {there or 'none'}", found=f"'{text}'")
