"""The preprocess stage: channels, scale, normalisation, what travels on."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from cellmill.arrays.batch import Batch
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract import Dataset, Model, Record
from cellmill.errors import BadInput
from cellmill.models.card import InputChannel, ModelCard, known_cards
from cellmill.preprocessing import preprocess as normalise
from cellmill.preprocessing import resize_image
from cellmill.stages.preprocess import preprocess
from tests.preprocessing.test_object_size import nuclei

MESMER = known_cards()["Mesmer"]
NUCLEAR = known_cards()["NuclearSegmentation"]


def image(shape=(60, 81, 2), dtype=np.uint16, seed=0):
    return (np.random.default_rng(seed).gamma(2, 20, shape)).astype(dtype)


def write_images(folder, images, mpp=(0.5, 0.5), channels=("DAPI", "CD45"), **attributes):
    with BatchWriter(folder) as out:
        for name, array in images.items():
            out.write(
                name,
                {"image": array},
                axes={"image": "YXC"},
                mpp=mpp,
                mpp_source="test",
                channels=channels[: array.shape[-1]],
                attributes=attributes,
            )


def run(tmp_path, card: ModelCard, **parameters):
    (tmp_path / "model").mkdir(exist_ok=True)
    card.save(tmp_path / "model")
    out = tmp_path / "preprocessed"
    record = Record(tmp_path / "record.json")
    preprocess(
        Dataset(tmp_path / "images"), Model(tmp_path / "model"), Dataset(out), record, **parameters
    )
    return Batch.open(out), record


def test_pixels_are_the_sciences_and_the_rest_travels_on(tmp_path):
    images = {"a": image(), "b c": image((31, 200, 2), np.uint8, 1)}
    write_images(tmp_path / "images", images, source="file:///a.tif")
    batch, record = run(tmp_path, MESMER)
    assert batch.attributes["model"] == MESMER.to_dict()
    for entry in batch.entries:
        source = images[entry.name]
        result = batch.read(entry, "image")
        assert result.dtype == np.float32
        assert np.array_equal(result, normalise(source, MESMER.preprocessing))
        assert entry.attributes["source_shape"] == [*source.shape[:2]]
        assert entry.attributes["source_mpp"] == [0.5, 0.5]
        assert entry.attributes["scale"] == [1, 1]
        assert entry.attributes["source"] == "file:///a.tif"
        assert entry.channels == ("nuclear", "membrane")
    assert [step["name"] for step in record.images["a"].steps] == ["resize", "normalise", "write"]


@pytest.mark.parametrize("mpp", [(0.25, 0.25), (0.65, 0.65), (0.4, 1.0)])
def test_images_are_brought_to_the_models_scale_per_axis(tmp_path, mpp):
    source = image()
    write_images(tmp_path / "images", {"a": source}, mpp)
    batch, _ = run(tmp_path, MESMER)
    entry = batch.entries[0]
    shape = tuple(int(n * m / 0.5) for n, m in zip(source.shape, mpp, strict=False))
    expected = normalise(resize_image(source, shape), MESMER.preprocessing)
    assert np.array_equal(batch.read(entry, "image"), expected)
    # The pixel size is that of the pixels made, so that a length in µm is the same in both.
    assert np.allclose(np.multiply(entry.mpp, shape), np.multiply(mpp, source.shape[:2]))
    assert np.allclose(np.multiply(entry.attributes["scale"], source.shape[:2]), shape)


@pytest.mark.parametrize("mpp", [(0.5, 0.5), (0.6, 0.6)])
@pytest.mark.parametrize("container", ["npz", "zarr"])
def test_an_image_beyond_the_memory_gives_the_same(tmp_path, mpp, container):
    source = image((2100, 1900, 2))
    write_images(tmp_path / "images", {"a": source}, mpp)
    batch, _ = run(tmp_path, MESMER)
    expected = batch.read(batch.entries[0], "image")
    if container == "zarr":
        with BatchWriter(tmp_path / "images") as out:
            layout = {"image": (source.shape, source.dtype, "YXC")}
            with out.create("a", layout, mpp=mpp, container="zarr") as arrays:
                arrays["image"][...] = source
    batch, record = run(tmp_path, MESMER, memory_mib=64)
    assert np.array_equal(batch.read(batch.entries[0], "image"), expected)
    assert (tmp_path / "preprocessed" / f"a.{container}").exists()
    steps = [step["name"] for step in record.images["a"].steps]
    assert steps == ["find normalisation", "normalise and write"]


def test_too_little_memory_is_refused(tmp_path):
    write_images(tmp_path / "images", {"a": image()})
    with pytest.raises(BadInput, match="memory_mib: expected 64 MiB or more, found 10"):
        run(tmp_path, MESMER, memory_mib=10)


def test_an_unknown_or_unwanted_scale_is_left_alone(tmp_path, capsys):
    write_images(tmp_path / "images", {"a": image()}, mpp=None)
    batch, record = run(tmp_path, MESMER)
    assert batch.read(batch.entries[0], "image").shape == (60, 81, 2)
    assert batch.entries[0].mpp is None
    assert record.notes["mpp_unknown"] == ["a"]
    assert "unknown pixel size, first 'a'" in capsys.readouterr().err
    write_images(tmp_path / "images", {"a": image()}, mpp=(0.25, 0.25))
    batch, _ = run(tmp_path, MESMER, match_mpp=False)
    assert batch.read(batch.entries[0], "image").shape == (60, 81, 2)
    assert batch.entries[0].mpp == (0.25, 0.25)


SIZED = replace(
    NUCLEAR,
    name="own",
    input=replace(
        NUCLEAR.input,
        mpp=0.0,
        object_diameter={"nuclear": 30.0},
        object_diameter_um={"nuclear": 15.0},
        scale_tolerance=1.5,
        resampling="averaged",
    ),
)


@pytest.mark.parametrize(
    ("parameters", "mpp", "by"),
    [
        ({"diameter": "60"}, None, "diameter"),
        ({"diameter": "60"}, (0.4, 0.4), "diameter"),
        ({"diameter": "auto"}, (0.4, 0.4), "auto"),
        ({}, (0.124, 0.124), "mpp"),
        ({}, (0.4, 0.4), ""),
        ({}, None, ""),
        ({"match_mpp": False}, (0.124, 0.124), ""),
    ],
)
def test_the_scale_and_what_decided_it_stay_with_the_image(tmp_path, capsys, parameters, mpp, by):
    source = nuclei(60, 400)
    write_images(tmp_path / "images", {"a": source}, mpp=mpp)
    batch, record = run(tmp_path, SIZED, **parameters)
    (entry,) = batch.entries
    scaling = entry.attributes["scaling"]
    assert scaling["by"] == by
    assert record.notes["scaling"] == {"a": scaling}
    estimated = 30 / (scaling["diameter"] or 1)
    factor = {"diameter": 0.5, "auto": estimated, "mpp": 0.248, "": 1}[by]
    shape = (round(400 * factor),) * 2
    expected = normalise(resize_image(source, shape, resampling="averaged"), SIZED.preprocessing)
    assert np.array_equal(batch.read(entry, "image"), expected)
    assert entry.attributes["source_shape"] == [400, 400]
    assert entry.attributes["scale"] == [shape[0] / 400] * 2
    if mpp:
        assert entry.mpp == pytest.approx(np.multiply(mpp, 400 / shape[0]))
    remarks = record.notes["remarks"].get("a", [])
    assert len(remarks) == (by in ("auto", "mpp"))
    printed = capsys.readouterr().err
    assert printed == "".join(f"note: image 'a': {remark}\n" for remark in remarks)


def test_the_estimate_does_not_depend_on_memory_or_container(tmp_path):
    source = nuclei(60, 2300)
    write_images(tmp_path / "images", {"a": source}, mpp=None)
    batch, _ = run(tmp_path, SIZED, diameter="auto")
    (entry,) = batch.entries
    expected = batch.read(entry, "image")
    with BatchWriter(tmp_path / "images") as out:
        layout = {"image": (source.shape, source.dtype, "YXC")}
        with out.create("a", layout, container="zarr") as arrays:
            arrays["image"][...] = source
    batch, _ = run(tmp_path, SIZED, diameter="auto", memory_mib=64)
    assert batch.entries[0].attributes["scaling"] == entry.attributes["scaling"]
    assert np.array_equal(batch.read(batch.entries[0], "image"), expected)


@pytest.mark.parametrize("diameter", ["-3", "abc", "0"])
def test_a_diameter_that_is_none_is_refused_before_any_image(tmp_path, diameter):
    write_images(tmp_path / "images", {"a": image((60, 60, 1))})
    with pytest.raises(BadInput, match=f"diameter: expected .* found '{diameter}'"):
        run(tmp_path, SIZED, diameter=diameter, on_bad_image="skip")
    write_images(tmp_path / "images", {"a": image()})
    with pytest.raises(BadInput, match="does not say on which diameter"):
        run(tmp_path, MESMER, diameter="30", on_bad_image="skip")


def test_a_diameter_larger_than_an_image_is_that_images_fault(tmp_path):
    images = {"small": image((40, 300, 1)), "large": image((300, 300, 1))}
    write_images(tmp_path / "images", images)
    with pytest.raises(BadInput, match=r"in image 'small': expected .* side, 40 px, found 100 px"):
        run(tmp_path, SIZED, diameter="100")
    batch, _ = run(tmp_path, SIZED, diameter="100", on_bad_image="skip")
    assert [entry.status for entry in batch.entries] == ["skipped", "ok"]


def test_channels_are_taken_in_the_models_order_and_blank_ones_are_zeros(tmp_path):
    source = image((40, 50, 3))
    names = ("CD45", "DAPI", "CD8")
    write_images(tmp_path / "images", {"a": source}, channels=names, segmentation_channels=[1, -1])
    batch, _ = run(tmp_path, MESMER)
    result = batch.read(batch.entries[0], "image")
    blank = np.stack([source[..., 1], np.zeros_like(source[..., 1])], -1)
    assert np.array_equal(result, normalise(blank, MESMER.preprocessing))
    assert not result[..., 1].any()


@pytest.mark.parametrize(
    ("channels", "chosen", "message"),
    [
        (
            3,
            None,
            r"2 for model 'Mesmer' \(nuclear, membrane\).*CHANNELS=.*found 3 \(none chosen\)",
        ),
        (2, [1], r"found 1 \(chosen\); the image has DAPI, CD45$"),
        (2, [0, 2], "indices from 0 to 1"),
        (2, [-1, -1], "not all blank"),
    ],
)
def test_wrong_channels_get_one_line(tmp_path, channels, chosen, message):
    attributes = {"segmentation_channels": chosen} if chosen else {}
    write_images(
        tmp_path / "images",
        {"a": image((9, 9, channels))},
        channels=("DAPI", "CD45", "X"),
        **attributes,
    )
    with pytest.raises(BadInput, match=message) as caught:
        run(tmp_path, MESMER)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "preprocessed" / "manifest.json").exists()


def test_bad_images_fail_or_are_skipped(tmp_path):
    bad = image(dtype=np.float32)
    bad[3, 3, 0] = np.nan
    write_images(
        tmp_path / "images", {"bad": bad, "good": image(), "dot": image((1, 1, 2))}, (0.25, 0.25)
    )
    with pytest.raises(BadInput, match=r"image 'bad': .*1 NaN and 0 infinite"):
        run(tmp_path, MESMER)
    batch, _ = run(tmp_path, MESMER, on_bad_image="skip")
    assert [entry.status for entry in batch.entries] == ["skipped", "ok", "skipped"]
    assert "1 NaN" in batch.entries[0].error
    # One pixel of 0.25 µm is none of 0.5 µm.
    assert "at least one pixel" in batch.entries[2].error


def test_an_absurd_pixel_size_is_refused(tmp_path):
    write_images(tmp_path / "images", {"a": image()}, mpp=(25.4, 25.4))
    with pytest.raises(BadInput, match=r"at most 16 times .*found 25.4 µm/px \(test\)"):
        run(tmp_path, MESMER)


def test_one_channel_models(tmp_path):
    card = ModelCard.from_dict({**NUCLEAR.to_dict(), "name": "own"})
    assert card.input.channels == (InputChannel(*vars(NUCLEAR.input.channels[0]).values()),)
    source = image((70, 45, 1))
    write_images(tmp_path / "images", {"a": source}, mpp=(0.65, 0.65))
    batch, _ = run(tmp_path, card)
    expected = normalise(source, card.preprocessing)
    assert np.array_equal(batch.read(batch.entries[0], "image"), expected)


def test_the_command_line_says_one_line_and_exits_with_2(tmp_path):
    write_images(tmp_path / "images", {"a": image((9, 9, 1))})
    (tmp_path / "model").mkdir()
    MESMER.save(tmp_path / "model")
    command = [sys.executable, "-m", "cellmill", "preprocess"]
    for name in ("images", "model", "preprocessed"):
        command += [f"--{name}", str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "channels of image 'a'" in done.stderr
