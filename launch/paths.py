"""Where the clone is."""

from pathlib import Path

#: The clone's root.
ROOT = Path(__file__).resolve().parent.parent
