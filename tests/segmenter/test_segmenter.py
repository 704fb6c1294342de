"""Segmenting in one call gives what the stages give, from arrays and from files of any size."""

import shutil
import threading
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

import cellmill
from cellmill.arrays.batch import Batch
from cellmill.contract import Dataset, Model, Record
from cellmill.datasets import samples
from cellmill.datasets.synthetic_cells import MPP, synthetic_cells, write
from cellmill.errors import BadInput
from cellmill.metrics import match, pair_labels
from cellmill.models.card import ModelCard
from cellmill.models.shipped import shipped_models
from cellmill.segmenter import Segmenter
from cellmill.stages.postprocess import postprocess
from cellmill.stages.predict import predict
from cellmill.stages.preprocess import preprocess
from cellmill.stages.tiff_to_npz import tiff_to_npz

ENGINE = "openvino"  # the base installation's
TWO = "cellmill-synthetic-cells"


@pytest.fixture(scope="module")
def nuclei():
    return Segmenter(engine=ENGINE)


@pytest.fixture(scope="module")
def sample():
    path, _ = samples.sample_image()
    return path, tifffile.imread(path)


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """An image of two channels with a pixel size, and a model that was made for another."""
    folder = tmp_path_factory.mktemp("cells")
    path, _ = write(synthetic_cells(5, (420, 530)), "cells", folder)
    scaled = folder / "scaled"
    shutil.copytree(shipped_models()[TWO], scaled)
    card = ModelCard.load(scaled)
    replace(card, input=replace(card.input, mpp=MPP * 1.3)).save(scaled)
    return path, str(scaled)


def by_stages(folder, image, model, compartment="", channels=""):
    """Labels and heads that the pipeline's stages make of an image."""
    at = {name: Dataset(folder / name) for name in ("images", "truth", "ready", "heads", "labels")}
    record = Record(folder / "record.json")
    tiff_to_npz(at["images"], at["truth"], record, items=[str(image)], channels=channels)
    fetched = Model(model)
    preprocess(at["images"], fetched, at["ready"], record)
    options = {"engine": ENGINE, "compartment": compartment}
    predict(at["ready"], fetched, at["heads"], record, **options)
    postprocess(at["heads"], at["labels"], record, compartment=compartment)
    found = []
    for name in ("labels", "heads"):
        batch = Batch.open(at[name].path)
        (entry,) = batch.entries
        found.append({key: batch.read(entry, key) for key in entry.arrays})
    return found


def equal(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(np.asarray(found[name]), array, err_msg=name)


def test_labels_and_maps_are_the_stages(tmp_path, nuclei, sample):
    path, pixels = sample
    labels, heads = by_stages(tmp_path, path, shipped_models()["cellmill-nuclei"])
    assert labels["nuclear"].max() > 90
    for image in (path, str(path), pixels, pixels[..., np.newaxis], cellmill.read_image(path)):
        found = nuclei(image, keep_maps=True)
        equal(found.labels, labels)
        equal(found.maps, heads)
        assert found.label_image.dtype == np.int32
        assert found.counts == {"nuclear": labels["nuclear"].max()}


@pytest.mark.parametrize("memory_mib", [1024, 64])
def test_kinds_of_object_and_another_scale(tmp_path, cells, memory_mib):
    path, model = cells
    channels = "nuclear,membrane"
    expected, _ = by_stages(tmp_path, path, Path(model), "both", channels)
    segmenter = Segmenter(model, compartment="both", engine=ENGINE, memory_mib=memory_mib)
    found = segmenter(path, channels=channels)
    equal(found.labels, expected)
    assert found.facts.scale == pytest.approx((1 / 1.3, 1 / 1.3), rel=0.01)
    assert found.facts.mpp == (MPP, MPP)
    assert min(found.counts.values()) > 5
    read = cellmill.read_image(path, channels=["nuclear", "membrane"])
    equal(segmenter(read).labels, expected)
    swapped = segmenter(read.pixels[..., ::-1], channels=[1, 0], mpp=MPP)
    equal(swapped.labels, expected)
    assert swapped.facts.mpp_source == "parameter"


def test_channels_that_the_model_can_do_without_may_be_lacking(tmp_path, cells):
    path, model = cells
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    card = ModelCard.load(folder)
    first, second = card.input.channels
    optional = replace(card.input, channels=(first, replace(second, optional=True)))
    replace(card, input=optional).save(folder)
    pixels = cellmill.read_image(path, channels=[first.name]).pixels[:200, :190]
    tifffile.imwrite(tmp_path / "one.tif", pixels)
    segmenter = Segmenter(str(folder), engine=ENGINE)
    expected = Segmenter(model, engine=ENGINE)(pixels, channels=[0, -1]).labels
    assert max(labels.max() for labels in expected.values()) > 0
    equal(segmenter(pixels).labels, expected)
    equal(segmenter(tmp_path / "one.tif").labels, expected)
    equal(by_stages(tmp_path, tmp_path / "one.tif", folder)[0], expected)
    with pytest.raises(BadInput, match="channels of image: expected 2 for model"):
        Segmenter(model, engine=ENGINE)(pixels)


def test_a_file_that_is_larger_than_memory_is_worked_on_tile_by_tile(tmp_path, nuclei, sample):
    pixels = np.zeros((2080, 2112), np.uint16)
    for y, x in ((0, 0), (100, 1600), (790, 770), (1568, 1000)):
        pixels[y : y + 512, x : x + 512] = sample[1]
    tifffile.imwrite(tmp_path / "large.tif", pixels, tile=(256, 256))
    whole = nuclei(pixels)
    assert not whole.facts.tiled
    small = Segmenter(engine=ENGINE, memory_mib=64)
    found = small(tmp_path / "large.tif", keep_maps=True)
    assert found.facts.tiled
    assert not isinstance(found.labels["nuclear"], np.ndarray)
    np.testing.assert_array_equal(found.labels["nuclear"][9:800], whole.label_image[9:800])
    equal(found.labels, whole.labels)
    assert found.counts == whole.counts
    assert found.maps["nuclear_pixelwise"].shape == (*pixels.shape, 3)
    # An array is in memory, so its labels are.
    assert isinstance(small(pixels).labels["nuclear"], np.ndarray)
    folder = Path(found._folder.name)
    assert folder.is_dir()
    found.write(tmp_path / "labels.ome.tif")
    del found
    assert not folder.exists()
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "labels.ome.tif"), whole.label_image)


