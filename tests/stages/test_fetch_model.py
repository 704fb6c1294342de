"""The stage leaves a complete model folder, and its record holds no secret."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cellmill.io.digests import folder_digest
from cellmill.models.card import ModelCard, known_cards

ROOT = Path(__file__).parents[2]
TOKEN = "secret-token-of-a-user"


def stage(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "cellmill", "fetch_model", *arguments],
        cwd=ROOT,
        env={**os.environ, "DEEPCELL_ACCESS_TOKEN": TOKEN, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def saved_model(tmp_path):
    folder = tmp_path / "m"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"\x08\x01")
    (folder / "variables" / "variables.index").write_bytes(b"index")
    known_cards()["Mesmer"].save(tmp_path)
    return folder


def test_bare_saved_model_gets_its_card(saved_model, tmp_path):
    out, record = tmp_path / "out", tmp_path / "record.json"
    done = stage(
        *("--model", str(out), "--record", str(record), "--source", str(saved_model)),
        *("--card", str(tmp_path / "model.json"), "--digest", folder_digest(saved_model)),
    )
    assert done.returncode == 0, done.stderr
    assert ModelCard.load(out) == known_cards()["Mesmer"]
    assert (out / "variables/variables.index").read_bytes() == b"index"
    written = record.read_text()
    assert TOKEN not in written + done.stdout + done.stderr
    assert json.loads(written)["notes"]["model"] == "Mesmer"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--source", "{model}"], "a model without a card"),
        (["--source", "{model}/nothing"], "no such file or name"),
        (["--source", "Mesmer"], "(127.0.0.1:9)"),
        (["--source", "{model}", "--card", "{model}/saved_model.pb"], "JSON"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(saved_model, tmp_path, arguments, says):
    done = stage(
        *("--model", str(tmp_path / "out"), "--record", str(tmp_path / "record.json")),
        *(argument.format(model=saved_model) for argument in arguments),
        CELLMILL_DEEPCELL_API="http://127.0.0.1:9/",
        XDG_CACHE_HOME=str(tmp_path / "cache"),
    )
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert TOKEN not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out" / "model.json").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"radius": 0}, "postprocessing.nuclear.radius: expected at least 1, found 0"),
        (
            {"method": "magic"},
            "postprocessing.nuclear.method: expected one of deep_watershed, ",
        ),
        ({"raduis": 2}, "postprocessing.nuclear: expected only maxima_head, maxima_channel, "),
    ],
)
def test_a_card_is_held_against_the_methods_that_there_are(saved_model, tmp_path, change, says):
    card = known_cards()["Mesmer"]
    wrong = {"nuclear": {**card.postprocessing["nuclear"], **change}}
    card.with_postprocessing(wrong).save(saved_model)
    done = stage("--model", str(tmp_path / "out"), "--source", str(saved_model))
    assert done.returncode == 2
    (line,) = [x for x in done.stderr.splitlines() if x.startswith("cellmill")]
    assert f"model card 'Mesmer', {says}" in line
    assert not (tmp_path / "out").exists()
