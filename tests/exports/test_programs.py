"""The forms of other programs: the same findings give the same bytes, and readers take them."""

import io
import zipfile
from dataclasses import dataclass

import numpy as np
import pytest
import roifile
import tifffile

from cellmill.errors import BadInput
from cellmill.exports.cellpose import write_cellpose
from cellmill.exports.programs import PROGRAMS, Findings, check_volumes, programs_of
from cellmill.measurement import measure_compartments
from tests.exports.test_geojson import cells
from tests.exports.test_outlines import filled


def findings():
    labels = cells()
    labels["whole_cell"][20:24, 50:54] = 0
    image = np.random.default_rng(0).integers(0, 1000, (80, 120, 4)).astype(np.uint16)
    table = measure_compartments(labels, image, mpp=(0.5, 0.4))
    names = [f"channel_{k}" for k in range(4)]
    return Findings("a", image, names, labels, table, (0.5, 0.4), (2,), {"model": "m 1"})


def written(name, folder, found):
    """What a program is given: the bytes of each file by its path."""
    program = PROGRAMS[name]
    if not program.folder:
        file = io.BytesIO()
        program.write(file, found)
        return {f"a.{program.suffix}": file.getvalue()}
    folder.mkdir()
    program.write(folder, found)
    paths = [p for p in folder.rglob("*") if p.is_file()]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


@pytest.mark.parametrize("name", [name for name in PROGRAMS if not PROGRAMS[name].series])
def test_the_same_findings_give_the_same_bytes(name, tmp_path):
    first = written(name, tmp_path / "a", findings())
    assert first == written(name, tmp_path / "b", findings())
    assert first


def test_forms_are_named_by_the_user_and_unknown_ones_refused():
    assert programs_of("") == ()
    with pytest.raises(BadInput, match=r"EXPORT: expected of geojson, .*, found qupath"):
        programs_of("geojson,qupath", "EXPORT")


def test_a_volume_is_refused_by_forms_of_planes_and_the_others_are_named():
    check_volumes(["anndata"], True, "image 'a'")
    with pytest.raises(BadInput, match="one plane for rois; of a volume: anndata, spatialdata"):
        check_volumes(["anndata", "rois"], True, "image 'a'")


def test_regions_filled_again_are_the_labels(tmp_path):
    """Traced regions, and composite ones of objects with holes or in parts."""
    found = findings()
    (data,) = written("rois", tmp_path, found).values()
    (tmp_path / "rois.zip").write_bytes(data)
    again = {kind: np.zeros((80, 120), np.int32) for kind in found.labels}
    types = set()
    for roi in roifile.roiread(tmp_path / "rois.zip"):
        kind, label = roi.name.split(" ")
        rings = roi.coordinates(multi=True)
        rings = rings if isinstance(rings, list) else [rings]
        rings = [np.asarray(ring, np.int64) for ring in rings]
        rings = [ring[:-1] if (ring[0] == ring[-1]).all() else ring for ring in rings]
        part = type("Part", (), {"outer": rings[0], "holes": rings[1:]})
        again[kind][filled([part], (80, 120))] = int(label)
        types.add(roi.roitype)
        corners = np.concatenate(rings)
        assert (roi.left, roi.top) == tuple(corners.min(axis=0))
        assert (roi.right, roi.bottom) == tuple(corners.max(axis=0))
    assert types == {roifile.ROI_TYPE.TRACED, roifile.ROI_TYPE.RECT}
    for kind, labels in found.labels.items():
        assert np.array_equal(again[kind], labels)
    assert len(zipfile.ZipFile(io.BytesIO(data)).namelist()) == 12


def test_cellpose_gets_its_image_masks_and_outlines(tmp_path):
    found = findings()
    written("cellpose", tmp_path / "a", found)
    for kind, labels in found.labels.items():
        stem = tmp_path / "a" / f"a_{kind}"
        assert np.array_equal(tifffile.imread(f"{stem}_cp_masks.tif"), labels)
        # The channel that was segmented comes first, and three are shown.
        shown = np.moveaxis(found.image[..., [2, 0, 1]], -1, 0)
        assert np.array_equal(tifffile.imread(f"{stem}.tif"), shown)
        seg = np.load(f"{stem}_seg.npy", allow_pickle=True).item()
        assert seg["filename"] == f"a_{kind}.tif"
        assert np.array_equal(seg["masks"], labels)
        assert len(seg["colors"]) == len(seg["ismanual"]) == labels.max()
        inner = labels[1:-1, 1:-1]
        neighbours = [labels[:-2, 1:-1], labels[2:, 1:-1], labels[1:-1, :-2], labels[1:-1, 2:]]
        edge = np.any([inner != each for each in neighbours], axis=0)
        assert np.array_equal(seg["outlines"][1:-1, 1:-1], np.where(edge, inner, 0))


@dataclass
class ByPlanes:
    """A volume of which no more than a plane is read at once."""

    values: np.ndarray

    def __getattr__(self, name):
        return getattr(self.values, name)

    def __getitem__(self, window):
        assert isinstance(window, tuple)
        assert isinstance(window[0], int)
        return self.values[window]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("highest", [200, 70_000])
def test_cellpose_gets_a_volume_plane_by_plane(channels, highest, tmp_path):
    rng = np.random.default_rng(channels)
    image = rng.integers(0, 999, (3, 20, 24, channels)).astype(np.uint16)
    labels = np.kron(rng.integers(0, highest, (3, 5, 6)), np.ones((1, 4, 4), int)).astype(np.int32)
    labels[1, :4, :4] = highest
    write_cellpose(tmp_path, "a", ByPlanes(image), {"nuclear": ByPlanes(labels)}, [channels - 1])
    order = [channels - 1, 0][:channels]
    shown = np.moveaxis(image[..., order], -1, 1).reshape(-1, 20, 24)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), shown)
    masks = tifffile.imread(tmp_path / "a_cp_masks.tif")
    assert masks.dtype == (np.uint16 if highest < 1 << 16 else np.uint32)
    np.testing.assert_array_equal(masks, labels)
    seg = np.load(tmp_path / "a_seg.npy", allow_pickle=True).item()
    np.testing.assert_array_equal(seg["masks"], labels)
    for z in range(3):
        (tmp_path / f"{z}").mkdir()
        write_cellpose(tmp_path / f"{z}", "a", image[z], {"nuclear": labels[z]})
        alone = np.load(tmp_path / f"{z}" / "a_seg.npy", allow_pickle=True).item()
        np.testing.assert_array_equal(seg["outlines"][z], alone["outlines"])