def test_a_segmenter_is_used_again_and_from_several_threads(nuclei, sample):
    pixels = sample[1]
    parts = [pixels[:300], pixels[200:], pixels[:, :260], pixels]
    expected = [each.label_image for each in nuclei.map(parts)]
    assert len({each.max() for each in expected}) > 1
    found = [None] * len(parts)

    def work(place):
        found[place] = nuclei(parts[place]).label_image

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(parts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", [">u2", "<i4", "u8", "f2", "f8", ">f4"])
def test_what_pixels_are_stored_as_changes_no_label(nuclei, sample, dtype):
    part = sample[1][:200, :200]
    found = nuclei(np.asfortranarray(part.astype(dtype))).label_image
    np.testing.assert_array_equal(found, nuclei(part).label_image)


def test_progress_is_told_and_can_end_the_work(nuclei, sample):
    told, image = [], sample[1]
    nuclei(image, progress=lambda step, part: told.append((step, part)))
    steps = [*dict.fromkeys(step for step, _ in told)]
    assert steps[0] == "read"
    assert steps[-2:] == ["predict", "label"]
    for step in steps:
        parts = [part for each, part in told if each == step]
        assert all(0 <= part <= 1 for part in parts)
        assert (parts[0], parts[-1]) == (0.0, 1.0)

    class Ended(Exception):
        pass

    def end(step, part):
        if step == "predict" and part > 0:
            raise Ended

    with pytest.raises(Ended):
        nuclei(image, progress=end)
    assert nuclei(image).counts["nuclear"] > 0


@pytest.mark.parametrize("shape", [(1, 1), (5, 700), (64, 64)])
def test_an_image_without_objects_has_none(nuclei, shape):
    found = nuclei(np.zeros(shape, bool))
    assert found.counts == {"nuclear": 0}
    assert not found.label_image.any()
    assert repr(found) == f"<Segmentation of image: 0 nuclear in {shape[0]} × {shape[1]} px>"


def test_facts_say_what_was_done(nuclei, sample):
    facts = nuclei(sample[0]).facts
    assert (facts.name, facts.model) == ("img2d", "cellmill-nuclei")
    assert facts.engine["engine"] == ENGINE
    assert facts.methods["nuclear"]["method"] == "deep_watershed"
    assert facts.versions["cellmill"] == cellmill.__version__
    assert facts.scale == (1, 1)
    assert 20 < facts.median_diameter_px["nuclear"] < 40
    assert {"read", "predict", "label"} <= facts.seconds.keys()
    assert facts.to_dict()["objects"] == dict(facts.objects)


@pytest.mark.parametrize(
    ("told", "by"),
    [
        ({"diameter": 96}, "diameter"),
        ({"diameter": "96"}, "diameter"),
        ({"diameter": "auto"}, "auto"),
        ({"diameter": "auto", "mpp": 0.5}, "auto"),
        ({"mpp": 0.15}, "mpp"),
        ({"mpp": 0.6}, ""),
        ({}, ""),
    ],
)
def test_large_nuclei_are_found_whole_where_their_size_is_told_or_found(nuclei, sample, told, by):
    small = sample[1][150:350, 150:350]
    large = cv2.resize(small, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    truth = nuclei(small).label_image.repeat(4, 0).repeat(4, 1)
    found = nuclei(large, **told)
    assert found.label_image.shape == large.shape
    assert found.facts.scaling["by"] == by
    right = match(pair_labels(truth, found.label_image), 0.5).f1
    if by:
        assert right > 0.8
        assert found.facts.scale == pytest.approx((0.27, 0.27), abs=0.1)
        assert 70 < found.facts.median_diameter_px["nuclear"] < 130
    else:
        # At their own scale they break apart.
        assert right < 0.5
        assert found.facts.scale == (1, 1)
    said = [remark for remark in found.facts.remarks if "the image scaled" in remark]
    assert len(said) == (by in ("auto", "mpp"))


@pytest.mark.parametrize("diameter", [-3, 0, "abc", float("nan"), 1000, "1e9"])
def test_a_diameter_that_no_object_has_is_refused(nuclei, sample, diameter):
    with pytest.raises(BadInput, match=r"^diameter"):
        nuclei(sample[1][:64, :64], diameter=diameter)


def test_parameters_of_the_method_take_effect(sample):
    few = cellmill.segment(sample[1], engine=ENGINE, parameters={"maxima_threshold": 0.9})
    assert few.counts["nuclear"] < 90
    assert few.facts.methods["nuclear"]["maxima_threshold"] == 0.9


def test_a_scale_that_is_unknown_is_said(cells):
    path, model = cells
    pixels = cellmill.read_image(path).pixels
    with pytest.warns(
        UserWarning, match=r"image: pixel size unknown \(the model expects"
    ) as caught:
        found = cellmill.segment(pixels, model=model, engine=ENGINE)
    assert caught[0].filename == __file__
    assert found.facts.scale == (1, 1)
    assert "pixel size unknown" in found.facts.remarks[0]


IMAGE = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.where(IMAGE == 7, np.nan, IMAGE), "image: expected finite pixel values, found 1 NaN"),
        (np.where(IMAGE == 7, np.inf, IMAGE), "image: expected finite pixel values, found 0 NaN"),
        (IMAGE.astype(complex), "image: expected integers or floats"),
        (IMAGE.astype(str), "image: expected integers or floats"),
        (np.array([None]), "image: expected integers or floats"),
        (IMAGE[:0], r"image: expected \(Y, X\) or \(Y, X, C\), not empty, found \(0, 64\)"),
        (IMAGE[np.newaxis, np.newaxis], r"image: expected \(Y, X\) or \(Y, X, C\)"),
        (np.stack([IMAGE] * 2, -1), r"channels of image: expected 1 for model 'cellmill-nuclei'"),
        (np.stack([IMAGE] * 2), r"found 64 channels: .* in shape \(2, 64, 64\)"),
        ("nowhere.tif", "file 'nowhere.tif': expected a file, found nothing there"),
    ],
)
def test_an_image_that_cannot_be_segmented_is_one_line(nuclei, image, said):
    with pytest.raises(BadInput, match=said) as caught:
        nuclei(image)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mpp": 0}, "mpp: expected microns per pixel"),
        ({"mpp": (1, 2, 3)}, "mpp: expected microns per pixel"),
        ({"mpp": "0.5"}, "mpp: expected microns per pixel"),
        ({"mpp": np.nan}, "mpp: expected microns per pixel"),
        ({"channels": [1]}, "channel 'index=1' of image|channel '1' of image"),
        ({"channels": "DAPI"}, "channel 'DAPI' of image"),
    ],
)
def test_an_option_that_is_wrong_is_one_line(nuclei, options, said):
    with pytest.raises(BadInput, match=said):
        nuclei(IMAGE, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"compartment": "whole-cell"}, "compartment: expected what model 'cellmill-nuclei' has"),
        ({"model": "no-such-model"}, "model 'no-such-model'"),
        ({"engine": "abacus"}, "engine: expected one of .*, found abacus"),
        ({"memory_mib": 1}, "memory_mib"),
        ({"parameters": {"radios": 3}}, "parameters: expected .*, found 'radios'"),
    ],
)
def test_a_model_that_cannot_be_had_is_one_line(options, said):
    with pytest.raises(BadInput, match=said):
        cellmill.segment(IMAGE, **{"engine": ENGINE, **options})


def test_several_kinds_are_not_one_label_image(cells):
    pixels = cellmill.read_image(cells[0]).pixels
    found = cellmill.segment(pixels, model=TWO, compartment="both", engine=ENGINE)
    with pytest.raises(BadInput, match="expected one kind of object"):
        found.label_image  # noqa: B018
