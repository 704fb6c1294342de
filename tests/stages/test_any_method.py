"""Stages name no method: a toy that one line registers is postprocessed, tuned and reported."""

import dataclasses
import json

import numpy as np
import pytest

from cellmill.arrays.batch import Batch
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract.cli import main
from cellmill.models.card import ModelCard, known_cards
from cellmill.segmentation import methods
from cellmill.segmentation.interface import Maps
from cellmill.segmentation.methods import find_method
from tests.segmentation.examples import EXAMPLES
from tests.segmentation.maps import balls

pytestmark = pytest.mark.usefixtures("toy_method")

MESMER = known_cards()["Mesmer"]
HEAD = {"signal_head": "nuclear_pixelwise", "signal_channel": 1, "level": 0.2, "smallest": 9}


def predictions(folder, shape, card=MESMER, **attributes):
    """A batch of one image: heads, of which one shows what the toy finds, and the image itself."""
    signal = EXAMPLES["toy"].maps(1, shape)["signal"]
    heads = {head.name: np.zeros((*shape, head.channels), np.float32) for head in card.heads}
    heads["nuclear_pixelwise"][..., 1] = signal
    image = np.zeros((*shape, len(card.input.channels)), np.float32)
    image[..., 0] = signal[::-1]
    with BatchWriter(folder / "predictions", attributes={"model": card.to_dict()}) as out:
        arrays = {**heads, "image": image}
        axes = dict.fromkeys(arrays, "YXC")
        out.write("a", arrays, axes=axes, mpp=(0.5, 0.5), attributes=attributes)
    return signal


def run(stage, **flags):
    given = [stage]
    for name, value in flags.items():
        text = json.dumps(value) if isinstance(value, dict) else str(value)
        given += [f"--{name.replace('_', '-')}", text]
    return main(given)


def postprocessed(folder, **flags):
    places = {"predictions": folder / "predictions", "labels": folder / "labels"}
    assert not run("postprocess", **places, **flags)
    batch = Batch.open(folder / "labels")
    return batch, {name: batch.read(batch.entries[0], name) for name in batch.entries[0].arrays}


def expected(signal, **parameters):
    toy = find_method("toy")
    return toy.segment(Maps.of(signal=signal), toy.parameters(**parameters), "canonical")


@pytest.mark.parametrize("memory_mib", [1024, 64], ids=["whole", "tiled"])
def test_postprocess_runs_it_on_a_head_and_on_the_image(tmp_path, memory_mib):
    signal = predictions(tmp_path, (1300, 1400))
    flags = {"method": "toy", "compartment": "nuclear", "memory_mib": memory_mib}
    batch, found = postprocessed(tmp_path, **flags, parameters=HEAD)
    whole = expected(signal, level=0.2, smallest=9)
    assert whole.max() > 100
    np.testing.assert_array_equal(found["nuclear"], whole)
    assert ("tiles" in batch.entries[0].attributes) == (memory_mib == 64)
    assert batch.entries[0].attributes["objects"] == {"nuclear": whole.max()}
    # The toy reads the image if nobody says otherwise.
    _, found = postprocessed(tmp_path, **flags, parameters={"level": 0.2, "smallest": 9})
    np.testing.assert_array_equal(found["nuclear"], expected(signal[::-1], level=0.2, smallest=9))


def test_a_card_may_name_it(tmp_path):
    card = MESMER.with_postprocessing({"nuclear": {"method": "toy", **HEAD}})
    signal = predictions(tmp_path, (90, 80), card, source_shape=[180, 160])
    _, found = postprocessed(tmp_path, compartment="both")
    assert {*found} == {"whole_cell", "nuclear"}
    assert found["nuclear"].shape == (180, 160)
    assert found["nuclear"].max() == expected(signal, level=0.2, smallest=9).max()


@pytest.mark.parametrize("memory_mib", [1024, 64], ids=["whole", "tiled"])
def test_a_head_of_fewer_values_gives_labels_of_the_image_s_own_shape(tmp_path, memory_mib):
    """Sides that the stride does not divide: what was predicted says how large the image is."""
    shape = (1301, 1399)
    heads = tuple(
        dataclasses.replace(head, stride=2) if head.name == HEAD["signal_head"] else head
        for head in MESMER.heads
    )
    said = {"nuclear": {"method": "toy", **HEAD}}
    card = dataclasses.replace(
        MESMER, heads=heads, postprocessing=said, default_compartment="nuclear"
    )
    signal = EXAMPLES["toy"].maps(1, shape)["signal"][::2, ::2]
    given = {HEAD["signal_head"]: np.stack([signal] * 3, axis=-1)}
    axes = dict.fromkeys(given, "YXC")
    attributes = {"source_shape": [*shape], "scale": [1.0, 1.0]}
    with BatchWriter(tmp_path / "predictions", attributes={"model": card.to_dict()}) as out:
        out.write("a", given, axes=axes, attributes=attributes)
    batch, found = postprocessed(tmp_path, memory_mib=memory_mib)
    fine = signal.repeat(2, axis=0).repeat(2, axis=1)[: shape[0], : shape[1]]
    np.testing.assert_array_equal(found["nuclear"], expected(fine, level=0.2, smallest=9))
    assert ("tiles" in batch.entries[0].attributes) == (memory_mib == 64)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"parameters": {"level": 2}}, "parameters.level: expected more than 0 and at most 1, fo"),
        ({"parameters": {"radius": 2}}, "parameters: expected only signal_head, signal_channel, l"),
        ({"method": "toys"}, "method: expected one of deep_watershed, "),
    ],
)
def test_what_it_does_not_take_is_one_line(tmp_path, capsys, flags, says):
    predictions(tmp_path, (30, 40))
    places = {"predictions": tmp_path / "predictions", "labels": tmp_path / "labels"}
    assert run("postprocess", **places, **{"method": "toy", **flags}) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("cellmill")]
    assert line.startswith(f"cellmill postprocess: {says}")
    assert not (tmp_path / "labels").exists()


