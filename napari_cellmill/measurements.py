"""*Measurements*: the table of a labels layer's objects; rows and objects are chosen together."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Labels
from napari.viewer import Viewer
from qtpy.compat import isalive
from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSortFilterProxyModel, Qt
from qtpy.QtWidgets import QAbstractItemView, QLabel, QTableView, QVBoxLayout, QWidget

from napari_cellmill.panel import LayerChoice

#: Columns by which an object is found in the image, in pixels, along Z, Y and X.
_CENTRE = ("centroid_z_px", "centroid_y_px", "centroid_x_px")


class FeatureTable(QAbstractTableModel):
    """The features of a layer as Qt's tables take them.

    Args:
        frame: a data frame, one row an object.
    """

    def __init__(self, frame: Any) -> None:
        super().__init__()
        self.frame = frame

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """How many objects."""
        return len(self.frame)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """How many features."""
        return len(self.frame.columns)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """A value: as text to show, as itself to sort by."""
        value = self.frame.iat[index.row(), index.column()]
        if role == Qt.ItemDataRole.UserRole:
            return value.item() if isinstance(value, np.generic) else value
        if role == Qt.ItemDataRole.DisplayRole:
            return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)
        return None

    def headerData(
        self, section: int, orientation: Any, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """The name of a feature."""
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            name = str(self.frame.columns[section])
            return "label" if name == "index" else name
        return None


class MeasurementsPanel(QWidget):
    """Shows the features of the labels layer that is chosen.

    A click on a row selects its label and brings it to the middle; a label that is picked in the
    image selects its row. A click on a column's name sorts.

    Args:
        napari_viewer: whose layers they are.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.layer: Labels | None = None
        self.choice = LayerChoice(napari_viewer, Labels)
        self.line = QLabel()
        self.table = QTableView()
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setSortingEnabled(True)
        self.table.clicked.connect(self._clicked)
        self.sorted = QSortFilterProxyModel()
        self.sorted.setSortRole(Qt.ItemDataRole.UserRole)
        whole = QVBoxLayout(self)
        whole.addWidget(self.choice)
        whole.addWidget(self.table)
        whole.addWidget(self.line)
        self.choice.currentIndexChanged.connect(self.show_layer)
        napari_viewer.layers.events.inserted.connect(self._choose_measured)
        self._choose_measured()
        self.show_layer()

    def show_layer(self, place: int = -1) -> None:
        """Show the features of the layer that is chosen."""
        if self.layer is not None:
            self.layer.events.selected_label.disconnect(self._picked)
            self.layer.events.features.disconnect(self._fill)
        self.layer = self.choice.layer
        if self.layer is not None:
            self.layer.events.selected_label.connect(self._picked)
            self.layer.events.features.connect(self._fill)
        self._fill()

    def _choose_measured(self, event: object = None) -> None:
        """Choose the uppermost layer that is measured, unless the one that is chosen is."""
        if not isalive(self) or _is_measured(self.choice.layer):
            return
        for layer in reversed(self.viewer.layers):
            if isinstance(layer, Labels) and _is_measured(layer):
                self.choice.choose(layer)
                return

    def row_of(self, label: int) -> int:
        """The row of a label in the order that is shown; -1 where there is none."""
        frame = self.sorted.sourceModel().frame
        if "index" not in frame:
            return -1
        places = np.flatnonzero(frame["index"].to_numpy() == label)
        if not len(places):
            return -1
        source = self.sorted.sourceModel().index(int(places[0]), 0)
        return self.sorted.mapFromSource(source).row()

    def _fill(self, event: object = None) -> None:
        if not isalive(self):
            return
        frame = self.layer.features if self.layer is not None else _nothing()
        self._model = FeatureTable(frame)
        self.sorted.setSourceModel(self._model)
        self.table.setModel(self.sorted)
        self.line.setText(f"{len(frame)} objects" if len(frame.columns) else "not measured")

    def _clicked(self, index: QModelIndex) -> None:
        row = self._model.frame.iloc[self.sorted.mapToSource(index).row()]
        if self.layer is None or "index" not in row:
            return
        self.layer.selected_label = int(row["index"])
        centre = [float(row[name]) for name in _CENTRE if name in row]
        if len(centre) == self.layer.ndim:
            at = self.layer.data_to_world(centre)
            self.viewer.camera.center = at
            if len(at) == 3:
                self.viewer.dims.set_point(0, at[0])

    def _picked(self, event: object = None) -> None:
        if not isalive(self):
            return
        if self.layer is not None and (row := self.row_of(self.layer.selected_label)) >= 0:
            self.table.selectRow(row)
            self.table.scrollTo(self.sorted.index(row, 0))


def _is_measured(layer: Labels | None) -> bool:
    return layer is not None and "index" in layer.features


def _nothing() -> Any:
    import pandas as pd

    return pd.DataFrame()
