"""What a point spread function follows from: the objective, what lies before it, and the light."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from cellmill.errors import BadInput

Kind = Literal["widefield", "confocal", "light_sheet"]
Model = Literal["scalar", "vectorial"]
MODELS: tuple[Model, ...] = ("scalar", "vectorial")
KINDS: tuple[Kind, ...] = ("widefield", "confocal", "light_sheet")


@dataclass(frozen=True)
class Microscope:
    """A fluorescence microscope, as the model of Gibson and Lanni (1992) sees it.

    The objective is made for some immersion medium, a cover slip and a working distance
    (`design_…`). What is really there may differ; light then comes to no single focus, and the more
    so the deeper the point lies in the sample.

    Attributes:
        numerical_aperture: of the objective.
        emission_nm: wavelength of the light that is seen, in vacuum.
        kind: `widefield`; `confocal`, where light excites one point and passes a pinhole; or
            `light_sheet`, where a sheet from the side excites one plane.
        immersion_index: refractive index of what is between objective and cover slip; 1.0 air,
            1.33 water, 1.515 oil.
        sample_index: refractive index of the sample; 0 is that of the immersion medium.
        depth_um: how deep under the cover slip the point lies, µm.
        cover_slip_index, cover_slip_um: refractive index and thickness (µm) of the cover slip.
        design_immersion_index, design_cover_slip_index, design_cover_slip_um: what the objective is
            made for; 0 is what is there.
        working_distance_um: between objective and cover slip as designed, µm.
        excitation_nm: wavelength of the light that excites, for `confocal`; 0 is `emission_nm`.
        pinhole_airy: diameter of the pinhole in Airy units (1.22 λ/NA), for `confocal`; 0 is a
            point.
        sheet_um: thickness of the light sheet, full width at half maximum, µm, for `light_sheet`.
        model: `scalar`, as Gibson and Lanni; or `vectorial`, which counts polarisation and what
            surfaces let through (see there): wider by some percent at high numerical apertures.

    Raises:
        BadInput: a value is impossible.
    """

    numerical_aperture: float
    emission_nm: float
    kind: Kind = "widefield"
    immersion_index: float = 1.515
    sample_index: float = 0.0
    depth_um: float = 0.0
    cover_slip_index: float = 1.522
    cover_slip_um: float = 170.0
    design_immersion_index: float = 0.0
    design_cover_slip_index: float = 0.0
    design_cover_slip_um: float = 0.0
    working_distance_um: float = 150.0
    excitation_nm: float = 0.0
    pinhole_airy: float = 1.0
    sheet_um: float = 0.0
    model: Model = "scalar"

    def __post_init__(self) -> None:
        """Refuse what no microscope is."""
        if self.kind not in KINDS:
            raise BadInput("kind", expected=f"one of {', '.join(KINDS)}", found=repr(self.kind))
        if self.model not in MODELS:
            raise BadInput("model", expected=f"one of {', '.join(MODELS)}", found=repr(self.model))
        for name in ("numerical_aperture", "emission_nm", "working_distance_um"):
            self._within(name, 0, math.inf, open_below=True)
        for name in ("depth_um", "cover_slip_um", "design_cover_slip_um", "pinhole_airy"):
            self._within(name, 0, math.inf)
        self._within("excitation_nm", 0, math.inf)
        self._within("immersion_index", 1, 2.5)
        self._within("cover_slip_index", 1, 2.5)
        for name in ("sample_index", "design_immersion_index", "design_cover_slip_index"):
            if getattr(self, name):
                self._within(name, 1, 2.5)
        if self.numerical_aperture >= self.immersion_index:
            raise BadInput(
                "numerical_aperture",
                expected=f"below the immersion medium's refractive index {self.immersion_index:g}",
                found=f"{self.numerical_aperture:g}",
            )
        if self.kind == "light_sheet":
            self._within("sheet_um", 0, math.inf, open_below=True)

    def _within(self, name: str, low: float, high: float, *, open_below: bool = False) -> None:
        value = getattr(self, name)
        above = value > low if open_below else value >= low
        if not (above and value <= high and math.isfinite(value)):
            words = f"above {low:g}" if open_below else f"{low:g} or more"
            limit = "" if high == math.inf else f", at most {high:g}"
            raise BadInput(name, expected=f"{words}{limit}", found=f"{value:g}")

    @property
    def index_in_sample(self) -> float:
        """Refractive index of the sample."""
        return self.sample_index or self.immersion_index

    @property
    def pupil_radius(self) -> float:
        """Part of the aperture that light from the sample can pass: 1, less if indices are low."""
        lowest = min(self.immersion_index, self.index_in_sample, self.cover_slip_index)
        return min(1.0, lowest / self.numerical_aperture)
