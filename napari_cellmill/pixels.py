"""*Pixel classification*: scribbles are painted, probabilities follow in the visible field."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap
from napari.viewer import Viewer
from qtpy.compat import isalive
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QCheckBox, QFileDialog, QLabel, QLineEdit, QPushButton

from cellmill.errors import BadInput
from cellmill.pixel_classification.classifier import COLOURS
from cellmill.pixel_classification.feature_set import DEFAULT_SIGMAS
from cellmill.pixel_classification.training import TrainedPixelClassifier, train_pixel_classifier
from napari_cellmill.jobs import Job, Report
from napari_cellmill.layers import Stacked, channels_of, finest, placed_as
from napari_cellmill.live import Field, LiveClassifier
from napari_cellmill.panel import LayerChoice, Panel

_CHANNELS = 3
#: A larger field is classified about its middle, pixels a side.
MOST_VISIBLE = 2048
#: The view is waited for to come to rest, milliseconds.
_REST_MS = 150
#: Values of classes that have a colour of their own.
_CLASSES = len(COLOURS)


class PixelsPanel(Panel):
    """Teaches a pixel classifier by scribbles and shows what it has learnt at once.

    Args:
        napari_viewer: where layers are taken from and put.

    Attributes:
        seconds: that the last answer took, from the end of a stroke to probabilities.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, "Save classifier …")
        self.seconds = 0.0
        self.channels = [
            LayerChoice(napari_viewer, Image, optional=place > 0) for place in range(_CHANNELS)
        ]
        self.classes = QLineEdit("background, nuclear")
        self.classes.setToolTip("names of classes 1, 2, …; background is no object")
        self.sigmas = QLineEdit(", ".join(f"{sigma:g}" for sigma in DEFAULT_SIGMAS))
        self.paint = QPushButton("Paint scribbles")
        self.paint.clicked.connect(self.begin_scribbles)
        self.live = QCheckBox("probabilities follow")
        self.live.setChecked(True)
        self.live.toggled.connect(self.answer)
        self.how = QLabel()
        self.how.setWordWrap(True)
        self.how.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        for place, choice in enumerate(self.channels, 1):
            self.form.addRow(f"channel {place}", choice)
        for name, widget in (
            ("classes", self.classes),
            ("scales σ, px", self.sigmas),
            ("", self.paint),
            ("", self.live),
        ):
            self.form.addRow(name, widget)
        self.layout().insertWidget(self.layout().count() - 1, self.how)
        self.scribbles: Labels | None = None
        self._image: Any = None
        self._learner: LiveClassifier | None = None
        self._said: object = None
        self._folder = Path()
        self._answering: Job | None = None
        self._again = False
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(_REST_MS)
        self._rest.timeout.connect(self.answer)
        napari_viewer.camera.events.connect(self._moved)

    @property
    def busy(self) -> bool:
        """Whether an answer is being made, or another is asked for."""
        return self._answering is not None or self._again

    def begin_scribbles(self) -> None:
        """Add a layer to paint on, over the image; its values are the classes."""
        layers = self._layers()
        if not layers:
            self._refused("channel 1: expected an image layer, found none")
            return
        like = layers[0]
        shape = finest(like).shape[:2] if like.rgb else finest(like).shape
        if len(shape) != 2:
            self._refused(f"channel 1: expected one plane, found axes of {shape}")
            return
        self.scribbles = self.viewer.add_labels(
            np.zeros(shape, np.uint8),
            name=f"{like.name}: scribbles",
            colormap=_colours(),
            **placed_as(like, 2),
        )
        self.scribbles.brush_size = 5
        self.scribbles.selected_label = 1
        self.scribbles.mode = "paint"
        self.scribbles.events.paint.connect(self.answer)
        self._image, self._learner = layers[0], None
        self.line.setText("1 is the first class: paint some, then 2, …; key M takes a new one")

    def answer(self, event: object = None) -> None:
        """Learn from the scribbles and classify the visible field, in a thread.

        While one answer is being made, another is asked for once, when it is done.
        """
        if not isalive(self) or self.scribbles is None or not self.live.isChecked():
            return
        if self._answering is not None:
            self._again = True
            return
        begun = time.perf_counter()
        try:
            learner = self._learner_of()
        except BadInput as bad:
            self._refused(str(bad))
            return
        marks = np.array(self.scribbles.data)
        y, x = self._visible()

        def work(report: Report) -> tuple[Field | None, float]:
            learner.learn(marks)
            return learner.field(y, x), begun

        self._answering = job = Job(work)
        job.done.connect(self._answered)
        job.refused.connect(self._refused)
        job.ended.connect(self._ready)
        job.start()

    def begin(self) -> None:
        """Ask where the classifier is to be saved, then train the one to keep."""
        folder = QFileDialog.getSaveFileName(self, "Save the classifier as a folder", "classifier")
        if folder[0]:
            self.save_to(Path(folder[0]))

    def save_to(self, folder: Path) -> None:
        """Train the classifier to keep, of chosen trees and features, and save it.

        Args:
            folder: to make.
        """
        self._folder = folder
        super().begin()

    def work(self) -> Callable[[Report], TrainedPixelClassifier]:
        """Read the form and the scribbles."""
        folder, sigmas = self._folder, self._sigmas()
        if self.scribbles is None:
            raise BadInput("scribbles", expected="some of two classes", found="none")
        if folder.exists():
            raise BadInput(f"'{folder}'", expected="nothing there yet", found="something")
        marks = np.array(self.scribbles.data)
        pixels = np.stack(channels_of(self._layers()), axis=-1)
        names = [name.strip() for name in self.classes.text().split(",") if name.strip()]
        values = np.unique(marks[marks > 0]).tolist()
        if values and len(names) < values[-1]:
            expected = f"{values[-1]} names, for classes 1 to {values[-1]}"
            raise BadInput("classes", expected=expected, found=", ".join(names))
        named = [names[value - 1] for value in values]

        def train(report: Report) -> TrainedPixelClassifier:
            report("train", 0.0)
            trained = train_pixel_classifier(
                pixels, marks, classes=named, sigmas=sigmas, name=folder.name
            )
            report("save", 0.5)
            trained.save(folder)
            return trained

        return train

    def show_result(self, result: TrainedPixelClassifier) -> str:
        """Say how good it is and what can be done with it; show its probabilities from now on."""
        if self._learner is not None:
            self._learner.classifier = result.classifier
        forest, found = result.card.training["forest"], result.card.accuracy
        place = shlex.quote(str(self._folder))
        self.how.setText(
            f"saved: {self._folder}\n"
            f"A folder of images through the pipeline, from a clone of cellmill:\n"
            f"make run-pixels MODEL={place} IMAGE=FOLDER\n"
            f"One image: model {self._folder} in the panel Segment."
        )
        return (
            f"{forest['trees']} trees, depth {forest['depth']}; "
            f"accuracy out of bag {found['out_of_bag']:.3f}"
        )

    def _layers(self) -> list[Image]:
        return [each.layer for each in self.channels if each.layer is not None]

    def _sigmas(self) -> tuple[float, ...]:
        try:
            return tuple(float(each) for each in self.sigmas.text().split(","))
        except ValueError:
            found = repr(self.sigmas.text())
            raise BadInput(
                "scales σ", expected="numbers with commas between", found=found
            ) from None

    def _learner_of(self) -> LiveClassifier:
        """The learner of what the form says; a new one where that has changed."""
        layers = self._layers()
        said = (layers, self._sigmas())
        if self._learner is None or self._said != said:
            lazy = [finest(each) for each in layers]
            stacked = Stacked(tuple(channels_of(layers) if any(e.rgb for e in layers) else lazy))
            self._learner, self._said = LiveClassifier(stacked, said[1]), said
        return self._learner

    def _visible(self) -> tuple[slice, slice]:
        """The visible field, in pixels of the scribbles; about its middle where it is large."""
        assert self.scribbles is not None
        shape = self.scribbles.data.shape
        corners = self.scribbles.corner_pixels
        if not corners.any():
            # Nothing was drawn yet.
            corners = np.array([(0, 0), shape])
        found = []
        for low, high, side in zip(*corners, shape, strict=True):
            start, stop = max(int(low), 0), min(int(high) + 1, side)
            if stop - start > MOST_VISIBLE:
                start += (stop - start - MOST_VISIBLE) // 2
                stop = start + MOST_VISIBLE
            found.append(slice(start, max(stop, start + 1)))
        return found[0], found[1]

    def _moved(self, event: object = None) -> None:
        if isalive(self) and self.scribbles is not None and self._learner is not None:
            self._rest.start()

    def _answered(self, answer: tuple[Field | None, float]) -> None:
        field, begun = answer
        if field is None or self.scribbles is None:
            self.line.setText("a second class is still to be painted")
            return
        colours = _rgb([each.colour for each in field.classifier.classes])
        blended = (field.probabilities @ colours).round().astype(np.uint8)
        scale = np.asarray(self.scribbles.scale)
        place = np.asarray(self.scribbles.translate) + np.asarray(field.corner) * scale
        name = f"{self._image.name}: probabilities"
        if name in self.viewer.layers:
            layer = self.viewer.layers[name]
            layer.data, layer.translate = blended, place
        else:
            chosen = self.viewer.layers.selection.active
            layer = self.viewer.add_image(
                blended,
                name=name,
                rgb=True,
                opacity=0.5,
                **{**placed_as(self.scribbles, 2), "translate": place},
            )
            self.viewer.layers.move(
                self.viewer.layers.index(layer), self.viewer.layers.index(self.scribbles)
            )
            self.viewer.layers.selection.active = chosen
        layer.metadata["cellmill_field"] = field
        self.seconds = time.perf_counter() - begun
        shape = " × ".join(map(str, blended.shape[:2]))
        self.line.setText(f"{shape} px in {self.seconds:.2f} s")

    def _ready(self) -> None:
        # Its signal is still being delivered.
        self._answered_job, self._answering = self._answering, None
        if self._again:
            self._again = False
            self.answer()


def _rgb(colours: list[str]) -> np.ndarray:
    """Colours `#rrggbb` as `(K, 3)` float32, 0 to 255."""
    values = [[int(each[at : at + 2], 16) for at in (1, 3, 5)] for each in colours]
    return np.array(values, np.float32)


def _colours() -> DirectLabelColormap:
    """The classes' colours, by their values; a class without one is white."""
    from collections import defaultdict

    colours: dict[int | None, Any] = defaultdict(lambda: np.ones(4))
    colours |= {None: np.ones(4), 0: np.zeros(4)}
    colours |= {value: COLOURS[value - 1] for value in range(1, _CLASSES + 1)}
    return DirectLabelColormap(color_dict=colours)
