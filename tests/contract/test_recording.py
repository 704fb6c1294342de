"""What a record says of a stage is of that stage alone."""

import subprocess
import sys
from pathlib import Path

import pytest

_STAGE = """
import json
from cellmill.contract.recording import Recorder

document = Recorder().document(stage="scale", parameters={}, inputs={}, outputs={})
print(document["totals"]["peak_rss_bytes"])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux' /proc")
def test_memory_of_what_started_a_stage_is_not_counted():
    held = 400 << 20
    starter = f"""
import subprocess, sys

held = b"." * {held}
subprocess.run([sys.executable, "-c", {_STAGE!r}], check=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", starter], check=True, capture_output=True, text=True
    )
    assert 1 << 20 < int(done.stdout) < held
