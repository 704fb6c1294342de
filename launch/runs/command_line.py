"""Settings of a command, as flags or as make's variables of the same names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from cellmill.contract.cli import OneLineParser


class SettingsParser(OneLineParser):
    """A parser whose flags are settings: text, empty where nothing is set.

    With `--make` a setting that no flag gives is taken from the environment, under its name in
    capitals.

    Args:
        prog: the command's name.
    """

    def __init__(self, prog: str) -> None:
        super().__init__(prog=prog, allow_abbrev=False)
        text = "take settings from the environment"
        self.add_argument("--make", action="store_true", help=text)
        self._settings: list[str] = []

    def add_settings(self, texts: Mapping[str, str]) -> None:
        """Declare settings: names, and what `--help` says of them."""
        for key, text in texts.items():
            shown = text.replace("%", "%%")
            self.add_argument(f"--{key.replace('_', '-')}", dest=key, default="", help=shown)
            self._settings.append(key)

    def given(self, argv: Sequence[str] | None) -> tuple[dict[str, str], bool]:
        """Return what was set, by name, and whether make's variables count.

        Arguments that are no settings are there too, under their names.

        Raises:
            CellmillError: a flag is none.
        """
        found = vars(self.parse_args(argv))
        by_make: bool = found.pop("make")
        if by_make:
            for key in self._settings:
                found[key] = found[key] or os.environ.get(key.upper(), "")
        return found, by_make
