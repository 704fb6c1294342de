"""Heads that have fewer values than the slide has pixels: the maps of the whole, by shards."""

import dataclasses

import numpy as np
import pytest

from cellmill.arrays.batch import Batch
from cellmill.arrays.store import key_values
from cellmill.errors import BadInput
from cellmill.models.card import ModelCard
from cellmill.segmentation.methods import METHODS
from cellmill.stages.shared.slides.plan import UNIT, SlidePlan
from tests.inference.tiny_models import save
from tests.segmentation.strided import NAME
from tests.stages.shared.slides import by_hand

pytestmark = pytest.mark.tensorflow

STRIDE = 2


@pytest.fixture(scope="module")
def strided(model, tmp_path_factory):
    """The slides' model; its second head, which all maps are of, has one value for 2 × 2 px."""
    folder = tmp_path_factory.mktemp("strided")
    save(folder, tile=(128, 128), stride=STRIDE)
    card = ModelCard.load(model)
    first, second = card.heads
    second = dataclasses.replace(second, stride=STRIDE, placement="cropped")
    read = {name: {**said, "method": NAME} for name, said in card.postprocessing.items()}
    dataclasses.replace(card, heads=(first, second), postprocessing=read).save(folder)
    return folder


def test_maps_are_those_of_the_whole_whatever_the_shards(slide, strided, tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, NAME, "tests.segmentation.strided")
    at = {name: tmp_path / name for name in ("preprocessed", "predictions")}
    assert not by_hand.run(
        "preprocess", images=slide, model=strided, preprocessed=at["preprocessed"]
    )
    assert not by_hand.run("predict", model=strided, **at)
    whole = Batch.open(at["predictions"])
    expected = np.array(whole.read(whole.entries[0], "pixelwise"))
    assert not by_hand.plan(tmp_path, slide, strided, compartment="both")
    plans = Batch.open(tmp_path / "plan")
    (entry,) = plans.entries
    made = SlidePlan.of(entry.attributes, entry.name)
    # No two tasks write one storage unit of a map.
    assert [box.x0 for box in made.shards] == [0, UNIT * STRIDE]
    assert expected.shape == (*(-(-side // STRIDE) for side in made.shape), 3)

    def differ():
        channels = {"nuclear_maxima": 2, "nuclear_interior": 2, "whole_cell_maxima": 1}
        return [
            name
            for name, channel in channels.items()
            if not np.array_equal(plans.read(entry, name), expected[..., channel])
        ]

    with pytest.raises(BadInput, match=r"nuclear_maxima/0.*never written"):
        differ()
    memory = {"memory_mib": 64}
    by_hand.predicted(tmp_path, slide, strided, order=1, **memory)
    assert differ() == []
    # Cut off, it goes on where it was: what has its mark is not predicted again.
    store = key_values(f"{made.store}/predicted")
    marks = sorted(key for key in store.list().result() if b"-" in key.rsplit(b"/", 1)[-1])
    assert marks
    store.write(marks[0], None).result()
    done = [Batch.open(p) for p in by_hand.predicted(tmp_path, slide, strided, **memory)]
    tiles = sorted(batch.entries[0].attributes["tiles"] for batch in done)
    assert tiles[0] == 0 < tiles[1]
    assert differ() == []
