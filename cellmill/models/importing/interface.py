"""What a framework is here: how its files are known, opened, exported and run."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import numpy as np

from cellmill.errors import BadInput
from cellmill.labels.kinds import Compartment, typed_kinds
from cellmill.models.card import ModelCard


@dataclass(frozen=True)
class Said:
    """What the user says of a network that its files do not say; empty is what they say.

    Attributes:
        name: of the model.
        version: of the model.
        compartment: what it finds, a kind of object.
        mpp: microns per pixel of the images that it was trained on; 0 where that does not matter.
        licence: of the weights.
        citation: what to cite.
        description: one paragraph for a person.
        size_model: path of a size model that is not beside its files.
    """

    name: str = ""
    version: str = ""
    compartment: str = ""
    mpp: float = 0.0
    licence: str = ""
    citation: str = ""
    description: str = ""
    size_model: str = ""

    def or_else(self, other: Said) -> Said:
        """The same, and what `other` says where this says nothing."""
        return Said(
            **{f.name: getattr(self, f.name) or getattr(other, f.name) for f in fields(self)}
        )

    @property
    def kind(self) -> Compartment:
        """The one kind of object that it finds; empty where the user does not say.

        Raises:
            BadInput: it is none, or several are named.
        """
        kinds = typed_kinds(self.compartment, None) if self.compartment.strip() else ("",)
        if len(kinds) != 1:
            raise BadInput(
                "compartment", expected="one kind of object", found=f"'{self.compartment}'"
            )
        return kinds[0]


class Original(Protocol):
    """A network as its framework opened it.

    What `export` writes must give the heads that `predict` gives; whoever imports compares them.
    """

    @property
    def card(self) -> ModelCard:
        """What is said of it: input, heads, pre- and post-processing."""
        ...

    @property
    def tiles(self) -> np.ndarray | None:
        """Tiles `(N, Y, X, C)` that come with it to compare on; `None` where none do."""
        ...

    def export(self, folder: Path) -> None:
        """Write the network in a portable form (`cellmill.models.networks`) into a folder."""
        ...

    def predict(self, tiles: np.ndarray, /) -> Sequence[np.ndarray]:
        """The heads of tiles `(N, Y, X, C)` float32, in the card's order, by the framework.

        Of a network that sees volumes `(N, Z, Y, X, C)`. Where the card has a size model the style
        follows, `(N, 1, 1, values)`.
        """
        ...


@dataclass(frozen=True)
class Framework:
    """A framework whose networks can be brought in.

    Attributes:
        name: as users spell it.
        title: for a person.
        package: that is needed to open its files, by the name under which it is imported.
        image: the environment that has it, a folder under `images/`.
        files: what its networks consist of, for error messages.
        recognises: whether a file or folder is one of its networks; nothing is imported for it.
        open: opens one, with what the user says of it.
        versions: of the package that can, by what they begin with.
        beside: a file that comes in with a network because it lies beside its own: a size model.
        sized: whether its networks may have a size model.
    """

    name: str
    title: str
    package: str
    image: str
    files: str
    recognises: Callable[[Path], bool]
    open: Callable[[Path, Said], Original]
    versions: str = ""
    beside: Callable[[Path], Path | None] = lambda source: None
    sized: bool = False


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What a framework prints goes to stderr: stdout is the caller's."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
