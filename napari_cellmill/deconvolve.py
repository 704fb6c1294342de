"""*Deconvolve*: the light of an image layer put back where it came from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image
from napari.viewer import Viewer
from qtpy.QtWidgets import QCheckBox, QComboBox, QLineEdit

from cellmill.errors import BadInput
from cellmill.restoration.assessment import photon_gain_of
from cellmill.restoration.deconvolution import deconvolve
from cellmill.restoration.microscope import KINDS, MODELS, Microscope
from cellmill.restoration.psf import describe_psf, make_psf
from cellmill.restoration.psf_checks import centred_psf, psf_warnings
from napari_cellmill.jobs import Report
from napari_cellmill.layers import channels_of, pixel_size, placed_as
from napari_cellmill.panel import LayerChoice, Panel, number, number_from_0


@dataclass(frozen=True)
class Sharpened:
    """What came of one layer.

    Attributes:
        like: the layer.
        image: float32 of its shape.
        remarks: what is to be known of the point spread function.
        curve: the I-divergence before the first and the last iteration.
        iterations: that were made.
    """

    like: Image
    image: np.ndarray
    remarks: tuple[str, ...]
    curve: tuple[float, float]
    iterations: int


class DeconvolvePanel(Panel):
    """Deconvolves an image layer of one plane or a volume, by Richardson-Lucy.

    The point spread function follows from the microscope, or is a layer.

    Args:
        napari_viewer: where layers are taken from and put.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, "Deconvolve")
        self.image = LayerChoice(napari_viewer, Image)
        self.psf = LayerChoice(napari_viewer, Image, optional=True)
        self.psf.setToolTip("none: computed from the microscope")
        self.kind = QComboBox()
        self.kind.addItems(KINDS)
        self.model = QComboBox()
        self.model.addItems(MODELS)
        self.voxel = QLineEdit()
        self.voxel.setPlaceholderText("of the layer, or as 0.3,0.1,0.1")
        self.aperture, self.emission = QLineEdit("1.0"), QLineEdit("520")
        self.immersion = QLineEdit("1.33")
        self.iterations, self.variation = QLineEdit("50"), QLineEdit("0.002")
        self.consensus, self.gain = QCheckBox(), QLineEdit("0")
        self.consensus.setToolTip("ends by itself, after so many iterations at most")
        self.gain.setToolTip("grey levels a photon, for consensus; 0 estimates them")
        self.background, self.offset = QLineEdit("0"), QLineEdit("0")
        self.offset.setToolTip("what the camera adds without light; it is taken off first")
        for name, widget in (
            ("image", self.image),
            ("PSF", self.psf),
            ("microscope", self.kind),
            ("model of light", self.model),
            ("voxel, µm", self.voxel),
            ("numerical aperture", self.aperture),
            ("emission, nm", self.emission),
            ("immersion index", self.immersion),
            ("iterations", self.iterations),
            ("total variation", self.variation),
            ("consensus", self.consensus),
            ("gain", self.gain),
            ("background", self.background),
            ("offset of the camera", self.offset),
        ):
            self.form.addRow(name, widget)

    def work(self) -> Callable[[Report], Sharpened]:
        """Read the form."""
        layer, psf_layer = self.image.layer, self.psf.layer
        if layer is None or layer.rgb:
            found = "none" if layer is None else "a colour image"
            raise BadInput("image", expected="an image layer of one channel", found=found)
        voxel = self._voxel(layer)
        microscope = None
        if psf_layer is None:
            if voxel is None:
                expected = "its size in µm, as 0.3,0.1,0.1"
                raise BadInput("voxel, µm", expected=expected, found="none")
            microscope = Microscope(
                numerical_aperture=number("numerical aperture", self.aperture.text()),
                emission_nm=number("emission, nm", self.emission.text()),
                kind=self.kind.currentText(),
                model=self.model.currentText(),
                immersion_index=number("immersion index", self.immersion.text()),
            )
        iterations = int(number("iterations", self.iterations.text()))
        variation = number_from_0("total variation", self.variation.text())
        background = number_from_0("background", self.background.text())
        offset = number_from_0("offset of the camera", self.offset.text())
        consensus, asked = self.consensus.isChecked(), number_from_0("gain", self.gain.text())

        def sharpen(report: Report) -> Sharpened:
            report("PSF", 0.0)
            if microscope is not None and voxel is not None:
                psf = make_psf(microscope, voxel)
            else:
                psf = centred_psf(np.asarray(channels_of([psf_layer])[0]))
            remarks = psf_warnings(describe_psf(psf, voxel), voxel) if voxel else ()
            (acquired,) = channels_of([layer])
            light = np.asarray(acquired, np.float32)
            if offset:
                light = np.maximum(light - np.float32(offset), 0)
            gain = _gain(light, psf, asked) if consensus else 1.0
            found = deconvolve(
                light,
                psf,
                iterations=iterations,
                total_variation=variation,
                spacing=voxel,
                consensus=consensus,
                gain=gain,
                background=background,
                progress=lambda count, _: report("deconvolve", count / iterations),
            )
            curve = found.curve[0].divergence, found.curve[-1].divergence
            return Sharpened(layer, found.image, remarks, curve, len(found.curve))

        return sharpen

    def show_result(self, result: Sharpened) -> str:
        """Add the restored image over the other."""
        name = f"{result.like.name}: deconvolved"
        if name in self.viewer.layers:
            self.viewer.layers.remove(name)
        self.viewer.add_image(
            result.image,
            name=name,
            colormap=result.like.colormap.name,
            **placed_as(result.like, result.image.ndim),
        )
        first, last = result.curve
        said = "".join(f"\n{remark}" for remark in result.remarks)
        made = f"{result.iterations} iterations"
        return f"I-divergence a voxel {first:.4g} → {last:.4g}, {made}{said}"

    def _voxel(self, layer: Any) -> tuple[float, ...] | None:
        text = self.voxel.text().strip()
        if not text:
            return pixel_size(layer)
        sizes = tuple(number("voxel, µm", part) for part in text.split(","))
        sizes = sizes * layer.ndim if len(sizes) == 1 else sizes
        if len(sizes) != layer.ndim:
            raise BadInput("voxel, µm", expected=f"{layer.ndim} sizes", found=text)
        return sizes


def _gain(light: np.ndarray, psf: np.ndarray, asked: float) -> float:
    """Grey levels a photon, as asked or estimated; BadInput where they cannot be."""
    gain = asked or photon_gain_of(light, psf)
    if math.isnan(gain):
        expected = "grey levels a photon, as its noise cannot be told from its detail"
        raise BadInput("gain", expected=expected, found="0, to estimate it")
    return gain
