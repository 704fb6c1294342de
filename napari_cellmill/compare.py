"""*Compare*: two label layers; each object in the colour of what became of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from napari.viewer import Viewer

from cellmill.errors import BadInput
from cellmill.labels.pairs import pair_labels
from cellmill.metrics.matching import match
from cellmill.metrics.object_errors import OUTCOMES, outcome_of_each
from napari_cellmill.jobs import Report
from napari_cellmill.layers import finest, placed_as
from napari_cellmill.panel import LayerChoice, Panel

#: Colours that are told apart with any colour vision (M. Okabe and K. Ito, 2008).
COLOURS = {
    "matched": "#009e73",
    "missed": "#d55e00",
    "gained": "#cc79a7",
    "merged": "#e69f00",
    "split": "#56b4e9",
    "confused": "#f0e442",
}


@dataclass(frozen=True)
class Compared:
    """What came of two layers.

    Attributes:
        like: the layer of true objects.
        image: uint8 of its shape: 0, or 1 + the place of the outcome in `OUTCOMES`; where there is
            no true object that of the predicted one.
        truth: the outcome of each true object, by label.
        predicted: of each predicted object.
        line: what is said of them.
    """

    like: Labels
    image: np.ndarray
    truth: dict[int, str]
    predicted: dict[int, str]
    line: str


class ComparePanel(Panel):
    """Compares two label layers: matched, missed, gained, merged, split, confused.

    Args:
        napari_viewer: where layers are taken from and put.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, "Compare")
        self.truth = LayerChoice(napari_viewer, Labels)
        self.predicted = LayerChoice(napari_viewer, Labels)
        self.predicted.setCurrentIndex(self.predicted.count() - 1)
        self.form.addRow("true objects", self.truth)
        self.form.addRow("compared with", self.predicted)
        self.line.setTextFormat(self.line.textFormat().RichText)

    def work(self) -> Callable[[Report], Compared]:
        """Read the form."""
        truth, predicted = self.truth.layer, self.predicted.layer
        if truth is None or truth == predicted:
            found = "none" if truth is None else "one twice"
            raise BadInput("layers", expected="two label layers", found=found)

        def compare(report: Report) -> Compared:
            report("compare", 0.0)
            true, pred = np.asarray(finest(truth)[...]), np.asarray(finest(predicted)[...])
            pairs = pair_labels(true, pred)
            report("compare", 0.5)
            of_true, of_pred = outcome_of_each(pairs)
            image = _painted(true, pairs.truth.labels, of_true)
            free = image == 0
            image[free] = _painted(pred[free], pairs.predicted.labels, of_pred)
            scored = match(pairs, 0.5)
            line = (
                f"{_legend(of_true, of_pred)}<br>at IoU 0.5: F1 {scored.f1:.3f}, "
                f"AP {scored.average_precision:.3f}"
            )
            return Compared(
                truth,
                image,
                _named(pairs.truth.labels, of_true),
                _named(pairs.predicted.labels, of_pred),
                line,
            )

        return compare

    def show_result(self, result: Compared) -> str:
        """Add the layer of outcomes."""
        name = f"{result.like.name}: compared"
        if name in self.viewer.layers:
            self.viewer.layers.remove(name)
        transparent = np.zeros(4)
        colours: dict[int | None, Any] = defaultdict(lambda: transparent)
        colours |= {None: transparent}
        colours |= {place: COLOURS[each] for place, each in enumerate(OUTCOMES, 1)}
        layer = self.viewer.add_labels(
            result.image,
            name=name,
            colormap=DirectLabelColormap(color_dict=colours),
            features={"index": [*range(1, len(OUTCOMES) + 1)], "outcome": [*OUTCOMES]},
            **placed_as(result.like, result.image.ndim),
        )
        layer.metadata["cellmill_outcomes"] = {
            "truth": result.truth,
            "predicted": result.predicted,
        }
        return result.line


def _painted(labels: np.ndarray, objects: np.ndarray, outcomes: np.ndarray) -> np.ndarray:
    """Each object's outcome in the place of its label, from 1."""
    if not len(objects):
        return np.zeros(labels.shape, np.uint8)
    places = np.searchsorted(objects, labels).clip(max=len(objects) - 1)
    return np.where(labels > 0, outcomes[places] + 1, 0).astype(np.uint8)


def _named(objects: np.ndarray, outcomes: np.ndarray) -> dict[int, str]:
    pairs = zip(objects.tolist(), outcomes.tolist(), strict=True)
    return {label: OUTCOMES[outcome] for label, outcome in pairs}


def _legend(of_true: np.ndarray, of_pred: np.ndarray) -> str:
    """How many true objects had which outcome, and how many predicted ones were gained."""
    counts = np.bincount(of_true, minlength=len(OUTCOMES))
    gained = OUTCOMES.index("gained")
    counts[gained] = np.count_nonzero(of_pred == gained)
    return "<br>".join(
        f"<span style='color:{COLOURS[name]}'>■</span> {name}: {count}"
        for name, count in zip(OUTCOMES, counts.tolist(), strict=True)
    )
