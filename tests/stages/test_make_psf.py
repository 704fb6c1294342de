"""The stage that makes point spread functions: from a microscope, for images, refused in a line."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cellmill.arrays.batch import MANIFEST, Batch
from cellmill.contract import HTML, PointSpread, Record
from cellmill.contract.recording import to_json
from cellmill.errors import BadInput
from cellmill.restoration import Camera, Microscope, blur, describe_psf, expose
from cellmill.restoration import make_psf as compute_psf
from cellmill.stages.make_psf import make_psf
from cellmill.stages.shared.reading import read_light
from tests.stages.restoration import VOXEL, WATER, made_psf, read, write_images


def test_it_is_the_sciences_and_says_what_it_is(tmp_path):
    psf, record = made_psf(tmp_path)
    microscope = Microscope(1.0, 520, immersion_index=1.33)
    assert np.array_equal(read(psf, key="psf"), compute_psf(microscope, VOXEL, (11, 15, 15)))
    (entry,) = Batch.open(psf.path).entries
    assert entry.mpp == VOXEL
    assert entry.arrays["psf"].axes == "ZYX"
    facts = record.notes["psfs"]["psf"]["facts"]
    assert facts["total"] == pytest.approx(1, abs=1e-6)
    assert facts["centre_offset_px"] == pytest.approx((0, 0, 0), abs=1e-6)
    assert 0.9 < facts["fwhm_um"][0] < 1.2
    page = (tmp_path / "psf.html").read_text()
    assert page.count("data:image/png") == 3
    assert "full width at half maximum" in page


def test_a_width_that_is_not_reached_is_null_in_strict_json(tmp_path):
    psf, record = made_psf(tmp_path, **WATER, voxel_um="0.3,0.15,0.15", shape="3,3,3")
    manifest = (Path(psf.path) / MANIFEST).read_text()
    for text in (manifest, to_json({"psfs": record.notes["psfs"], "unknown": math.inf})):
        json.loads(text, parse_constant=pytest.fail)
    (entry,) = Batch.open(psf.path).entries
    assert None in entry.attributes["facts"]["fwhm_um"]


def test_there_is_one_for_each_wavelength_and_each_voxel_size_of_the_images(tmp_path):
    volume = np.ones((4, 8, 8, 2), np.uint16)
    with_sizes = {"a": volume, "b": volume}
    images = write_images(tmp_path / "images", with_sizes)
    psf, record = PointSpread(tmp_path / "psf"), Record(tmp_path / "record.json")
    two = {**WATER, "emission_nm": "450, 600", "shape": "5,7,7"}
    make_psf(psf, HTML(tmp_path / "psf.html"), record, images, **two)
    blue, red = Batch.open(psf.path).entries
    assert (blue.attributes["channel"], red.attributes["channel"]) == (0, 1)
    widths = [each.attributes["facts"]["fwhm_um"][1] for each in (blue, red)]
    assert widths[1] / widths[0] == pytest.approx(600 / 450, rel=0.1)


def test_images_of_one_plane_get_the_plane_in_focus(tmp_path):
    images = write_images(tmp_path / "images", {"a": np.ones((8, 8, 1), np.uint8)})
    psf, record = PointSpread(tmp_path / "psf"), Record(tmp_path / "record.json")
    make_psf(psf, HTML(tmp_path / "psf.html"), record, images, **WATER, shape="9,9")
    assert read(psf, key="psf").shape == (9, 9)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({}, "PSF: expected one of numerical_aperture, bead_image and psf_image, found none"),
        ({**WATER, "bead_image": "b.tif"}, "found numerical_aperture and bead_image"),
        ({**WATER, "emission_nm": ""}, "emission_nm: expected wavelengths in nm, found nothing"),
        ({**WATER, "emission_nm": "5a"}, "emission_nm: expected numbers above 0"),
        (WATER, "voxel size of a PSF: expected images .* or voxel_um=z,y,x in µm"),
        ({**WATER, "voxel_um": "0.1,0"}, "voxel_um: expected numbers above 0"),
        ({**WATER, "voxel_um": "0.1", "shape": "3"}, "spacing: expected 2 or 3 sizes"),
        ({**WATER, "numerical_aperture": 1.4}, "numerical_aperture: expected below"),
        ({**WATER, "voxel_um": "1,1,1", "shape": "4,5,5"}, "shape of a PSF: expected 3 odd"),
    ],
)
def test_what_no_function_follows_from_is_one_line(tmp_path, given, line):
    with pytest.raises(BadInput, match=line):
        made_psf(tmp_path, **(given or {"kind": "widefield"}))
    assert not (tmp_path / "psf" / "manifest.json").exists()


def test_coarse_voxels_are_warned_of(tmp_path):
    given = {**WATER, "voxel_um": "1,0.4,0.4", "shape": "5,7,7"}
    _, record = made_psf(tmp_path, **given)
    warnings = record.notes["psfs"]["psf"]["warnings"]
    assert any("fewer than 2 samples" in line for line in warnings)


def written(path, volume, voxel=VOXEL):
    about = {"axes": "ZYX", "PhysicalSizeZ": voxel[0], "PhysicalSizeZUnit": "µm"}
    about |= {f"PhysicalSize{a}": s for a, s in zip("YX", voxel[1:], strict=True)}
    tifffile.imwrite(path, volume, metadata=about, ome=True)
    return str(path)


def test_a_function_from_a_file_is_centred_and_knows_its_voxels(tmp_path):
    true = compute_psf(Microscope(1.0, 520, immersion_index=1.33), VOXEL, (11, 15, 15))
    moved = np.pad(true * 1e6, ((2, 0), (0, 4), (0, 0))).astype(np.float32)
    path = written(tmp_path / "psf.ome.tif", moved)
    psf, record = made_psf(tmp_path / "out", psf_image=path)
    assert np.allclose(read(psf, key="psf"), true, atol=1e-6)
    (entry,) = Batch.open(psf.path).entries
    assert entry.mpp == pytest.approx(VOXEL)
    assert any("cut from 13 × 19 × 15" in s for s in record.notes["psfs"]["psf"]["warnings"])


def test_a_single_plane_knows_its_pixels(tmp_path):
    path = tmp_path / "plane.ome.tif"
    told = {"axes": "YX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.2}
    tifffile.imwrite(path, np.ones((9, 11), np.uint16), ome=True, metadata=told)
    light = read_light(str(path))
    assert (light.pixels.shape, light.mpp) == ((9, 11), (0.2, 0.1))


def test_beads_give_the_function_that_blurred_them(tmp_path):
    true = compute_psf(Microscope(1.0, 520, immersion_index=1.33), VOXEL, (11, 15, 15))
    light = np.zeros((21, 90, 90), np.float32)
    for z, y, x in ((10, 20, 22), (9, 60, 24), (11, 25, 66), (10, 64, 62)):
        light[z, y, x] = 1
    camera = Camera(photons=3000, background_photons=20, bits=16)
    path = written(tmp_path / "beads.ome.tif", expose(blur(light, true), camera))
    _, record = made_psf(tmp_path / "out", bead_image=path, shape="9,13,13")
    note = record.notes["psfs"]["psf"]
    assert note["beads_used"] == 4
    widths = note["facts"]["fwhm_um"]
    assert widths == pytest.approx(describe_psf(true, VOXEL).fwhm_um, rel=0.12)
    assert "beads in the mean" in (tmp_path / "out" / "psf.html").read_text()


def test_files_that_are_none_are_one_line(tmp_path):
    flat = np.zeros((9, 20, 20), np.uint16)
    with pytest.raises(BadInput, match="expected finite values from 0 with a sum above 0"):
        made_psf(tmp_path / "a", psf_image=written(tmp_path / "flat.ome.tif", flat))
    with pytest.raises(BadInput, match="beads: expected some that stand alone"):
        made_psf(tmp_path / "b", bead_image=str(tmp_path / "flat.ome.tif"))
    with pytest.raises(BadInput, match=r"expected .*, found"):
        made_psf(tmp_path / "c", psf_image=str(tmp_path / "none.tif"))


def test_the_vectorial_model_is_wider_across_and_said_so(tmp_path):
    given = {"numerical_aperture": 1.4, "emission_nm": "520", "shape": "9,21,21"}
    widths = {}
    for model in ("scalar", "vectorial"):
        folder = tmp_path / model
        _, record = made_psf(folder, **given, model=model, voxel_um="0.1,0.04,0.04")
        widths[model] = record.notes["psfs"]["psf"]["facts"]["fwhm_um"][1]
        assert f"widefield, {model} model, NA 1.4" in (folder / "psf.html").read_text()
    assert widths["vectorial"] > 1.05 * widths["scalar"]
