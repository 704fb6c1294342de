"""*Segment*: image layers in, labels with their measurements out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image
from napari.viewer import Viewer
from qtpy.QtWidgets import QCheckBox, QComboBox, QLineEdit

from cellmill.errors import BadInput
from cellmill.measurement.measuring import measure_compartments
from cellmill.models.published import published_names
from cellmill.models.shipped import shipped_models
from cellmill.segmenter.result import Segmentation, SegmentationFacts
from cellmill.segmenter.segmenter import Segmenter
from napari_cellmill.jobs import Report
from napari_cellmill.layers import (
    Stacked,
    add_labels,
    channels_of,
    features_by_kind,
    finest,
    is_in_memory,
    label_levels,
    pixel_size,
    source_of,
)
from napari_cellmill.panel import LayerChoice, Panel, number

#: How many layers may be given as channels.
_CHANNELS = 3
#: Names of models that need no network of their own, beside those that ship.
_MODELS = ("voronoi_otsu", "Mesmer", "NuclearSegmentation", "CytoplasmSegmentation")


@dataclass(frozen=True)
class Segmented:
    """What came of one image.

    Attributes:
        name: of the image.
        like: the layer over which labels lie.
        facts: what was done.
        data: by kind of object what a labels layer shows.
        features: by kind of object.
        folder: where labels lie that are read by windows, as long as something holds it.
    """

    name: str
    like: Image
    facts: SegmentationFacts
    data: dict[str, Any]
    features: dict[str, Any]
    folder: object


@dataclass(frozen=True)
class _Asked:
    """The form's values."""

    model: str
    compartment: str
    mpp: tuple[float, ...] | None
    diameter: float | str | None
    volume: bool


class SegmentPanel(Panel):
    """Segments image layers by a model.

    An image that a layer shows from an OME-Zarr is read from there, and one that is larger than the
    memory that is given is worked on tile by tile.

    Args:
        napari_viewer: where layers are taken from and put.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, "Segment")
        self.channels = [
            LayerChoice(napari_viewer, Image, optional=place > 0) for place in range(_CHANNELS)
        ]
        self.model = QComboBox()
        self.model.setEditable(True)
        self.model.addItems([*shipped_models(), *_MODELS, *published_names()])
        self.model.setToolTip("a name, or the path or URI of a model's folder")
        self.compartment = QComboBox()
        self.compartment.setEditable(True)
        self.compartment.addItems(["", "nuclear", "whole-cell", "both"])
        self.compartment.setToolTip("kind of object; empty is the model's own")
        self.mpp = QLineEdit()
        self.mpp.setPlaceholderText("of the layer, if it has one")
        self.diameter = QLineEdit()
        self.diameter.setPlaceholderText("a number, auto, or empty: by the pixel size")
        self.volume = QCheckBox("all planes, as a volume")
        self.measured = QCheckBox("measure objects")
        self.measured.setChecked(True)
        self.memory = QLineEdit("1024")
        for place, choice in enumerate(self.channels, 1):
            self.form.addRow(f"channel {place}", choice)
        self.form.addRow("model", self.model)
        self.form.addRow("compartment", self.compartment)
        self.form.addRow("pixel size, µm", self.mpp)
        self.form.addRow("diameter, px", self.diameter)
        self.form.addRow("memory, MiB", self.memory)
        self.form.addRow("", self.volume)
        self.form.addRow("", self.measured)
        self._segmenter: tuple[tuple[str, str, int], Segmenter] | None = None

    def work(self) -> Callable[[Report], Segmented]:
        """Read the form."""
        layers = [each.layer for each in self.channels if each.layer is not None]
        if not layers:
            raise BadInput("channel 1", expected="an image layer", found="none")
        asked = _Asked(
            self.model.currentText().strip(),
            self.compartment.currentText().strip(),
            self._asked_mpp(layers[0]),
            _diameter(self.diameter.text()),
            self.volume.isChecked() and layers[0].ndim > 2,
        )
        memory = int(number("memory, MiB", self.memory.text()))
        measured = self.measured.isChecked()
        plane = None if asked.volume else [int(at) for at in self.viewer.dims.current_step]
        plane = plane[-layers[0].ndim :] if plane is not None else None
        name = layers[0].name

        def segment(report: Report) -> Segmented:
            report("load model", 0.0)
            segmenter = self._loaded(asked, memory)
            found, pixels = _segmented(segmenter, layers, plane, asked, report)
            features: dict[str, Any] = {}
            if measured:
                report("measure", 0.0)
                names = [each.name for each in layers] if len(layers) == pixels.shape[-1] else []
                table = measure_compartments(
                    found.labels,
                    pixels,
                    mpp=found.facts.mpp,
                    channel_names=names,
                    memory_mib=memory,
                )
                features = features_by_kind(table)
                report("measure", 1.0)
            data, folder = _shown(found)
            return Segmented(name, layers[0], found.facts, data, features, folder)

        return segment

    def show_result(self, result: Segmented) -> str:
        """Add the labels."""
        for kind, data in result.data.items():
            features = result.features.get(kind)
            layer = add_labels(self.viewer, f"{result.name}: {kind}", data, result.like, features)
            layer.metadata["cellmill_facts"] = result.facts.to_dict()
            layer.metadata["cellmill_folder"] = result.folder
        counted = ", ".join(f"{count} {kind}" for kind, count in result.facts.objects.items())
        remarks = "".join(f"\n{remark}" for remark in result.facts.remarks)
        seconds = sum(result.facts.seconds.values())
        return f"{counted} objects, {seconds:.1f} s{remarks}"

    def _loaded(self, asked: _Asked, memory: int) -> Segmenter:
        key = asked.model, asked.compartment, memory
        if self._segmenter is None or self._segmenter[0] != key:
            made = Segmenter(asked.model, compartment=asked.compartment or None, memory_mib=memory)
            self._segmenter = key, made
        return self._segmenter[1]

    def _asked_mpp(self, layer: Image) -> tuple[float, ...] | None:
        axes = 3 if self.volume.isChecked() and layer.ndim > 2 else 2
        text = self.mpp.text().strip()
        if text:
            return (number("pixel size, µm", text),) * axes
        known = pixel_size(layer)
        return known[-axes:] if known else None


def _diameter(text: str) -> float | str | None:
    given = text.strip().lower()
    if given in ("", "auto"):
        return given or None
    return number("diameter, px", given)


def _segmented(
    segmenter: Segmenter,
    layers: Sequence[Image],
    plane: Sequence[int] | None,
    asked: _Asked,
    report: Report,
) -> tuple[Segmentation, Any]:
    """Segment; the labels, and the pixels to measure."""
    told: dict[str, Any] = {"mpp": asked.mpp, "diameter": asked.diameter, "progress": report}
    file = source_of(layers)
    if file and layers[0].ndim == 2 and not is_in_memory(layers):
        uri, channels = file
        found = segmenter(uri, channels=channels, **told)
        return found, Stacked(tuple(finest(layer) for layer in layers))
    pixels = np.stack(channels_of(layers, plane=plane), axis=-1)
    return segmenter(pixels, z="all" if asked.volume else -1, **told), pixels


def _shown(found: Segmentation) -> tuple[dict[str, Any], object]:
    """What labels layers show: arrays in memory, or pyramids of those on disk."""
    if all(isinstance(each, np.ndarray) for each in found.labels.values()):
        return dict(found.labels), None
    folder = tempfile.TemporaryDirectory(prefix="cellmill-labels-")
    store = Path(folder.name) / "labels.zarr"
    found.write(store)
    return {kind: label_levels(store, kind) for kind in found.labels}, folder
