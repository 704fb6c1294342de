"""`make compare` with DeepCell's own package in the table, each in its own environment."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from launch.run import main
from tests.conformance.conformance_model import conformance_model

pytestmark = [pytest.mark.deepcell, pytest.mark.pipeline]


def test_deepcells_package_is_a_row_of_the_table(deepcell_python: Path, tmp_path: Path) -> None:
    model = conformance_model(deepcell_python)
    given = ["--segmenters", f"voronoi_otsu 'deepcell_reference:{model}'"]
    folder = tmp_path / "run"
    arguments = [*given, "--compartment", "nuclear", "--output", str(folder)]
    assert main(["segmenter_comparison", *arguments]) == 0
    rows = list(csv.DictReader((folder / "comparison.csv").open()))
    assert [row["segmenter"] for row in rows] == ["voronoi_otsu", "deepcell_reference"]
    assert len({row["true"] for row in rows}) == 1
    assert all(int(row["found"]) > 0 for row in rows)
    assert float(rows[1]["deepcell_reference_s"]) > 0
    assert "deepcell 0.12.10" in (folder / "comparison.html").read_text()


def test_deepcells_package_is_measured_beside_others(deepcell_python: Path, tmp_path: Path) -> None:
    model = conformance_model(deepcell_python)
    settings = {
        "segmenters": f"voronoi_otsu 'deepcell_reference:{model}'",
        "sides": "256",
        "repeats": "2",
        "compartment": "nuclear",
        "densities": "1",
        "channel_counts": "0",
    }
    given = [word for k, v in settings.items() for word in (f"--{k.replace('_', '-')}", v)]
    folder = tmp_path / "run"
    assert main(["benchmark", *given, "--output", str(folder)]) == 0
    rows = [r for r in csv.DictReader((folder / "benchmark.csv").open()) if not r["step"]]
    assert [*dict.fromkeys(row["segmenter"] for row in rows)] == [
        "voronoi_otsu",
        "deepcell_reference",
    ]
    steady = [r for r in rows if r["stage"] == "deepcell_reference" and r["phase"] == "steady"]
    assert [row["repeat"] for row in steady] == ["1", "2"]
    assert len({row["run"] for row in rows}) == 1
