"""Whatever a volume lies in, it is seen as the same `(Z, Y, X)` uint8, in any window."""

import itertools
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.volume_server import VolumeServer, serving
from cellmill.arrays.groups import write_group
from cellmill.errors import BadInput
from cellmill.style_transfer.volumes import Volume, open_volume
from cellmill.style_transfer.writing import create_levels, levels_like
from tests.style_transfer import stored_volumes as stored

VALUES = stored.some_values()
OFFSET = (5, 7, 9)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """Every form by name: how it is opened and where its first voxel lies."""
    root = tmp_path_factory.mktemp("volumes")
    local = {
        "precomputed": stored.precomputed(root / "p", VALUES, offset=OFFSET),
        "sharded": stored.precomputed(root / "s", VALUES, offset=OFFSET, sharded=True),
        "zarr2": stored.zarr(root / "z2", VALUES, "zarr"),
        "zarr3": stored.zarr(root / "z3", VALUES, "zarr3"),
        "n5": stored.n5(root / "n5", VALUES),
        "stack": stored.stack(root / "stack.tif", VALUES),
        "sections": stored.sections(root / "sections", VALUES),
    }
    with serving(VolumeServer(root, {"grey": (VALUES, OFFSET)})) as server:
        remote = {f"{name} by http": f"{server.address}/{name[0]}" for name in ("precomputed", "s")}
        remote["n5 by http"] = f"n5://{server.address}/n5"
        remote["zarr3 by http"] = f"{server.address}/z3"
        yield server, {**local, **remote, "dvid": server.dvid("grey")}


NAMES = [
    *("precomputed", "sharded", "zarr2", "zarr3", "n5", "stack", "sections"),
    *("precomputed by http", "s by http", "n5 by http", "zarr3 by http", "dvid"),
]


@pytest.mark.parametrize("name", NAMES)
def test_every_form_shows_the_same_voxels(volumes, name):
    volume = open_volume(volumes[1][name])
    assert volume.shape == VALUES.shape
    assert volume.dtype == np.uint8
    for window in (np.s_[:], np.s_[3:9, 4:5, 20:52], np.s_[32:33, 0:45, 0:1]):
        found = volume[window]
        assert found.dtype == np.uint8
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, VALUES[window])


@pytest.mark.parametrize("name", ["precomputed", "sharded", "dvid"])
def test_where_it_lies_and_how_large_its_voxels_are(volumes, name):
    volume = open_volume(volumes[1][name])
    assert volume.origin == OFFSET
    assert volume.voxel_nm == ((8, 8, 8) if name == "dvid" else (30, 5, 4))


@pytest.mark.parametrize("form", ["zarr", "precomputed"])
def test_what_was_written_lies_where_it_did_at_every_resolution(tmp_path, form):
    like = Volume("a", VALUES, (7, 4, 9), (4.0, 4.0, 5.0))
    place = str(tmp_path / f"a.{form}")
    levels = levels_like(like, 3)
    arrays = create_levels(place, like, 16, levels)
    for array in arrays:
        array.write(VALUES[tuple(slice(0, n) for n in array.shape)]).result()
    names = [place, f"{form}://{place}", *([f"zarr3://{place}"] if form == "zarr" else [])]
    for name, (scale, level) in itertools.product(names, enumerate(levels)):
        volume = open_volume(name, scale=scale)
        assert (volume.shape, volume.origin) == (level.shape, level.origin)
        assert volume.voxel_nm == pytest.approx(np.multiply(like.voxel_nm, level.factors))
        part = tuple(slice(0, n) for n in level.shape)
        np.testing.assert_array_equal(volume[...], VALUES[part])
    with pytest.raises(BadInput, match=r"scale: expected 0 to 2, found 3|that can be read"):
        open_volume(place, scale=3)


