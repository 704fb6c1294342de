"""What a security reader looks for: no secret, nothing unpinned fetched, no way to root."""

import json
import os
import re
import subprocess
import sys

import pytest
import yaml

from launch import ROOT
from launch.compiling.compiled import pipeline_names
from launch.compiling.renderings import TARGETS, Choice, render
from launch.images.building import NEVER_PUSHED, image_facts
from launch.images.environments import IMAGES
from tests.images.test_dockerfiles import NAMES, final_stages, instructions

SECRET = re.compile(r"token|secret|password|api_?key|credential", re.I)
TOKEN = "dc-0f2b7c-not-to-be-seen"


def test_an_image_takes_no_secret_and_fetches_nothing_but_locked_packages():
    for line in instructions():
        if line.startswith(("ARG ", "ENV ", "LABEL ", "RUN --mount")):
            assert not SECRET.search(line), line
        assert not re.search(r"\b(curl|wget|git clone|https?://|--trusted-host)", line), line
        assert not line.startswith(("ADD ", "ONBUILD "))
    # What is published as sources only is compiled, with whatever compiler the base's system has.
    assert not any("apt-get" in line for line in final_stages())
    compiling = [line for line in instructions() if "apt-get" in line]
    assert all(line.startswith('RUN if [ -n "${FROM_SOURCES}" ]; then') for line in compiling)
    # That is built by those who use it, and never handed on.
    from_sources = {name for name in NAMES if image_facts(name).from_sources}
    assert from_sources == set(NEVER_PUSHED)


def test_what_runs_is_not_root_and_has_no_way_to_be():
    lines = final_stages()
    users = [line for line in lines if line.startswith("USER ")]
    assert len(users) == 1
    assert "sudo" not in " ".join(instructions())
    assert "chmod u+s" not in " ".join(instructions())
    # Of the build's folder nothing but what was built goes in.
    copied = [line for line in lines if line.startswith("COPY ")]
    assert all(line.startswith("COPY --from=") for line in copied)


@pytest.mark.parametrize("path", sorted(IMAGES.glob("*/requirements*.lock")), ids=str)
def test_every_locked_package_has_its_hashes(path):
    text = path.read_text()
    hashed = r"^([\w.\-\[\]]+==[^\s;\\]+)(?:[^\n]*?)\\\n((?:\s+--hash=.*\n)+)"
    packages = re.findall(hashed, text, re.M)
    assert len(packages) == len(re.findall(r"^[\w.\-\[\]]+(==| @ )", text, re.M))
    assert len(packages) > 10


@pytest.mark.parametrize("name", pipeline_names())
@pytest.mark.parametrize("target", TARGETS)
def test_no_specification_has_a_place_for_a_secret(name, target, monkeypatch):
    monkeypatch.setenv("DEEPCELL_ACCESS_TOKEN", TOKEN)
    text = render(name, target, Choice("NVIDIA_L4", spot=True))
    assert TOKEN not in text
    spec = next(iter(yaml.safe_load_all(text)))
    for component in [spec["root"], *spec["components"].values()]:
        for key in component.get("inputDefinitions", {}).get("parameters", {}):
            assert not re.search(r"token|password|api_?key|credential", key, re.I), key


def test_a_stage_leaves_the_token_in_no_log_record_or_artifact(tmp_path):
    command = [sys.executable, "-m", "cellmill", "fetch_model", "--model", "model"]
    done = subprocess.run(
        [*command, "--record", "record.json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "DEEPCELL_ACCESS_TOKEN": TOKEN},
        capture_output=True,
        check=True,
    )
    assert json.loads((tmp_path / "record.json").read_text())["stage"] == "fetch_model"
    found = [done.stdout, done.stderr]
    found += [p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()]
    assert len(found) > 4
    assert not any(TOKEN.encode() in text for text in found)
