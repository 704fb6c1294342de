"""The imaging image's own check at its build: a stage that needs cellmill's data files runs."""

import subprocess
import sys
import tempfile
from pathlib import Path

with tempfile.TemporaryDirectory() as folder:
    stage = ["fetch_model", "--model", f"{folder}/model", "--record", f"{folder}/record"]
    subprocess.run([sys.executable, "-m", "cellmill", *stage], check=True)
    assert Path(folder, "model", "model.json").is_file(), "no card of the model that ships"
