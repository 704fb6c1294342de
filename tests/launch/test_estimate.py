"""`make estimate`: what is known is added up, what is not is said."""

import json

import numpy as np
import pytest
import tifffile

from cellmill.errors import BadInput
from cellmill.reporting.costs import Rented, hourly, prices
from launch import estimate
from launch.estimate import SPEEDS, pixels_of

MEASURED = {
    stage: {"start_s": 2.0, "mpx_per_s": 10.0}
    for stage in ("tiff_to_npz", "preprocess", "postprocess", "export_labels", "measure")
} | {
    stage: {"start_s": 1.0, "mpx_per_s": None}
    for stage in ("fetch_model", "metrics", "report", "export_results", "summarize")
}
SPEED = {
    "measured": {
        "command": "make speeds",
        "date": "2026-01-01",
        "cpus": 2,
        "cpu_model": "x",
        "load": 0.1,
        "stages": MEASURED,
    },
    "published": [
        {
            "stages": ["predict"],
            "accelerator": "NVIDIA_TESLA_T4",
            "megapixels": 139,
            "seconds": 193,
            "source": "a run",
        }
    ],
}
NAME = "deepcell_segmentation"


def by_stage(megapixels=139.0, **given):
    rows = estimate.estimate(NAME, megapixels, given, SPEED)
    return {row.stage: row for row in rows}


def test_stages_are_timed_and_priced_on_the_machines_that_are_asked_for():
    rows = by_stage(region="europe-west4")
    assert next(iter(rows)) == "fetch_model"
    assert list(rows)[-1] == "summarize"
    assert rows["measure"].seconds == pytest.approx(2 + 13.9)
    assert rows["metrics"].seconds == 1
    cpu = Rented("europe-west4", "e2-standard-4")
    assert rows["measure"].machine == cpu
    assert rows["measure"].usd == pytest.approx(hourly(cpu) * 15.9 / 3600)
    t4 = Rented("europe-west4", "n1-standard-8", "NVIDIA_TESLA_T4", 1)
    assert rows["predict"].machine == t4
    assert rows["predict"].seconds == pytest.approx(193)
    assert rows["predict"].usd == pytest.approx(hourly(t4) * 193 / 3600)


def test_a_gpu_of_which_no_speed_is_known_is_not_guessed():
    rows = by_stage(accelerator="NVIDIA_L4", spot="1")
    assert rows["predict"].machine == Rented("us-central1", "g2-standard-8", "NVIDIA_L4", 1, True)
    assert rows["predict"].seconds is None
    assert rows["predict"].usd is None
    text = "\n".join(estimate.told(NAME, 1.0, {"accelerator": "NVIDIA_L4"}, SPEED))
    assert "no speed is known of predict there" in text
    assert "cost: at least $" in text
    assert prices()["date"] in text


def test_here_it_costs_nothing_that_is_known_and_on_kubernetes_it_is_unknown():
    for target in ("local", "kubeflow"):
        assert all(row.usd is None for row in by_stage(target=target).values())
    assert "$" not in "\n".join(estimate.told(NAME, 1.0, {"target": "local"}, SPEED))


@pytest.mark.parametrize("region", ["", "asia-east1"])
def test_a_region_without_prices_is_said(region):
    text = "\n".join(estimate.told(NAME, 1.0, {"region": region}, SPEED))
    assert ("no price is known of e2-standard-4" in text) == bool(region)


@pytest.mark.parametrize(
    ("text", "pixels"), [("139e6", 139e6), ("10x20", 200), ("3×4", 12), ("5", 5)]
)
def test_pixels(text, pixels):
    assert pixels_of(text) == pixels


@pytest.mark.parametrize("text", ["many", "1x2x3", "0", "-4", ""])
def test_no_pixels_are_one_line(text):
    with pytest.raises(BadInput, match=r"^PIXELS: expected a number"):
        pixels_of(text)


def test_images_are_counted_by_their_headers(tmp_path, capsys):
    for name, shape in (("a", (300, 500)), ("b", (2, 100, 50))):
        tifffile.imwrite(
            tmp_path / f"{name}.tif", np.zeros(shape, np.uint8), photometric="minisblack"
        )
    assert estimate.pixels_at(str(tmp_path), {}) == 300 * 500 + 100 * 50
    assert estimate.main(["--image", str(tmp_path), "--target", "local"]) == 0
    assert "0.155 Mpx" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "IMAGE or PIXELS: expected one of them, found neither"),
        (["--pixels", "1", "--image", "x"], "found both"),
        (["slides", "--pixels", "1"], "NAME: expected one of benchmark, cellpose_training"),
        (["--pixels", "1", "--target", "moon"], "TARGET: expected vertex"),
        (["--pixels", "1", "--accelerator", "X"], "ACCELERATOR: expected one of"),
    ],
)
def test_bad_settings_are_one_line(arguments, says, capsys):
    assert estimate.main(arguments) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_the_committed_speeds_say_where_they_are_from():
    speeds = json.loads(SPEEDS.read_text())
    measured = speeds["measured"]
    assert measured["command"].startswith("make speeds")
    for pipeline in ("deepcell_segmentation", "slide_segmentation"):
        for row in estimate.estimate(pipeline, 100.0, {"target": "local"}, speeds):
            # Beside other work only part of it could be measured; `make speeds` has it all.
            assert row.seconds is not None or measured["load"] > measured["cpus"], row.stage
    assert all(row["source"] for row in speeds["published"])
