"""A slide is segmented in shards by any method, from heads or from the image itself."""

import json

import numpy as np
import pytest

from cellmill.arrays.batch import Batch
from cellmill.segmentation.methods import METHODS
from tests.segmentation import pair
from tests.stages.shared.slides import by_hand
from tests.stages.shared.slides.by_hand import in_shards, plan, predicted, settled, whole

pytestmark = pytest.mark.usefixtures("toy_method")

HEAD = {"signal_head": "pixelwise", "signal_channel": 2, "level": 0.9, "smallest": 9}
IMAGE = {"level": 0.3, "smallest": 9}


@pytest.mark.parametrize("read", ["predictions", "preprocessed"])
def test_the_toy_gives_the_labels_of_the_whole(two, model, tmp_path, read):
    parameters = json.dumps(HEAD if read == "predictions" else IMAGE)
    flags = {"method": "toy", "parameters": parameters, "compartment": "nuclear"}
    labels = whole(tmp_path / "whole", two, model, read=read, **flags)
    found, notes = in_shards(tmp_path / "shards", two, model, memory_mib=64, order=2, **flags)
    for entry, twin in zip(found.entries, labels.entries, strict=True):
        one = found.read(entry, "nuclear")
        np.testing.assert_array_equal(one, labels.read(twin, "nuclear"))
        assert one.max() > 3
        assert notes["tiles"][entry.name]["nuclear"]["tiles"] >= 1
    plans = Batch.open(tmp_path / "shards" / "plan")
    assert all([*entry.arrays] == ["nuclear_signal"] for entry in plans.entries)
    record = json.loads((tmp_path / "shards" / "p0.json").read_text())
    # No network is needed to read the image.
    assert ("engine" in record["notes"]) == (read == "predictions")


def test_a_role_may_read_several_channels(two, model, tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, pair.NAME, "tests.segmentation.pair")
    parameters = json.dumps({"signal_head": "pixelwise", "signal_channel": 1, "level": 0.9})
    flags = {"method": pair.NAME, "parameters": parameters, "compartment": "nuclear"}
    labels = whole(tmp_path / "whole", two, model, **flags)
    found, _ = in_shards(tmp_path / "shards", two, model, memory_mib=64, order=1, **flags)
    plans = Batch.open(tmp_path / "shards" / "plan")
    for entry, twin, planned in zip(found.entries, labels.entries, plans.entries, strict=True):
        assert planned.arrays["nuclear_signal"].axes == "YXC"
        assert planned.arrays["nuclear_signal"].shape[2] == 2
        one = found.read(entry, "nuclear")
        np.testing.assert_array_equal(one, labels.read(twin, "nuclear"))
        assert one.max() > 1


@pytest.mark.parametrize("rule", ["right", "reference", "cellpose4"])
def test_cellpose_s_walks_cross_seams(two, model, tmp_path, rule):
    # Of random weights: flows are slow, lead anywhere, and are no object's own.
    heads = {"flows_head": "pixelwise", "probability_head": "pixelwise", "probability_channel": 2}
    values = {"cellprob_threshold": 0.3, "flow_threshold": 1.0, "niter": 400, "rule": rule}
    parameters = json.dumps({**heads, **values})
    flags = {"method": "cellpose", "parameters": parameters, "compartment": "nuclear"}
    labels = whole(tmp_path / "whole", two, model, **flags)
    found, notes = in_shards(tmp_path / "shards", two, model, memory_mib=64, order=2, **flags)
    for entry, twin in zip(found.entries, labels.entries, strict=True):
        one = found.read(entry, "nuclear")
        np.testing.assert_array_equal(one, labels.read(twin, "nuclear"))
        assert one.max() > 3
        counts = notes["tiles"][entry.name]["nuclear"]
        assert counts["objects"] >= one.max()
        assert counts["dropped"] > 0


def test_parameters_may_still_change_when_all_is_predicted_but_heads_may_not(
    two, model, tmp_path, capsys
):
    planned = {"method": "toy", "parameters": json.dumps({**HEAD, "level": 0.5})}
    assert not plan(tmp_path, two, model, compartment="nuclear", **planned)
    predicted(tmp_path, two, model)
    other = json.dumps({"signal_head": "image", "signal_channel": 0})
    assert settled(tmp_path, parameters=other) == 2
    assert "expected the heads of the plan, pixelwise, found image" in capsys.readouterr().err
    assert settled(tmp_path, parameters=json.dumps({"radius": 3})) == 2
    assert "expected only signal_head" in capsys.readouterr().err
    assert not settled(tmp_path, parameters=json.dumps({"level": 0.9}))
    by_hand.segmented(tmp_path)
    assert not by_hand.stitched(tmp_path)
    parameters = json.dumps(HEAD)
    flags = {"method": "toy", "parameters": parameters, "compartment": "nuclear"}
    labels = whole(tmp_path / "whole", two, model, **flags)
    found = Batch.open(tmp_path / "labels")
    for entry, twin in zip(found.entries, labels.entries, strict=True):
        np.testing.assert_array_equal(found.read(entry, "nuclear"), labels.read(twin, "nuclear"))


def test_what_cannot_be_tiled_is_refused_before_anything_is_predicted(two, model, tmp_path, capsys):
    parameters = json.dumps({"tie_rule": "reference"})
    assert plan(tmp_path, two, model, parameters=parameters) == 2
    assert "tile by tile: expected tie_rule 'local'" in capsys.readouterr().err
    assert not (tmp_path / "plan").exists()
