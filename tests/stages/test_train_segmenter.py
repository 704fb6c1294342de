"""The stage makes a model that the other stages can use, from batches, by command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cellmill.arrays.batch_writer import BatchWriter
from cellmill.models.card import ModelCard, known_cards

ROOT = Path(__file__).parents[2]
SHAPE = (80, 96)


def blobs(seed):
    random = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.int32)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for label in range(1, 7):
        cy, cx = random.uniform(8, SHAPE[0] - 8), random.uniform(8, SHAPE[1] - 8)
        disc = (y - cy) ** 2 + (x - cx) ** 2 < 49
        if not labels[disc].any():
            labels[disc] = label
    image = 100 + 900 * (labels > 0) + random.normal(0, 30, SHAPE)
    return image.clip(0).astype(np.uint16), labels


def batches(folder, names, change=None):
    """Batches as tiff_to_npz makes them: images, truth, and debris as truth of another run."""
    with (
        BatchWriter(folder / "images") as images,
        BatchWriter(folder / "truth") as truth,
        BatchWriter(folder / "debris") as debris,
    ):
        for i, name in enumerate(names):
            image, labels = blobs(i)
            if change and i == len(names) - 1:
                image, labels = change(image, labels)
            other = np.zeros_like(image)
            stack = np.stack([other, image], -1)
            attributes = {"segmentation_channels": [1]}
            images.write(
                name,
                {"image": stack},
                axes={"image": "YXC"},
                mpp=(0.5, 0.5),
                channels=["GFP", "DAPI"],
                attributes=attributes,
            )
            truth.write(name, {"labels": labels}, axes={"labels": "YX"})
            spot = np.zeros_like(labels)
            spot[:4, :4] = 1
            debris.write(name, {"labels": spot}, axes={"labels": "YX"})
        truth.annotate("no truth", truth=False)
        image, _ = blobs(99)
        images.write("no truth", {"image": image[..., None]}, axes={"image": "YXC"})


def stage(folder, *arguments, output="model"):
    return subprocess.run(
        [
            *(sys.executable, "-m", "cellmill", "train_segmenter"),
            *("--images", str(folder / "images"), "--labels", str(folder / "truth")),
            *("--model", str(folder / output), "--metrics", str(folder / f"{output}.json")),
            *("--record", str(folder / f"{output}-record.json")),
            *("--steps", "4", "--batch-size", "1", "--crop", "48", *arguments),
        ],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.tensorflow
def test_model_card_metrics_and_going_on_from_it(tmp_path):
    batches(tmp_path, ["a", "b", "c", "d"])
    done = stage(
        tmp_path,
        *("--validation", "c, d*", "--hard-background", str(tmp_path / "debris")),
        *("--name", "blobs", "--seed", "3", "--licence", "CC0-1.0"),
    )
    assert done.returncode == 0, done.stderr
    card = ModelCard.load(tmp_path / "model")
    assert (card.name, card.licence, card.compartments) == ("blobs", "CC0-1.0", ("nuclear",))
    assert [channel.name for channel in card.input.channels] == ["nuclear"]
    assert [head.channels for head in card.heads] == [1, 3]
    assert card.training["images"] == ["a", "b"]
    assert card.training["validation"] == ["c", "d"]
    assert card.training["parameters"]["seed"] == 3
    assert card.training["parameters"]["learning_rate"] == 0.003
    assert card.training["base"] == card.training["base_source"] == ""
    assert card.training["hard_background"] is True
    # Discs of a radius of 7 px at 0.5 µm, some cut by the border or by others.
    assert card.input.object_diameter == {"nuclear": pytest.approx(13.7, abs=1)}
    assert card.input.object_diameter_um == {"nuclear": pytest.approx(6.9, abs=0.5)}
    assert card.input.scale_tolerance > 1
    metrics = json.loads((tmp_path / "model.json").read_text())
    assert metrics["validation"] == card.accuracy["validation"]
    assert metrics["validation"]["images"] == 2
    assert len(metrics["curve"]) == 2

    done = stage(
        tmp_path,
        *("--validation", "c,d", "--base", str(tmp_path / "model"), "--learning-rate", "1e-9"),
        output="tuned",
    )
    assert done.returncode == 0, done.stderr
    tuned = ModelCard.load(tmp_path / "tuned")
    assert tuned.training["base"] == "blobs 1"
    assert tuned.training["base_source"] == "given"
    assert tuned.accuracy["validation_before"] == card.accuracy["validation"]
    assert "no truth: no truth, left out" in done.stderr


@pytest.mark.tensorflow
def test_both_compartments_at_once_in_mesmers_order(tmp_path):
    def two(image, labels):
        return image, np.stack([labels, np.where(labels % 2, labels, 0)], -1)

    with BatchWriter(tmp_path / "images") as images, BatchWriter(tmp_path / "truth") as truth:
        for i, name in enumerate("abc"):
            image, labels = two(*blobs(i))
            images.write(
                name,
                {"image": np.stack([image, image], -1)},
                axes={"image": "YXC"},
                channels=["nuclear", "membrane"],
            )
            truth.write(name, {"labels": labels}, axes={"labels": "YXC"})
    done = stage(tmp_path, "--validation", "c", "--compartment", "both")
    assert done.returncode == 0, done.stderr
    card = ModelCard.load(tmp_path / "model")
    mesmer = known_cards()["Mesmer"]
    assert card.heads == mesmer.heads
    assert card.compartments == mesmer.compartments
    assert card.default_compartment == "whole_cell"
    assert [channel.name for channel in card.input.channels] == ["nuclear", "membrane"]
    labels = blobs(2)[1]
    counts = {k: v["objects"] for k, v in card.accuracy.items()}
    nuclei = len(np.unique(labels[labels % 2 > 0]))
    assert counts == {"validation_whole_cell": labels.max(), "validation_nuclear": nuclei}
    metrics = json.loads((tmp_path / "model.json").read_text())
    assert metrics["validation_nuclear"] == card.accuracy["validation_nuclear"]

    done = stage(tmp_path, "--base", str(tmp_path / "model"), output="tuned")
    assert done.returncode == 2
    assert "base: expected a model of compartment 'nuclear'" in done.stderr


def test_one_plane_of_labels_does_not_teach_both(tmp_path):
    batches(tmp_path, ["a", "b"])
    done = stage(tmp_path, "--compartment", "both")
    assert done.returncode == 2
    assert (
        "labels of 'a': expected integers (Y, X), a plane each of cells and nuclei" in done.stderr
    )


@pytest.mark.tensorflow
def test_a_kind_of_object_that_nobody_knew_is_taught(tmp_path):
    """Its labels lie in an array of its name, beside those of nuclei."""
    batches(tmp_path, ["a", "b"])
    with BatchWriter(tmp_path / "truth") as truth:
        for i, name in enumerate(["a", "b"]):
            labels = blobs(i)[1]
            both = {"lipid_droplet": labels, "nuclear": np.flipud(labels)}
            truth.write(name, both, axes=dict.fromkeys(both, "YX"))
    done = stage(tmp_path, "--compartment", "nuclei,lipid-droplet")
    assert done.returncode == 0, done.stderr
    card = ModelCard.load(tmp_path / "model")
    assert card.compartments == ("nuclear", "lipid_droplet")
    assert card.default_compartment == "nuclear"
    heads = [(head.compartment, head.kind) for head in card.heads]
    kinds = ["inner_distance", "pixelwise"]
    assert heads == [(kind, head) for kind in card.compartments for head in kinds]
    measured = json.loads((tmp_path / "model.json").read_text())
    objects = int(blobs(0)[1].max()), int(blobs(1)[1].max())
    for kind in card.compartments:
        assert measured[f"validation_{kind}"]["objects"] in objects


def nan(image, labels):
    image = image.astype(np.float32)
    image[3, 3] = np.nan
    return image, labels


@pytest.mark.parametrize(
    ("names", "change", "arguments", "says"),
    [
        (["a"], None, [], "at least two with labels"),
        (["a", "b"], None, ["--validation", "x*"], "names of some, not all"),
        (["a", "b"], None, ["--validation", "*"], "names of some, not all"),
        (["a", "b"], None, ["--crop", "50"], "a multiple of 16"),
        (["a", "b"], None, ["--validation-fraction", "1.5"], "validation_fraction"),
        (["a", "b"], None, ["--base", "{folder}"], "a model without a card"),
        (["a"], None, ["--base", "{folder}", "--base-source", ""], "at least two with labels"),
        (["a", "b"], nan, [], "image 'b'"),
        (["a", "b"], lambda i, t: (i, t[:-1]), [], "labels of 'b'"),
        (["a", "b"], lambda i, t: (i, t.astype(np.float32)), [], "labels of 'b'"),
        (["a", "b"], lambda i, t: (i, t * 0), ["--validation", "a"], "training images"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, names, change, arguments, says):
    batches(tmp_path, names, change)
    done = stage(tmp_path, *(argument.format(folder=tmp_path) for argument in arguments))
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "model" / "model.json").exists()
