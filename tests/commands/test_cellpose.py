"""Cellpose's command does what its users mean by it, on many channels too."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from cellmill import segment
from cellmill.commands import COMMANDS
from cellmill.commands.cellpose.flags import parsed_flags
from cellmill.contract import cli
from cellmill.datasets.samples import sample_image
from cellmill.errors import CellmillError
from cellmill.models.card import ModelCard
from cellmill.models.published import MIRROR_VARIABLE
from cellmill.models.shipped import default_model
from tests.conformance.conformance_model import run as run_in

#: What the shipped network was trained on, in pixels: `--diameter` leaves its scale as it is.
DIAMETER = ModelCard.load(default_model()).input.object_diameter["nuclear"]
NUCLEI = ("--pretrained_model", "cellmill-nuclei", "--diameter", str(DIAMETER))


def run(*arguments):
    return cli.main(["cellpose", *map(str, arguments)], COMMANDS)


@pytest.fixture(scope="module")
def nuclei():
    return tifffile.imread(sample_image()[0])[:220, :200]


@pytest.fixture
def folder(nuclei, tmp_path):
    """A folder with an image of twelve channels; nuclei are in the third."""
    stack = np.random.default_rng(0).integers(0, 50, (12, *nuclei.shape)).astype(np.uint16)
    stack[2] = nuclei
    place = tmp_path / "exemplar-001"
    place.mkdir()
    path = place / "exemplar-001.ome.tif"
    tifffile.imwrite(path, stack, metadata={"axes": "CYX"}, photometric="minisblack")
    return place


def test_the_hackathon_s_command_on_twelve_channels(folder, nuclei, capsys):
    flags = ("--save_tif", "--channel_axis", 0, "--chan", 3, "--verbose")
    assert run("--dir", f"{folder}/", *NUCLEI, *flags) == 0
    mask = tifffile.imread(folder / "exemplar-001.ome_cp_masks.tif")
    assert mask.shape == nuclei.shape
    assert mask.dtype == np.uint16
    wanted = segment(nuclei, diameter=DIAMETER).label_image
    assert wanted.max() > 5
    np.testing.assert_array_equal(mask, wanted)
    said = capsys.readouterr()
    for line in (
        "running cellpose on 1 images using chan_to_seg BLUE and chan (opt) NONE",
        f">>>> using diameter {DIAMETER:.2f} for all images",
        "~~~ FINDING MASKS ~~~",
        "100% | 1/1",
        ">>>> completed in",
        "_seg.npy is not written",
    ):
        assert line in said.err
    assert f"{wanted.max()} objects" in said.out
    # Masks are no images, and are written again.
    assert run("--dir", folder, *NUCLEI, "--save_tif", "--chan", 3) == 0
    assert "INFO" not in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == [
        "exemplar-001.ome.tif",
        "exemplar-001.ome_cp_masks.tif",
    ]


def test_png_and_a_folder_for_what_is_written(folder, tmp_path, nuclei):
    out = tmp_path / "new" / "masks"
    flags = ("--save_png", "--no_npy", "--savedir", out, "--chan", 3)
    assert run("--image_path", folder / "exemplar-001.ome.tif", *NUCLEI, *flags) == 0
    assert [path.name for path in out.iterdir()] == ["exemplar-001.ome_cp_masks.png"]
    with Image.open(out / "exemplar-001.ome_cp_masks.png") as image:
        mask = np.asarray(image)
    np.testing.assert_array_equal(mask, segment(nuclei, diameter=DIAMETER).label_image)


def test_one_bad_image_does_not_lose_the_rest(folder, nuclei, capsys):
    whole = (folder / "exemplar-001.ome.tif").read_bytes()
    (folder / "a.tif").write_bytes(whole[:1000])
    tifffile.imwrite(folder / "b.tif", nuclei)
    (folder / "notes.txt").write_text("no image")
    assert run("--dir", folder, *NUCLEI, "--chan", 3) == 2
    said = capsys.readouterr().err
    assert f"cellmill cellpose: {folder}/a.tif: " in said
    assert "b.tif: --chan: expected 1 to 1, counted from 1, found 3" in said
    assert "2 of 3 images failed" in said
    assert [path.name for path in folder.glob("*_cp_masks*")] == ["exemplar-001.ome_cp_masks.tif"]


def test_an_only_channel_needs_no_number(nuclei, tmp_path):
    tifffile.imwrite(tmp_path / "grey.tif", nuclei)
    tifffile.imwrite(tmp_path / "colour.tif", np.stack([nuclei // 4, nuclei, nuclei // 8], -1))
    assert run("--image_path", tmp_path / "grey.tif", *NUCLEI, "--channel_axis", "-1") == 0
    flags = ("--channel_axis", "-1", "--chan", 2)
    assert run("--image_path", tmp_path / "colour.tif", *NUCLEI, *flags) == 0
    one, other = (tifffile.imread(tmp_path / f"{n}_cp_masks.tif") for n in ("grey", "colour"))
    np.testing.assert_array_equal(one, other)


def test_planes_of_a_stack_are_segmented_and_joined(nuclei, tmp_path, capsys):
    path = tmp_path / "stack.tif"
    metadata = {"axes": "ZYX"}
    tifffile.imwrite(path, np.stack([nuclei] * 3), metadata=metadata, photometric="minisblack")
    flags = ("--image_path", path, *NUCLEI, "--savedir", tmp_path / "masks")
    assert run(*flags, "--stitch_threshold", 0.9) == 0
    masks = tifffile.imread(tmp_path / "masks" / "stack_cp_masks.tif")
    wanted = segment(nuclei, diameter=DIAMETER).label_image
    for plane in masks:
        np.testing.assert_array_equal(plane, wanted)
    assert run(*flags, "--stitch_threshold", 0.5, "--save_png") == 2
    assert "--save_png: expected masks of a plane, found a stack" in capsys.readouterr().err
    assert run(*flags) == 2


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((), "--chan: expected 1 to 12: which to segment, found 0, and"),
        (("--chan", "13"), "--chan: expected 1 to 12, counted from 1, found 13"),
        (("--chan", "1", "--channel_axis", "2"), "--channel_axis: expected 0: its channels come"),
        (("--chan", "1", "--chan2", "2"), "--chan2: expected 0, found 2: model cellmill-nuclei is"),
        (("--chan", "-1"), "--chan: expected a channel counted from 1, or 0, found -1"),
        (("--flow_threshold", "0.4", "--chan", "1"), "flow_threshold"),
        (("--diameter", "-3"), "--diameter: expected the objects' diameter in pixels, or 0"),
        (("--do_3D",), "--do_3D: expected a model of method 'cellpose', found cellmill-nuclei, of"),
        (("--do_3D", "--stitch_threshold", "0.5"), "--do_3D and --stitch_threshold: expected eith"),
        (
            ("--anisotropy", "2"),
            "--anisotropy: expected the distance of planes in pixels, with --d",
        ),
        (("--z_axis", "0", "--chan", "1"), "--z_axis: expected --do_3D or --stitch_threshold"),
        (("--stitch_threshold", "1.5"), "--stitch_threshold: expected 0 to 1, found 1.5"),
        (("--train",), "unrecognized arguments: --train"),
        (("--save_outlines",), "unrecognized arguments: --save_outlines"),
        (("--image_path", "x"), "images: expected --dir or --image_path, found both"),
        (("--pretrained_model", "cyto33"), "model 'cyto33': expected a path, a URI"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(folder, capsys, flags, says):
    assert run("--dir", folder, *NUCLEI, *flags) == 2
    said = capsys.readouterr().err
    assert "cellmill cellpose: " in said
    assert says in said
    assert not [*folder.glob("*_cp_masks*")]


@pytest.mark.cellpose
def test_a_published_network_and_its_flags(cellpose_python, nuclei, tmp_path, monkeypatch, capsys):
    """The weights are random: what is found counts for nothing, that it is found does."""
    script = Path(__file__).parents[1] / "models" / "importing" / "write_cellpose.py"
    run_in(cellpose_python, script, tmp_path)
    mirror = tmp_path / "mirror" / "cellpose"
    mirror.mkdir(parents=True)
    for name, file in (("nuclei_tiny", "nucleitorch_0"), ("cyto_tiny", "cyto3")):
        (tmp_path / name).rename(mirror / file)
    monkeypatch.setenv(MIRROR_VARIABLE, str(mirror.parent))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CELLPOSE_LOCAL_MODELS_PATH", str(tmp_path))
    monkeypatch.setenv("CELLMILL_CELLPOSE3_PYTHON", str(cellpose_python))
    tifffile.imwrite(tmp_path / "a.tif", np.stack([nuclei] * 12), photometric="minisblack")
    flags = ["--flow_threshold", 0, "--cellprob_threshold", -10, "--min_size", 12, "--chan", 12]
    flags += ["--diameter", 34, "--verbose"]
    assert run("--image_path", tmp_path / "a.tif", "--pretrained_model", "nuclei", *flags) == 0
    said = capsys.readouterr().err
    assert "flow_threshold 0.0, cellprob_threshold -10.0" in said
    # Objects of 34 px are brought to the network's 17: a quarter of the pixels.
    assert "min_size 3," in said
    mask = tifffile.imread(tmp_path / "a_cp_masks.tif")
    assert mask.shape == nuclei.shape
    assert mask.max() > 0
    # Weights by path, and two channels.
    given = ["--image_path", tmp_path / "a.tif", "--pretrained_model", mirror / "cyto3"]
    assert run(*given, *flags, "--chan2", 1, "--savedir", tmp_path / "cyto") == 0
    assert (tmp_path / "cyto" / "a_cp_masks.tif").exists()


@pytest.mark.cellpose
def test_volumes_by_planes_across_all_axes(cellpose_python, tmp_path, monkeypatch, capsys):
    script = Path(__file__).parents[1] / "models" / "importing" / "write_cellpose.py"
    run_in(cellpose_python, script, tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CELLMILL_CELLPOSE3_PYTHON", str(cellpose_python))
    stack = np.random.default_rng(0).integers(0, 200, (5, 40, 30)).astype(np.uint8)
    metadata = {"axes": "ZYX"}
    tifffile.imwrite(tmp_path / "a.tif", stack, metadata=metadata, photometric="minisblack")
    weights = tmp_path / "nuclei_tiny"
    flags = ["--image_path", tmp_path / "a.tif", "--pretrained_model", weights, "--do_3D"]
    flags += ["--diameter", 17, "--cellprob_threshold", -20, "--z_axis", 0]
    assert run(*flags, "--anisotropy", 2) == 0
    masks = tifffile.imread(tmp_path / "a_cp_masks.tif")
    assert masks.shape == stack.shape
    given = {"z": "all", "diameter": 17, "orientations": 3, "keep_maps": True}
    parameters = {"cellprob_threshold": -20}
    found = segment(stack, model=str(weights), mpp=(2, 1, 1), parameters=parameters, **given)
    assert {name: each.shape for name, each in found.maps.items()} == {
        "flows": (10, 40, 30, 3),
        "probability": (10, 40, 30, 1),
    }
    np.testing.assert_array_equal(masks, found.label_image)
    assert run(*flags[:-1], 1) == 2
    assert "--z_axis: expected 0: planes come before" in capsys.readouterr().err


def test_defaults_are_cellpose_s():
    flags = parsed_flags(["--image_path", "a.tif"])
    assert (flags.pretrained_model, flags.diameter, flags.chan, flags.chan2) == ("cyto3", 30, 0, 0)
    assert parsed_flags(["--image_path", "a.tif", "--diameter", "0"]).told_diameter == "auto"
    with pytest.raises(CellmillError, match=r"images: expected --dir or --image_path, found nei"):
        parsed_flags([])


def test_the_command_stands_beside_the_stages():
    command = [sys.executable, "-m", "cellmill"]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, env=os.environ)
    assert "  cellpose " in done.stdout
    done = subprocess.run([*command, "cellpose", "--help"], capture_output=True, text=True)
    assert "--pretrained_model" in done.stdout
    assert done.returncode == 0
