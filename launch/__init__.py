"""Launching: compile pipelines, run them here or in a cloud, collect what they make.

The modules of this folder are what a person calls; its rooms are what they call.
"""

from pathlib import Path

#: The clone's root.
ROOT = Path(__file__).resolve().parent.parent
