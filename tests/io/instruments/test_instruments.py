"""CZI, LIF, ND2 and OIF: every pixel, channel, focal plane and time point, as it was written."""

import sys

import numpy as np
import pytest

from cellmill.arrays.batch import Batch
from cellmill.contract import cli
from cellmill.errors import BadInput
from cellmill.io.images import open_image, read_image
from cellmill.io.instruments.opened import open_instrument_image
from tests.io.instruments import files

NAMES, MPP = ("DAPI", "GFP"), 0.25
FORMATS = ("czi", "lif", "nd2", "oif")


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 60000, shape, dtype=np.uint16)


def written(folder, suffix, pixels, extra=()):
    """A file of `(C, Z, T, Y, X)`, and of more images or positions where the format holds them."""
    path, names = folder / f"a.{suffix}", NAMES[: len(pixels)]
    if suffix == "czi":
        files.write_czi(path, [pixels, *extra], MPP, names)
    elif suffix == "lif":
        every = {f"image {n}": each for n, each in enumerate((pixels, *extra))}
        files.write_lif(path, every, MPP, names)
    elif suffix == "nd2":
        frames = [each.transpose(2, 1, 0, 3, 4) for each in (pixels, *extra)]
        files.write_nd2(path, np.stack(frames, axis=1), MPP, names, 4 * MPP)
    else:
        files.write_oif(path, pixels, MPP, names)
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_plane_is_the_one_that_was_written(tmp_path, suffix):
    pixels = noise(2, 3, 2, 40, 51)
    path = written(tmp_path, suffix, pixels)
    for z in range(3):
        for t in range(2):
            image = read_image(path, z=z, t=t)
            np.testing.assert_array_equal(image.pixels, pixels[:, z, t].transpose(1, 2, 0))
            assert (image.channels, image.mpp) == (NAMES, (MPP, MPP))
            assert image.pixels.dtype == np.uint16
    assert image.mpp_source == ("OIF" if suffix == "oif" else suffix.upper())
    np.testing.assert_array_equal(
        read_image(path, z=1, t=0, channels="GFP").pixels[..., 0], pixels[1, 1, 0]
    )


@pytest.mark.parametrize("suffix", FORMATS)
def test_all_focal_planes_are_a_volume(tmp_path, suffix):
    pixels = noise(2, 3, 1, 20, 30)
    with open_image(written(tmp_path, suffix, pixels), z="all") as image:
        assert image.shape == (3, 20, 30)
        assert image.mpp == pytest.approx((4 * MPP, MPP, MPP))
        for z, section in enumerate(image.sections):
            np.testing.assert_array_equal(section.planes[1][0:20, 0:30], pixels[1, z, 0])


@pytest.mark.parametrize("suffix", FORMATS)
def test_which_plane_is_meant_must_be_said(tmp_path, suffix):
    path = written(tmp_path, suffix, noise(1, 3, 2, 8, 8))
    with pytest.raises(BadInput, match=r"expected z=0…2 to say which.*found 3 focal planes"):
        read_image(path, t=0)
    with pytest.raises(BadInput, match=r"expected t=0…1"):
        read_image(path, z=0)


@pytest.mark.parametrize(
    ("suffix", "what"), [("czi", "scenes"), ("lif", "images"), ("nd2", "positions")]
)
def test_of_several_images_one_is_asked_for(tmp_path, suffix, what):
    every = [noise(1, 1, 1, 16, 24, seed=seed) for seed in range(3)]
    path = written(tmp_path, suffix, every[0], every[1:])
    for series, pixels in enumerate(every):
        found = read_image(path, series=series).pixels[..., 0]
        np.testing.assert_array_equal(found, pixels[0, 0, 0])
    with pytest.raises(BadInput, match=rf"series=… to say which of its 3 {what}, found 3 of one"):
        read_image(path)
    with pytest.raises(BadInput, match=r"expected series=0…2, found series=3"):
        read_image(path, series=3)


@pytest.mark.parametrize("suffix", ["czi", "lif"])
def test_the_largest_of_several_images_is_taken(tmp_path, suffix):
    small, large = noise(1, 1, 1, 8, 8), noise(1, 1, 1, 16, 24)
    path = written(tmp_path, suffix, small, [large])
    np.testing.assert_array_equal(read_image(path).pixels[..., 0], large[0, 0, 0])


def test_colours_of_a_czi_are_red_green_and_blue(tmp_path):
    pixels = noise(16, 24, 3).astype(np.uint8)
    files.write_colour_czi(tmp_path / "a.czi", pixels)
    image = read_image(tmp_path / "a.czi")
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.channels == ("red", "green", "blue")


@pytest.mark.parametrize("suffix", ["czi", "lif", "nd2"])
def test_a_file_that_is_cut_off_is_one_line_or_right(tmp_path, suffix):
    pixels = noise(1, 1, 1, 40, 50)
    whole = written(tmp_path, suffix, pixels).read_bytes()
    cut = tmp_path / f"cut.{suffix}"
    refusals = []
    for end in np.linspace(0, len(whole) - 1, 23).astype(int):
        cut.write_bytes(whole[:end])
        try:
            found = read_image(cut).pixels[..., 0]
        except BadInput as error:
            refusals.append(str(error))
        else:
            np.testing.assert_array_equal(found, pixels[0, 0, 0])
    assert len(refusals) > 11
    assert not any("\n" in line for line in refusals)


@pytest.mark.parametrize("suffix", FORMATS)
def test_another_file_by_that_name_is_one_line(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"this is no image" * 100)
    with pytest.raises(BadInput, match=rf"expected a whole, readable {suffix.upper()} file"):
        read_image(path)


def test_an_oif_without_its_folder_says_so(tmp_path):
    path = written(tmp_path, "oif", noise(1, 2, 1, 8, 8))
    (tmp_path / "a.oif.files").rename(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match=r"a\.oif\.files"):
        read_image(path, z=0)


@pytest.mark.parametrize(
    ("suffix", "package"),
    [("czi", "pylibCZIrw"), ("lif", "liffile"), ("nd2", "nd2"), ("oif", "oiffile")],
)
def test_without_its_package_the_line_says_what_installs_it(tmp_path, suffix, package, monkeypatch):
    path = written(tmp_path, suffix, noise(1, 1, 1, 8, 8))
    for name in [n for n in sys.modules if n.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)

    class Absent:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == package:
                raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    monkeypatch.setattr(sys, "meta_path", [Absent, *sys.meta_path])
    with pytest.raises(BadInput, match=r"pip install 'cellmill\[formats\]'"):
        read_image(path)


def test_a_remote_file_is_asked_for_on_this_machine():
    remote = open_instrument_image("https://example.invalid/a.czi")
    with pytest.raises(BadInput, match="expected a file on this machine"), remote:
        pass


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_first_stage_takes_them(tmp_path, suffix, capsys):
    pixels = noise(2, 2, 1, 20, 30)
    path = written(tmp_path, suffix, pixels)
    places = [f"--{name}={tmp_path / name}" for name in ("images", "truth", "record")]
    flags = [f"--items={path}", "--channels=GFP", "--measure-channels=all", "--z=1"]
    assert cli.main(["tiff_to_npz", *places, *flags]) == 0, capsys.readouterr().err
    batch = Batch.open(tmp_path / "images")
    (entry,) = batch.entries
    assert (entry.channels, entry.mpp) == (("GFP", "DAPI"), (MPP, MPP))
    expected = pixels[::-1, 1, 0].transpose(1, 2, 0)
    np.testing.assert_array_equal(batch.read(entry, "image"), expected)
