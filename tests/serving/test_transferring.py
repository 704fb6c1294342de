"""A box that is served holds what `transfer_style` makes of the whole volume there."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile

from cellmill.errors import BadInput
from cellmill.inference.predictor import Predictor
from cellmill.models.fetch import FetchedModel
from cellmill.style_transfer.applying import grid_for, transfer_volume
from cellmill.style_transfer.volumes import open_volume
from serving.asking import Ask
from serving.loading import load
from serving.settings import Settings
from serving.transferring import Transferring
from tests.style_transfer.generators import random_generator, tissue

pytestmark = pytest.mark.tensorflow
SHAPE = (20, 52, 44)


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generator")
    return FetchedModel(folder, random_generator(folder, block=16), "")


@pytest.fixture(scope="module")
def of_volumes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("of_volumes")
    return FetchedModel(folder, random_generator(folder, width=2, block=16, volume=True), "")


@pytest.fixture(scope="module", params=["zyx", "z", "volume"])
def served(request, generator, of_volumes):
    found = of_volumes
    if request.param != "volume":
        card = replace(generator.card, input=replace(generator.card.input, planes=request.param))
        found = replace(generator, card=card)
    return found, Transferring(found, most_pixels=1 << 20, engine="openvino", threads=2)


def whole(found, volume):
    grid, card = grid_for(found.card, volume.shape)
    predictor = Predictor(found.folder, card, card.heads, engine="openvino", threads=2)
    out = np.zeros(volume.shape, np.uint8)
    transfer_volume(volume, out, grid, predictor)
    return out


def test_any_box_is_the_whole_volumes(served, tmp_path):
    found, network = served
    volume = tissue(SHAPE)
    place = tmp_path / "x.tif"
    tifffile.imwrite(place, volume)
    wanted = whole(found, volume)
    for box in ((0, 0, 0, *SHAPE), (3, 5, 7, 20, 41, 30), (9, 20, 16, 10, 52, 44)):
        (made,) = network(Ask(None, str(place), box)).arrays.values()
        z, y, x = (slice(a, b) for a, b in zip(box[:3], box[3:], strict=True))
        assert np.array_equal(made, wanted[z, y, x])


def test_a_small_box_is_no_large_ones_work_and_holds_the_same(generator, monkeypatch, tmp_path):
    seen = []
    called = Predictor.__call__

    def look(self, tiles):
        seen.append(tiles.shape[1])
        return called(self, tiles)

    monkeypatch.setattr(Predictor, "__call__", look)
    card = replace(generator.card, input=replace(generator.card.input, planes="z"))
    found = replace(generator, card=card)
    network = Transferring(found, block=128, most_pixels=1 << 20, engine="openvino", threads=2)
    volume = tissue((2, 70, 300))
    place = tmp_path / "x.tif"
    tifffile.imwrite(place, volume)
    wanted = whole(found, volume)
    for box, sides in (
        ((0, 3, 5, 2, 67, 68), {128 + 40}),
        ((1, 4, 8, 2, 68, 72), {64 + 40}),
        # The last of three blocks along x is small.
        ((0, 6, 0, 2, 60, 300), {128 + 40, 64 + 40}),
    ):
        seen.clear()
        (made,) = network(Ask(None, str(place), box)).arrays.values()
        z, y, x = (slice(a, b) for a, b in zip(box[:3], box[3:], strict=True))
        assert np.array_equal(made, wanted[z, y, x])
        assert {*seen} == sides


def test_a_box_may_be_written_where_it_is_asked_for(served, tmp_path):
    _, network = served
    source, place = tmp_path / "x.tif", tmp_path / "y.zarr"
    tifffile.imwrite(source, tissue(SHAPE))
    ask = Ask(None, str(source), (3, 5, 7, 20, 41, 30), {"destination": str(place)})
    answer = network(ask)
    (wanted,) = network(replace(ask, parameters={})).arrays.values()
    assert (answer.arrays, answer.facts["voxels"]) == ({}, wanted.size)
    assert np.array_equal(open_volume(str(place))[...], wanted)


def test_a_box_that_came_along_is_a_whole_volume(served):
    found, network = served
    volume = tissue((6, 24, 28), seed=1)
    (made,) = network(Ask(volume)).arrays.values()
    assert np.array_equal(made, whole(found, volume))


def test_what_is_no_box_is_refused(served):
    _, network = served
    for image in (np.zeros((4, 4), np.uint16), np.zeros(4, np.uint8)):
        with pytest.raises(BadInput, match=r"image: expected \(Z, Y, X\) or \(Y, X\), uint8"):
            network(Ask(image))
    with pytest.raises(BadInput, match="image: expected at most 1048576 pixels"):
        network(Ask(np.zeros((2, 1024, 1024), np.uint8)))
    with pytest.raises(BadInput, match="parameters: expected of scale"):
        network(Ask(np.zeros((4, 4), np.uint8), parameters={"mpp": 1}))


def test_the_card_says_what_is_served(generator):
    name, network = load(Settings(model=str(generator.folder), engine="openvino"))
    assert (name, type(network)) == ("random", Transferring)
    assert network.inputs[0].datatype == network.outputs[0].datatype == "UINT8"
