"""The serving image's own check at its build: the server's command answers."""

import subprocess
import sys

subprocess.run([sys.executable, "-m", "serving", "--help"], stdout=subprocess.DEVNULL, check=True)
