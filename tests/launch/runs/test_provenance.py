"""A run's folder is an RO-Crate: it names what is there, and of what it was made."""

import json
import os
import subprocess

import pytest

from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract import Dataset
from launch.runs.collecting import collect
from pipelines.outputs import OutputFile

TABLE = (
    OutputFile("labels", "tif", "labels.tif"),
    OutputFile("labels", "spatialdata.zarr", "spatialdata.zarr"),
)
RUN = {
    "pipeline": "deepcell_segmentation",
    "version": "0.1.0",
    "started": "2026-01-01T10:00:00+00:00",
    "images": [{"image": "/data/a b.tif", "digest": "sha256:1", "truth": "gs://b/t.tif"}],
    "arguments": {"mpp": 0.5, "parameters": {"radius": 3}, "model": ""},
}
READ = """
import sys
from rocrate.rocrate import ROCrate
crate = ROCrate(sys.argv[1])
action = crate.get("#run")
print([each.id for each in crate.root_dataset["hasPart"]])
print([each.id for each in action["result"]])
print(action["instrument"]["softwareVersion"], crate.get("#model-0")["name"])
print([each["value"] for each in action["object"] if each.type == "PropertyValue"])
"""


@pytest.fixture
def folder(tmp_path):
    attributes = {"model": {"name": "m", "version": "1", "licence": "MIT"}}
    with BatchWriter(tmp_path / "artifact", attributes | {"libraries": {"numpy": "2"}}) as out:
        for name in ("a", "b"):
            with out.open(name, "tif") as file:
                file.write(b"12345")
            with out.folder_of(name, "spatialdata.zarr") as store:
                (store / "zarr.json").write_text("{}")
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text(json.dumps(RUN))
    collect({"labels": [Dataset(tmp_path / "artifact")]}, TABLE, run)
    return run


def test_all_that_is_named_is_described_and_all_files_are_there(folder):
    graph = json.loads((folder / "ro-crate-metadata.json").read_text())["@graph"]
    things = {each["@id"]: each for each in graph}
    assert len(things) == len(graph)

    def named(value):
        if isinstance(value, dict):
            yield from [value["@id"]] if set(value) == {"@id"} else []
        for each in value if isinstance(value, list) else []:
            yield from named(each)

    ids = {i for each in graph for value in each.values() for i in named(value)}
    assert {i for i in ids if not i.startswith("http")} <= set(things)
    parts = [each["@id"] for each in things["./"]["hasPart"]]
    assert parts == [
        *("a/labels.tif", "a/spatialdata.zarr/", "b/labels.tif", "b/spatialdata.zarr/"),
    ]
    assert all((folder / part).exists() for part in parts)
    assert things["a/labels.tif"]["contentSize"] == "5"
    assert things["file:///data/a%20b.tif"]["identifier"] == "sha256:1"
    assert things["#model-0"]["license"] == "MIT"
    assert things["#library-numpy"]["softwareVersion"] == "2"


@pytest.mark.readers
def test_the_library_of_crates_reads_it(folder, readers):
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [str(readers), "-c", READ, str(folder)],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    parts, results, names, values = done.stdout.splitlines()
    assert parts == results
    assert "a/labels.tif" in parts
    assert names == "0.1.0 m"
    assert "0.5" in values
