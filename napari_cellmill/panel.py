"""What panels have in common: a form, a button that begins, progress, cancel, a line of result."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from napari.layers import Layer
from napari.utils.notifications import show_warning
from napari.viewer import Viewer
from qtpy.compat import isalive
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from cellmill.errors import BadInput, CellmillError
from napari_cellmill.jobs import Job, Report

#: Parts into which the progress bar is divided.
_PARTS = 1000


def number(what: str, text: str) -> float:
    """A number above 0 of a form.

    Raises:
        BadInput: it is none.
    """
    value = number_from_0(what, text)
    if not value:
        raise BadInput(what, expected="a number above 0", found=repr(text))
    return value


def number_from_0(what: str, text: str) -> float:
    """A number of a form that is 0 or more.

    Raises:
        BadInput: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise BadInput(what, expected="a number from 0", found=repr(text))
    return value


class LayerChoice(QComboBox):
    """A choice among the viewer's layers of one kind, kept up to date.

    Args:
        viewer: whose layers they are.
        kind: class of layer.
        optional: whether none may be chosen.
    """

    def __init__(self, viewer: Viewer, kind: type[Layer], *, optional: bool = False) -> None:
        super().__init__()
        self._viewer, self._kind, self._optional = viewer, kind, optional
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        events = viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered):
            event.connect(self.fill)
        self.fill()

    def fill(self, event: object = None) -> None:
        """List the layers again; what was chosen stays so, if it is still there."""
        if not isalive(self):
            return
        before = self.layer
        self.blockSignals(True)
        self.clear()
        if self._optional:
            self.addItem("none", None)
        for layer in self._viewer.layers:
            if isinstance(layer, self._kind):
                layer.events.name.connect(self._rename)
                self.addItem(layer.name, layer)
        self.choose(before)
        self.blockSignals(False)
        # Not `is`: napari hands plugins its objects each time in a new wrapper.
        if self.layer != before:
            self.currentIndexChanged.emit(self.currentIndex())

    def choose(self, layer: Layer | None) -> None:
        """Choose a layer, if it is among them."""
        for place in range(self.count()):
            if self.itemData(place) == layer:
                self.setCurrentIndex(place)

    @property
    def layer(self) -> Any:
        """The layer that is chosen, or None."""
        return self.currentData()

    def _rename(self, event: object = None) -> None:
        if not isalive(self):
            return
        for place in range(self.count()):
            if (layer := self.itemData(place)) is not None:
                self.setItemText(place, layer.name)


class Panel(QWidget):
    """A panel that begins one kind of work.

    Args:
        viewer: where layers are taken from and put.
        begin: what the button that begins says.
    """

    def __init__(self, viewer: Viewer, begin: str) -> None:
        super().__init__()
        self.viewer = viewer
        self.job: Job | None = None
        self._last: Job | None = None
        self.form = QFormLayout()
        self.form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.begin_button = QPushButton(begin)
        self.begin_button.clicked.connect(self.begin)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setEnabled(False)
        self.cancel_button.clicked.connect(self.cancel)
        self.bar = QProgressBar()
        self.bar.setRange(0, _PARTS)
        self.bar.setTextVisible(True)
        self.line = QLabel()
        self.line.setWordWrap(True)
        buttons = QHBoxLayout()
        buttons.addWidget(self.begin_button)
        buttons.addWidget(self.cancel_button)
        whole = QVBoxLayout(self)
        whole.addLayout(self.form)
        whole.addLayout(buttons)
        whole.addWidget(self.bar)
        whole.addWidget(self.line)
        whole.addStretch()

    def work(self) -> Callable[[Report], Any]:
        """What is to be done, with the form's values read; it runs in a thread.

        Raises:
            CellmillError: the form says something that cannot be done.
        """
        raise NotImplementedError

    def show_result(self, result: Any) -> str:
        """Put the result into the viewer, in the window's thread; return a line on it."""
        raise NotImplementedError

    def begin(self) -> None:
        """Begin; nothing where work is going on."""
        if self.job is not None:
            return
        try:
            work = self.work()
        except CellmillError as error:
            self._refused(str(error))
            return
        self.job = job = Job(work)
        job.progressed.connect(self._progressed)
        job.done.connect(self._done)
        job.refused.connect(self._refused)
        job.cancelled.connect(lambda: self.line.setText("cancelled"))
        job.ended.connect(self._ended)
        self.line.setText("")
        self.begin_button.setEnabled(False)
        self.cancel_button.setEnabled(True)
        job.start()

    def cancel(self) -> None:
        """End what is going on, as soon as it can."""
        if self.job is not None:
            self.cancel_button.setEnabled(False)
            self.line.setText("cancelling …")
            self.job.cancel()

    def closeEvent(self, event: Any) -> None:
        """End what is going on when the panel is closed."""
        self.cancel()
        super().closeEvent(event)

    def _progressed(self, step: str, part: float) -> None:
        self.bar.setFormat(f"{step} %p%")
        self.bar.setValue(round(part * _PARTS))

    def _done(self, result: Any) -> None:
        self.line.setText(self.show_result(result))

    def _refused(self, line: str) -> None:
        self.line.setText(line)
        show_warning(line)

    def _ended(self) -> None:
        # Its signal is still being delivered.
        self._last, self.job = self.job, None
        self.bar.reset()
        self.bar.setFormat("%p%")
        self.begin_button.setEnabled(True)
        self.cancel_button.setEnabled(False)
