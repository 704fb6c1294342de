"""Networks of Cellpose 3 (and 2): a file of weights, as cellpose writes it with torch.

The file is a zip with tensors by name, opened with `weights_only`: nothing in it is run. How wide
the network is follows from the tensors. It is exported by torch as an ONNX network of any batch; of
its tile's size alone, since its style is a mean over the whole tile.
"""

from __future__ import annotations

import importlib
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cellmill.errors import BadInput
from cellmill.labels.kinds import NUCLEAR, WHOLE_CELL, Compartment
from cellmill.models.card import Head, InputChannel, ModelCard, ModelInput, Preprocessing, Tiling
from cellmill.models.importing.interface import Framework, Said, quiet

#: Of a tile, pixels: cellpose's own. And the part that tiles share.
_TILE, _OVERLAP = 224, 0.1
#: Channels of the network's input: what is segmented, and nuclei or a blank.
CHANNELS = 2
#: Channels of the network's output: steps down and right, and a logit.
OUTPUTS = 3
#: Kernel of its convolutions.
_KERNEL = 3
_OPSET = 18
#: Of the list of tensors in a file of weights.
_LIST_BYTES = 1 << 24
#: Where the shape of the weights says how wide a level of the network is, and what it is given.
_LEVEL = "downsample.down.res_down_{}.proj.1.weight"
#: Tensors that say how large objects are, and what that is where there are none: of cells, nuclei.
_SAID_OF_SIZE, _DIAMETERS = ("diam_mean", "diam_labels"), (30.0, 17.0)
_NUCLEI = InputChannel("nuclear", "nuclei")
_CELLS = InputChannel("cytoplasm", "cytoplasm or whole cells")
_CITATION = "Stringer et al., Cellpose: a generalist algorithm, Nature Methods 18, 2021"


@dataclass(frozen=True)
class CellposeNetwork:
    """A network that cellpose opened.

    Attributes:
        net: cellpose's module.
        alone: whether it is given one channel, the second being blank, as cellpose's `[0, 0]`.
        card: what is said of it.
        tiles: its files have none to compare on.
    """

    net: Any
    alone: bool
    card: ModelCard
    tiles: None = None

    def taking(self, channels: int) -> CellposeNetwork:
        """The network as one that is given one channel, or two, whatever it finds."""
        own = self.card.input
        inputs = own.channels[:1] if channels == 1 else (_CELLS, _NUCLEI)
        card = replace(self.card, input=replace(own, channels=inputs))
        return replace(self, alone=channels == 1, card=card)

    def export(self, folder: Path) -> None:
        """Write it as an ONNX network."""
        torch = importlib.import_module("torch")
        names = [head.name for head in self.card.heads]
        shown = torch.zeros((2, _TILE, _TILE, len(self.card.input.channels)))
        with quiet():
            torch.onnx.export(
                self._module(torch).eval(),
                (shown,),
                str(folder / "network.onnx"),
                dynamo=True,
                external_data=False,
                opset_version=_OPSET,
                input_names=["tiles"],
                output_names=names,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )

    def predict(self, tiles: np.ndarray, /) -> Sequence[np.ndarray]:
        """Its heads by torch."""
        torch = importlib.import_module("torch")
        # Exporting leaves a module in training mode.
        module = self._module(torch).eval()
        with torch.no_grad():
            return [head.numpy() for head in module(torch.from_numpy(tiles))]

    def _module(self, torch: Any) -> Any:
        """The network on tiles `(N, Y, X, C)`, giving one tensor a head."""
        net, alone = self.net, self.alone

        class Heads(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = net

            def forward(self, tiles: Any) -> Any:
                given = tiles.permute(0, 3, 1, 2)
                if alone:
                    given = torch.cat([given, torch.zeros_like(given)], 1)
                found = self.net(given)[0].permute(0, 2, 3, 1)
                return found[..., : OUTPUTS - 1], found[..., OUTPUTS - 1 :]

        return Heads()


def new_network(widths: Sequence[int], diameter: float) -> Any:
    """Cellpose's module, as it is before it has learnt anything.

    Args:
        widths: how many channels it is given, and each of its levels has.
        diameter: of objects at its scale, pixels.
    """
    network = importlib.import_module("cellpose.resnet_torch")
    return network.CPnet(list(widths), OUTPUTS, sz=_KERNEL, diam_mean=diameter)


def _recognises(source: Path) -> bool:
    try:
        with zipfile.ZipFile(source) as archive:
            lists = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            small = len(lists) == 1 and archive.getinfo(lists[0]).file_size <= _LIST_BYTES
            held = archive.read(lists[0]) if small else b""
            return b"diam_mean" in held or _LEVEL.format(0).encode() in held
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError):
        return False