def test_tuning_tries_what_the_method_says(tmp_path):
    signal = predictions(tmp_path, (90, 80))
    truth = expected(signal, level=0.15, smallest=1)
    with BatchWriter(tmp_path / "truth") as out:
        out.write("a", {"labels": truth}, axes={"labels": "YX"})
    (tmp_path / "base").mkdir()
    MESMER.save(tmp_path / "base")
    (tmp_path / "base" / "saved_model.pb").write_bytes(b"a network that is not run")
    places = {name: tmp_path / name for name in ("truth", "base", "model", "results", "surface")}
    places |= {"predictions": tmp_path / "predictions", "html": tmp_path / "tuning.html"}
    chosen = {"method": "toy", "parameters": HEAD, "compartment": "nuclear"}
    assert not run("tune_postprocessing", **places, **chosen, axes={"smallest": [1, 9]})
    document = json.loads((tmp_path / "results").read_text())
    assert document["method"] == "toy"
    assert {*document["tried"]} == {"level", "smallest"}
    # 0.8 is four times the card's level, 0.1 half of it; finer steps lie between them.
    assert {0.1, 0.2, 0.8} < {*document["tried"]["level"]}
    assert document["default"]["value"] < document["best"]["value"] == 1
    assert document["best"]["parameters"] == {"level": 0.15, "smallest": 1}
    tuned = ModelCard.load(tmp_path / "model")
    plain = tuned.postprocessing["nuclear"]
    assert (plain["method"], plain["signal_head"]) == ("toy", "nuclear_pixelwise")
    assert plain["level"] == document["best"]["parameters"]["level"]
    assert "<h1>Post-processing of Mesmer 9</h1>" in (tmp_path / "tuning.html").read_text()
    # What was tuned is what the card then does.
    predictions(tmp_path, (90, 80), tuned)
    _, found = postprocessed(tmp_path, compartment="nuclear")
    level, smallest = plain["level"], plain["smallest"]
    np.testing.assert_array_equal(
        found["nuclear"], expected(signal, level=level, smallest=smallest)
    )


def test_its_labels_are_measured_scored_and_reported(tmp_path):
    signal = predictions(tmp_path, (90, 80))
    postprocessed(tmp_path, method="toy", parameters=HEAD, compartment="nuclear")
    with BatchWriter(tmp_path / "images") as out:
        image = (signal[..., None] * 1000).astype(np.uint16)
        out.write("a", {"image": image}, axes={"image": "YXC"}, mpp=(0.5, 0.5), channels=["DAPI"])
    with BatchWriter(tmp_path / "truth") as out:
        out.write("a", {"labels": balls(1, (90, 80), 48, 7)}, axes={"labels": "YX"})
    at = {p.name: p for p in (tmp_path / "images", tmp_path / "labels", tmp_path / "truth")}
    images, labels, truth = at["images"], at["labels"], at["truth"]
    made = {name: tmp_path / name for name in ("measurements", "scores", "reports")}
    assert not run("measure", images=images, labels=labels, measurements=made["measurements"])
    assert not run("metrics", labels=labels, truth=truth, scores=made["scores"])
    assert not run(
        "report", images=images, labels=labels, truth=truth, **made, html=tmp_path / "report.html"
    )
    objects = expected(signal, level=0.2, smallest=9).max()
    page = (tmp_path / "report.html").read_text()
    assert "model Mesmer 9, toy" in page
    assert f"{objects} nuclei" in " ".join(page.split()) or f">{objects}<" in page


def test_the_library_s_one_call_runs_it():
    signal = EXAMPLES["toy"].maps(2, (50, 60))["signal"]
    heads = {"image": np.stack([signal, 0 * signal], axis=-1)}
    found = methods.segment(MESMER, heads, "nuclear", method="toy", parameters={"level": 0.3})
    np.testing.assert_array_equal(found["nuclear"], expected(signal, level=0.3))
