"""What networks of Cellpose 3 and 4 share: a file of weights, and how a network of it is exported.

The file is a zip with tensors by name, opened with `weights_only`: nothing in it is run. The
network is exported by torch as an ONNX network of any batch; for tiles of any sides where its card
says that they are fitted to images, else for those of the card's size alone.
"""

from __future__ import annotations

import importlib
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cellmill.errors import BadInput
from cellmill.labels.kinds import Compartment
from cellmill.models.card import Head, ModelCard, ModelInput, Preprocessing, Tiling
from cellmill.models.importing.interface import Said, quiet
from cellmill.models.size_model import OUTPUT, SizeModel

#: Channels of a network's output: steps down and right, and a logit.
OUTPUTS = 3
#: As networks of Cellpose are given images.
PREPROCESSING = Preprocessing("percentile", low=1.0, high=99.0)
_OPSET = 18
#: Sides of tiles are multiples of this, for the network halves them; and how many of it.
_STEP, _STEPS = 16, (2, 1024)
#: Of the list of tensors in a file of weights.
_LIST_BYTES = 1 << 24


@dataclass(frozen=True)
class CellposeNetwork:
    """A network that cellpose opened.

    Attributes:
        net: cellpose's module, which gives `(N, 3, Y, X)` first.
        card: what is said of it.
        blank: how many channels of zeros it is given behind those of the card.
        portable: a module of the same weights that torch exports; `None` where that is cellpose's.
        size: a size model of it; `None` where there is none. With one the network has an output
            more, the style of its tiles.
        tiles: its files have none to compare on.
    """

    net: Any
    card: ModelCard
    blank: int = 0
    portable: Any = None
    size: SizeModel | None = None
    tiles: None = None

    def export(self, folder: Path) -> None:
        """Write it as an ONNX network."""
        torch = importlib.import_module("torch")
        names = [head.name for head in self.card.heads]
        if self.size:
            names.append(OUTPUT)
            self.size.save(folder)
        shown = torch.zeros((2, *self.card.input.tile, len(self.card.input.channels)))
        free: dict[int, Any] = {0: torch.export.Dim("batch")}
        if self.card.tiling.fitted:
            least, most = _STEPS
            rows, columns = (
                torch.export.Dim(name, min=least, max=most) for name in ("rows", "columns")
            )
            free |= {1: _STEP * rows, 2: _STEP * columns}
        with quiet():
            torch.onnx.export(
                self._module(torch, self.portable or self.net).eval(),
                (shown,),
                str(folder / "network.onnx"),
                dynamo=True,
                external_data=False,
                opset_version=_OPSET,
                input_names=["tiles"],
                output_names=names,
                dynamic_shapes=(free,),
            )

    def predict(self, tiles: np.ndarray, /) -> Sequence[np.ndarray]:
        """Its heads, and with a size model its style, by torch."""
        torch = importlib.import_module("torch")
        # Exporting leaves a module in training mode.
        module = self._module(torch, self.net).eval()
        with torch.no_grad():
            return [head.numpy() for head in module(torch.from_numpy(tiles))]

    def _module(self, torch: Any, net: Any) -> Any:
        """A network on tiles `(N, Y, X, C)`, giving one tensor a head, and maybe the style."""
        blank, styled = self.blank, self.size is not None

        class Heads(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = net

            def forward(self, tiles: Any) -> Any:
                given = tiles.permute(0, 3, 1, 2)
                if blank:
                    given = torch.cat([given, *[torch.zeros_like(given[:, :1])] * blank], 1)
                maps, *more = self.net(given)
                maps = maps.permute(0, 2, 3, 1)
                heads = (maps[..., : OUTPUTS - 1], maps[..., OUTPUTS - 1 :])
                return (*heads, more[0][:, None, None, :]) if styled else heads

        return Heads()


def card_of(
    kind: Compartment, given: ModelInput, tiling: Tiling, said: Said, **parameters: Any
) -> ModelCard:
    """The card of a network for objects of a kind.

    Args:
        kind: of object.
        given: what the network is given.
        tiling: how its tiles are laid.
        said: its name, version and the rest.
        **parameters: of the method `cellpose`, where the card is to say them.
    """
    return ModelCard(
        name=said.name,
        version=said.version,
        input=given,
        heads=(
            Head("flows", kind, "flows", OUTPUTS - 1),
            Head("probability", kind, "pixelwise", 1),
        ),
        postprocessing={
            kind: {
                "method": "cellpose",
                "flows_head": "flows",
                "probability_head": "probability",
                **parameters,
            }
        },
        default_compartment=kind,
        preprocessing=PREPROCESSING,
        tiling=tiling,
        description=said.description,
        licence=said.licence,
        citation=said.citation,
    )


def tensor_list(source: Path) -> bytes:
    """The names of the tensors in a file of torch, as they are packed; empty of other files."""
    try:
        with zipfile.ZipFile(source) as archive:
            lists = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            small = len(lists) == 1 and archive.getinfo(lists[0]).file_size <= _LIST_BYTES
            return archive.read(lists[0]) if small else b""
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError):
        return b""


def load_weights(source: Path, expected: str) -> dict[str, Any]:
    """The tensors in a file, by name.

    Raises:
        BadInput: they cannot be read without running what else is in the file, or are no tensors.
    """
    torch = importlib.import_module("torch")
    what = f"model '{source}'"
    try:
        weights = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        raise BadInput(what, expected=expected, found=text) from error
    if not isinstance(weights, Mapping) or not all(map(torch.is_tensor, weights.values())):
        raise BadInput(what, expected=expected, found="other things than tensors")
    return dict(weights)


def not_loaded(what: str, expected: str, error: RuntimeError) -> BadInput:
    """The refusal of weights that torch could not put into a network."""
    first = str(error).splitlines()[1:2] or [str(error)]
    return BadInput(what, expected=expected, found=first[0].strip())
