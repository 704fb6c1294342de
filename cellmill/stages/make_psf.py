"""The stage that makes a point spread function: computed, measured, or read from a file."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from cellmill.arrays.batch import Batch
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.files import write_text
from cellmill.contract import HTML, Images, Input, Output, PointSpread, Record, stage
from cellmill.errors import BadInput
from cellmill.reporting.psf import ShownPsf, render_psfs
from cellmill.restoration import Microscope, describe_psf, psf_of_beads
from cellmill.restoration import make_psf as compute_psf
from cellmill.restoration.psf_checks import centred_psf, psf_warnings
from cellmill.stages.shared.psfs import CHANNEL, pixels_of, voxel_size
from cellmill.stages.shared.reading import read_light
from cellmill.terminal import say
from cellmill.typed_json import without_nan

Size = tuple[float, ...]


@stage(image="imaging", family="restoration")
def make_psf(
    psf: Output[PointSpread],
    html: Output[HTML],
    record: Output[Record],
    images: Input[Images] | None = None,
    numerical_aperture: float = 0.0,
    emission_nm: str = "",
    kind: Literal["widefield", "confocal", "light_sheet"] = "widefield",
    model: Literal["scalar", "vectorial"] = "scalar",
    immersion_index: float = 1.515,
    sample_index: float = 0.0,
    depth_um: float = 0.0,
    cover_slip_index: float = 1.522,
    cover_slip_um: float = 170.0,
    working_distance_um: float = 150.0,
    excitation_nm: str = "",
    pinhole_airy: float = 1.0,
    sheet_um: float = 0.0,
    bead_image: str = "",
    bead_digest: str = "",
    psf_image: str = "",
    psf_digest: str = "",
    voxel_um: str = "",
    shape: str = "",
) -> None:
    """Make a point spread function: from the microscope, from an image of beads, or from a file.

    One of the three: the numerical aperture and the wavelength, `bead_image`, or `psf_image`. What
    comes out is centred, has sum 1, and is described: widths, centre, light at the rim.

    Args:
        psf: Batch with array `psf` (Z, Y, X) or (Y, X) float32, an entry for each channel that has
            a wavelength of its own and each voxel size.
        html: A page with pictures of it, its widths and what may be wrong with it.
        record: What was done, with times and versions.
        images: Batch of the images that it is for, whose voxel sizes count.
        numerical_aperture: Of the objective.
        emission_nm: Wavelength of the light that is seen, in vacuum, nm; several with commas
            between, one for each channel of the images.
        kind: Of microscope.
        model: scalar, as Gibson and Lanni; or vectorial, which counts polarisation and what
            surfaces let through, and is wider by some percent at high numerical apertures.
        immersion_index: Refractive index between objective and cover slip: 1.0 air, 1.33 water,
            1.515 oil.
        sample_index: Refractive index of the sample; 0 is that of the immersion medium.
        depth_um: How deep under the cover slip the sample lies, µm.
        cover_slip_index: Refractive index of the cover slip.
        cover_slip_um: Thickness of the cover slip, µm.
        working_distance_um: Between objective and cover slip as designed, µm.
        excitation_nm: Wavelengths of the light that excites, for confocal, nm, as many as of the
            emission; empty is the emission's.
        pinhole_airy: Diameter of the pinhole in Airy units, for confocal.
        sheet_um: Thickness of the light sheet, full width at half maximum, µm, for light_sheet.
        bead_image: Path or URI of an image of beads that are smaller than the function is wide.
        bead_digest: Digest of the beads' image; it is refused if it is another.
        psf_image: Path or URI of an image of the function itself.
        psf_digest: Digest of the function's image; it is refused if it is another.
        voxel_um: Voxel size in µm, z, y, x with commas between, or y, x for images of one plane.
            Empty: that of the images, or of the file.
        shape: Voxels along each axis, odd numbers with commas between. Empty: as many as hold all
            but 0.1 % of the peak; for beads 3 µm along z and 2 µm across.
    """
    sides = _numbers("shape", shape)
    if any(side != int(side) for side in sides):
        raise BadInput("shape", expected="odd whole numbers", found=repr(shape))
    made = _Making(_numbers("voxel_um", voxel_um), tuple(map(int, sides)), images)
    given = [name for name, value in _sources(numerical_aperture, bead_image, psf_image) if value]
    if len(given) != 1:
        raise BadInput(
            "PSF",
            expected="one of numerical_aperture, bead_image and psf_image",
            found=" and ".join(given) or "none of them",
        )
    if bead_image:
        found = made.from_beads(bead_image, bead_digest)
    elif psf_image:
        found = made.from_file(psf_image, psf_digest)
    else:
        microscopes = _microscopes(
            emission_nm,
            excitation_nm,
            numerical_aperture=numerical_aperture,
            kind=kind,
            model=model,
            immersion_index=immersion_index,
            sample_index=sample_index,
            depth_um=depth_um,
            cover_slip_index=cover_slip_index,
            cover_slip_um=cover_slip_um,
            working_distance_um=working_distance_um,
            pinhole_airy=pinhole_airy,
            sheet_um=sheet_um,
        )
        found = made.from_microscopes(microscopes)
    shown: list[ShownPsf] = []
    with BatchWriter(psf.path) as out, record.step("make"):
        for each in found:
            out.write(
                each.name,
                {"psf": each.values},
                axes={"psf": "ZYX"[-each.values.ndim :]},
                mpp=each.voxel_um,
                mpp_source=each.mpp_source,
                attributes={
                    **each.about,
                    "facts": without_nan(asdict(each.facts)) if each.facts else None,
                    "warnings": [*each.warnings],
                },
            )
            for line in each.warnings:
                say(f"{each.name}: warning: {line}", to=sys.stderr)
            shown.append(each)
    record.note(psfs={each.name: each.plain() for each in shown})
    psf.metadata["functions"] = len(shown)
    write_text(html.path, render_psfs(shown))


@dataclass(frozen=True)
class _Making:
    """What was said of voxels and shape.

    Attributes:
        voxel_um: as it was given; empty: that of images or files.
        shape: as it was given; empty: what holds the function.
        images: that it is for.
    """

    voxel_um: Size
    shape: tuple[int, ...]
    images: Images | None

    def from_microscopes(self, microscopes: Sequence[Microscope]) -> Iterator[ShownPsf]:
        """Compute a function for each voxel size and channel."""
        sizes = self._sizes()
        several = len(microscopes) > 1
        for place, (size, source) in enumerate(sizes.items()):
            for channel, microscope in enumerate(microscopes):
                name = "psf" + (f"-channel-{channel}" if several else "")
                name += f"-size-{place}" if len(sizes) > 1 else ""
                values = compute_psf(microscope, size, self.shape or None)
                about: dict[str, Any] = {"source": "microscope", "microscope": asdict(microscope)}
                if several:
                    about[CHANNEL] = channel
                yield _described(name, values, size, source, about)

    def from_beads(self, uri: str, digest: str) -> Iterator[ShownPsf]:
        """Measure the function on beads."""
        light = read_light(uri, digest)
        size = self.voxel_um or light.mpp or None
        shape = self.shape or _shape_of_beads(size, light.pixels.shape, uri)
        found = psf_of_beads(light.pixels, shape)
        used = sum(bead.used for bead in found.beads)
        about = {
            "source": "beads",
            "file": uri,
            "beads": [asdict(bead) for bead in found.beads],
            "beads_used": used,
        }
        source = "given" if self.voxel_um else light.mpp_source
        said = ["measured on one bead: its noise and its shape are in it"] if used == 1 else []
        yield _described("psf", centred_psf(found.psf), size, source, about, said)

    def from_file(self, uri: str, digest: str) -> Iterator[ShownPsf]:
        """Take the function from a file."""
        light = read_light(uri, digest)
        values = centred_psf(light.pixels)
        said = []
        if values.shape != light.pixels.shape:
            was, now = (" × ".join(map(str, s)) for s in (light.pixels.shape, values.shape))
            said.append(f"cut from {was} to {now} voxels, so that its point is in the middle")
        size = self.voxel_um or light.mpp or None
        source = "given" if self.voxel_um else light.mpp_source
        yield _described("psf", values, size, source, {"source": "file", "file": uri}, said)

    def _sizes(self) -> dict[Size, str]:
        """Voxel sizes that functions are wanted for, and where each came from."""
        if self.voxel_um:
            return {self.voxel_um: "given"}
        found: dict[Size, str] = {}
        batch = Batch.open(self.images.path) if self.images else None
        for entry in batch.entries if batch else ():
            if entry.ok and batch:
                size = voxel_size(entry, len(pixels_of(batch, entry).shape) - 1)
                if size is not None:
                    found.setdefault(size, entry.mpp_source)
        if not found:
            what = "images of unknown voxel size" if batch else "neither"
            raise BadInput(
                "voxel size of a PSF",
                expected="images that know theirs (mpp and z_step say it), or voxel_um=z,y,x in µm",
                found=what,
            )
        return found


def _described(
    name: str,
    values: np.ndarray,
    size: Size | None,
    source: str,
    about: dict[str, Any],
    said: Sequence[str] = (),
) -> ShownPsf:
    if size is not None and len(size) != values.ndim:
        raise BadInput(
            "voxel_um", expected=f"{values.ndim} sizes, one an axis of the PSF", found=f"{size}"
        )
    facts = describe_psf(values, size) if size else None
    warnings = [*said, *(psf_warnings(facts, size) if facts and size else ())]
    if size is None:
        warnings.append("its voxel size is unknown: whether it fits an image cannot be checked")
    return ShownPsf(name, values, size, source, facts, tuple(warnings), about)


def _sources(aperture: float, beads: str, file: str) -> tuple[tuple[str, Any], ...]:
    return (("numerical_aperture", aperture), ("bead_image", beads), ("psf_image", file))


def _microscopes(emission: str, excitation: str, **same: Any) -> list[Microscope]:
    """A microscope for each wavelength."""
    seen, lit = _numbers("emission_nm", emission), _numbers("excitation_nm", excitation)
    if not seen:
        raise BadInput("emission_nm", expected="wavelengths in nm", found="nothing")
    if lit and len(lit) != len(seen):
        raise BadInput("excitation_nm", expected=f"{len(seen)}, as of emission", found=excitation)
    pairs = zip(seen, lit or (0.0,) * len(seen), strict=True)
    return [Microscope(emission_nm=e, excitation_nm=x, **same) for e, x in pairs]


def _numbers(name: str, text: str) -> tuple[float, ...]:
    """Numbers with commas between.

    Raises:
        BadInput: one is none, or not above 0.
    """
    try:
        found = tuple(float(part) for part in text.split(",")) if text.strip() else ()
    except ValueError:
        found = (math.nan,)
    if not all(0 < each < math.inf for each in found):
        raise BadInput(name, expected="numbers above 0 with commas between", found=repr(text))
    return found


def _shape_of_beads(size: Size | None, image: tuple[int, ...], uri: str) -> tuple[int, ...]:
    """Odd numbers of voxels that hold 3 µm along z and 2 µm across."""
    if size is None:
        raise BadInput(
            f"beads '{uri}'",
            expected="a voxel size in the file, or voxel_um, or the PSF's shape",
            found="none of them",
        )
    wanted = (3.0, 2.0, 2.0)[-len(image) :]
    if len(size) != len(image):
        raise BadInput("voxel_um", expected=f"{len(image)} sizes", found=f"{size}")
    return tuple(
        max(3, min(2 * round(length / each / 2) + 1, side - 1 + side % 2))
        for length, each, side in zip(wanted, size, image, strict=True)
    )
