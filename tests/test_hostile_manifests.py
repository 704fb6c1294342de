"""A manifest that somebody else wrote is checked whole: every stage refuses it in one line."""

import json

import numpy as np
import pytest
import tifffile

from cellmill.contract.cli import main
from cellmill.contract.spec import StageSpec
from tests.by_hand import calls

pytestmark = pytest.mark.tensorflow

STAGES = ("preprocess", "predict", "postprocess", "export_labels", "measure", "metrics", "report")


def entry(**changes):
    """Change fields of the first image."""
    return lambda manifest: manifest["entries"][0].update(changes)


def array(**changes):
    """Change fields of every array of the first image."""

    def change(manifest):
        arrays = manifest["entries"][0]["arrays"]
        if not arrays:
            arrays["image"] = {"shape": [1, 1, 1], "dtype": "uint8", "axes": "YXC", "crc32": 0}
        for info in arrays.values():
            info.update(changes)

    return change


def twice(manifest):
    manifest["entries"].append(manifest["entries"][0])


def without_entries(manifest):
    del manifest["entries"]


def nameless(manifest):
    del manifest["entries"][0]["name"]


HOSTILE = {
    "name that leaves the folder": entry(name="../secret"),
    "absolute name": entry(name="/etc/passwd"),
    "hidden name": entry(name=".ssh"),
    "empty name": entry(name=""),
    "number for a name": entry(name=7),
    "long name": entry(name="a" * 300),
    "no name": nameless,
    "one name twice": twice,
    "no entries": without_entries,
    "entries that are no list": lambda manifest: manifest.update(entries={"a": 1}),
    "entry that is no object": lambda manifest: manifest.update(entries=["a"]),
    "unknown status": entry(status="maybe"),
    "unknown field": entry(execute="rm"),
    "file elsewhere": entry(files={"csv": "/etc/passwd"}),
    "file above": entry(files={"csv": "../a.csv"}),
    "endless shape": array(shape=[1 << 60, 1 << 60, 1]),
    "negative shape": array(shape=[-4, 4, 1]),
    "shape of texts": array(shape=["4", "4", "1"]),
    "objects for numbers": array(dtype="object"),
    "axis twice": array(axes="YYY"),
    "store above": array(store="../../other.zarr"),
    "pixel size of zero": entry(mpp=[0, 0]),
    "pixel size that is no number": entry(mpp=[float("nan"), 1]),
    "pixel size of one number": entry(mpp=[1.0]),
    "channels that are no list": entry(channels="DAPI"),
    "attributes that are no object": entry(attributes=[1]),
    "batch attributes that are no object": lambda manifest: manifest.update(attributes="x"),
    "another format": lambda manifest: manifest.update(format="cellmill-batch/99"),
}
TEXTS = {"deep": "[" * 100_000, "not UTF-8": b"\xff\xfe{}", "nothing": "", "null": "null"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Run all stages once; give the folder and the command line of each."""
    folder = tmp_path_factory.mktemp("made")
    image = folder / "a.tif"
    pixels = np.zeros((40, 50), np.uint16)
    pixels[10:25, 10:25] = 1000
    tifffile.imwrite(image, pixels)
    found = {call[0]: call for call in calls(folder, image)}
    assert all(main(call) == 0 for call in found.values())
    return folder, found


def batches(stage):
    """The inputs of a stage that are batches."""
    spec = StageSpec.load(stage)
    return [a.name for a in spec.inputs if not a.optional and a.name != "model"]


@pytest.fixture(params=[(s, i) for s in STAGES for i in batches(s)], ids="-".join)
def stage_call(request, made, tmp_path):
    """Give a function that runs a stage with the manifest of one input replaced."""
    stage, changed = request.param
    folder, found = made
    call, outputs = [*found[stage]], []
    for output in StageSpec.load(stage).outputs:
        if f"--{output.name}" in call:
            place = tmp_path / output.name
            call[call.index(f"--{output.name}") + 1] = str(place)
            outputs.append(place)

    def run(manifest):
        copy = tmp_path / f"hostile_{changed}"
        copy.mkdir()
        for path in (folder / changed).iterdir():
            (copy / path.name).symlink_to(path)
        (copy / "manifest.json").unlink()
        text = (folder / changed / "manifest.json").read_text()
        if callable(manifest):
            document = json.loads(text)
            manifest(document)
            text = json.dumps(document)
        else:
            text = manifest
        data = text if isinstance(text, bytes) else text.encode()
        (copy / "manifest.json").write_bytes(data)
        call[call.index(f"--{changed}") + 1] = str(copy)
        return main(call), outputs

    return run


@pytest.mark.parametrize("manifest", [*HOSTILE.values(), *TEXTS.values()], ids=[*HOSTILE, *TEXTS])
def test_every_stage_refuses_it_in_one_line_and_leaves_nothing(manifest, stage_call, capsys):
    code, outputs = stage_call(manifest)
    lines = capsys.readouterr().err.splitlines()
    assert code == 2, lines
    assert len(lines) == 1
    assert not [place for place in outputs if place.exists()]