def test_translations_of_the_whole_image_and_of_an_array_add_up(tmp_path):
    """As others write them: axes T and C of one, a scale and a shift of all resolutions."""
    stored.zarr(tmp_path / "0", VALUES[np.newaxis, np.newaxis], "zarr3")
    axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]
    axes += [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    of_array = [
        {"type": "scale", "scale": [1, 1, 6, 2, 2]},
        {"type": "translation", "translation": [0, 0, 60, 8, 2]},
    ]
    of_all = [
        {"type": "scale", "scale": [1, 1, 0.005, 0.002, 0.002]},
        {"type": "translation", "translation": [0, 0, 0.03, 0.004, 0]},
    ]
    levels = [{"path": "0", "coordinateTransformations": of_array}]
    image = {"axes": axes, "datasets": levels, "coordinateTransformations": of_all}
    write_group(str(tmp_path), {"ome": {"version": "0.5", "multiscales": [image]}})
    volume = open_volume(f"zarr://{tmp_path}")
    assert volume.origin == (11, 5, 1)
    assert volume.voxel_nm == pytest.approx((30, 4, 4))
    np.testing.assert_array_equal(volume[...], VALUES)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_window(volumes, data):
    name = data.draw(st.sampled_from(["sharded", "stack", "sections", "dvid", "n5"]))
    window = tuple(
        slice(*sorted((data.draw(st.integers(0, n)), data.draw(st.integers(0, n)))))
        for n in VALUES.shape
    )
    np.testing.assert_array_equal(open_volume(volumes[1][name])[window], VALUES[window])


def test_parts_of_shards_are_asked_for(volumes):
    server, named = volumes
    before = server.ranges
    open_volume(named["s by http"])[0:4, 0:4, 0:4]
    assert server.ranges > before


@pytest.mark.parametrize("name", ["dvid", "precomputed by http"])
def test_a_busy_server_is_asked_again(volumes, name):
    server, named = volumes
    volume = open_volume(named[name], cache_mib=31)
    server.busy = 2
    np.testing.assert_array_equal(volume[0:8, 0:8, 0:8], VALUES[0:8, 0:8, 0:8])
    assert server.busy == 0


def test_dvid_is_never_asked_for_what_lies_outside(volumes):
    """It would send zeros, which are no tissue."""
    volume = open_volume(volumes[1]["dvid"])
    with pytest.raises(BadInput, match=r"window: expected within \(33, 45, 52\)"):
        volume[30:40, 0:4, 0:4]


def test_a_large_window_of_dvid_comes_in_slabs(volumes, monkeypatch):
    monkeypatch.setattr("cellmill.style_transfer.dvid._AT_ONCE", 5000)
    server, named = volumes
    volume = open_volume(named["dvid"])
    before = server.requests
    np.testing.assert_array_equal(volume[...], VALUES)
    assert server.requests - before == 17


def test_sections_are_ordered_by_number(tmp_path):
    values = stored.some_values((12, 4, 5))
    assert (open_volume(stored.sections(tmp_path / "s", values))[...] == values).all()


def test_a_stack_keeps_no_more_than_it_may(tmp_path):
    volume = open_volume(stored.stack(tmp_path / "a.tif", VALUES), cache_mib=0)
    assert (volume[...] == VALUES).all()
    assert len(volume.source._kept) == 1


def test_a_stack_is_read_by_threads(tmp_path):
    volume = open_volume(stored.stack(tmp_path / "a.tif", VALUES), cache_mib=0)
    found = {}
    threads = [
        threading.Thread(target=lambda z=z: found.update({z: volume[z : z + 3]}))
        for z in range(0, 30, 3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((found[z] == VALUES[z : z + 3]).all() for z in range(0, 30, 3))


def test_arrays_and_levels():
    values = np.linspace(-10, 300, 60, dtype=np.float32).reshape(3, 4, 5)
    seen = open_volume(values, levels=(0, 255))[...]
    np.testing.assert_array_equal(seen, np.rint(values.clip(0, 255)).astype(np.uint8))


@pytest.mark.parametrize(
    ("uri", "line"),
    [
        ("nowhere", "volume 'nowhere': expected a volume, found nothing there"),
        ("empty", "expected one of info, zarr.json, .zarray, attributes.json, or TIFFs"),
        ("dvid://server/a", "expected dvid://http://HOST/UUID/INSTANCE"),
        ("{server}/nothing", "expected one of info"),
        ("dvid://{server}/5f4b/other", "expected grey values, found HTTP 400"),
        ("dvid://http://127.0.0.1:9/5f4b/grey", "expected an answer from its server"),
        ("precomputed://empty", "expected arrays that can be read"),
    ],
)
def test_what_is_no_volume_is_said_in_one_line(volumes, tmp_path, monkeypatch, uri, line):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cellmill.style_transfer.dvid._RETRIES", 0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput) as found:
        open_volume(uri.replace("{server}", volumes[0].address))
    assert line in str(found.value)
    assert "\n" not in str(found.value)


def test_what_cannot_be_seen_as_grey_values_is_refused(tmp_path):
    with pytest.raises(BadInput, match="expected uint8"):
        open_volume(VALUES.astype(np.uint16))
    with pytest.raises(BadInput, match="expected axes Z, Y, X"):
        open_volume(VALUES[0])
    with pytest.raises(BadInput, match="expected black below white"):
        open_volume(VALUES, levels=(5, 5))
    (tmp_path / "a.tif").write_bytes(b"no TIFF")
    with pytest.raises(BadInput, match="expected a TIFF"):
        open_volume(str(tmp_path / "a.tif"))