def open_network(source: Path, said: Said) -> CellposeNetwork:
    """Open a file of weights by cellpose.

    Raises:
        BadInput: it has no weights of Cellpose 3.
    """
    torch = importlib.import_module("torch")
    what = f"model '{source}'"
    try:
        weights = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        raise BadInput(what, expected="weights of Cellpose 3", found=text) from error
    if "W2" in weights:
        raise BadInput(what, expected="weights of Cellpose 3", found="Cellpose 4's")
    widths = _widths(weights, what)
    kind = said.kind or (NUCLEAR if "nuclei" in source.name.lower() else WHOLE_CELL)
    # Files of before Cellpose 2 do not say, and cellpose goes by what its models were trained on.
    told = weights.get("diam_mean", torch.tensor(_DIAMETERS[kind == NUCLEAR]))
    diameter = float(told.reshape(-1)[0])
    if widths[0] != CHANNELS or diameter <= 0:
        found = f"{widths[0]} channels, diameter {diameter:g}"
        raise BadInput(what, expected="two channels and a diameter above 0", found=found)
    net = new_network(widths, diameter)
    try:
        net.load_state_dict({**{k: getattr(net, k).data for k in _SAID_OF_SIZE}, **weights})
    except RuntimeError as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise BadInput(what, expected="weights of Cellpose 3", found=first[0].strip()) from error
    return CellposeNetwork(net.eval(), kind == NUCLEAR, _card(kind, diameter, source.name, said))


def _widths(weights: Any, what: str) -> tuple[int, ...]:
    """How many channels the network is given, and each of its levels has."""
    levels: list[tuple[int, ...]] = []
    while (name := _LEVEL.format(len(levels))) in weights:
        levels.append(tuple(weights[name].shape[:2]))
    if not levels:
        raise BadInput(what, expected="weights of Cellpose 3", found=f"{len(weights)} others")
    return (levels[0][1], *(wide for wide, _ in levels))


def _card(kind: Compartment, diameter: float, name: str, said: Said) -> ModelCard:
    return ModelCard(
        name=said.name or name,
        version=said.version or "3",
        input=ModelInput(
            channels=(_NUCLEI,) if kind == NUCLEAR else (_CELLS, _NUCLEI),
            mpp=said.mpp,
            tile=(_TILE, _TILE),
            object_diameter={kind: diameter},
            resampling="averaged",
        ),
        heads=(
            Head("flows", kind, "flows", OUTPUTS - 1),
            Head("probability", kind, "pixelwise", 1),
        ),
        postprocessing={
            kind: {
                "method": "cellpose",
                "flows_head": "flows",
                "probability_head": "probability",
            }
        },
        default_compartment=kind,
        preprocessing=Preprocessing("percentile", low=1.0, high=99.0),
        tiling=Tiling("constant", _OVERLAP),
        description=said.description or f"A Cellpose network for objects of {diameter:g} px.",
        licence=said.licence,
        citation=said.citation or _CITATION,
    )


FRAMEWORK = Framework(
    name="cellpose3",
    title="Cellpose 3",
    package="cellpose",
    image="cellpose3",
    files="a file of weights that cellpose wrote, as cyto3 or nucleitorch_0",
    recognises=_recognises,
    open=open_network,
    versions="3.",
)
