"""The models that come with cellmill: folders beside this module that hold a card and a network."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from cellmill.models.card import FILE_NAME, ModelCard

DEFAULT = "nuclei"
"""Folder of the model that is taken where none is named."""


def default_model() -> Path:
    """The folder of the model that is taken where none is named."""
    return Path(str(files("cellmill.models"))) / DEFAULT


def shipped_models() -> dict[str, Path]:
    """Their folders by their cards' names, the default first, the others in alphabetical order."""
    folders = sorted(path.parent for path in default_model().parent.glob(f"*/{FILE_NAME}"))
    folders.sort(key=lambda folder: folder != default_model())
    return {ModelCard.load(folder).name: folder for folder in folders}
