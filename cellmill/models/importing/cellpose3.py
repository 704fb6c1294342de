"""Networks of Cellpose 3 (and 2): a file of weights, as cellpose writes it with torch.

How wide the network is follows from the tensors. Its style is a mean over the whole tile: tiles are
laid as cellpose lays them (`cellmill.inference.tapered`), so that heads are those of its `run_net`.
A size model that lies beside the file, or that is given, comes in with it.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cellmill.errors import BadInput
from cellmill.labels.kinds import NUCLEAR, WHOLE_CELL, Compartment
from cellmill.models.card import InputChannel, ModelCard, ModelInput, Tiling
from cellmill.models.importing.cellpose4 import ENCODER
from cellmill.models.importing.cellpose_network import (
    OUTPUTS,
    CellposeNetwork,
    card_of,
    load_weights,
    not_loaded,
    tensor_list,
)
from cellmill.models.importing.cellpose_size import read_size_model, size_model_file
from cellmill.models.importing.interface import Framework, Said

#: Of a tile, pixels: cellpose's own. And the part that tiles share.
_TILE, _OVERLAP = 224, 0.1
#: Channels of the network's input: what is segmented, and nuclei or a blank.
CHANNELS = 2
#: Kernel of its convolutions.
_KERNEL = 3
#: Where the shape of the weights says how wide a level of the network is, and what it is given.
_LEVEL = "downsample.down.res_down_{}.proj.1.weight"
#: Tensors that say how large objects are, and what that is where there are none: of cells, nuclei.
_SAID_OF_SIZE, _DIAMETERS = ("diam_mean", "diam_labels"), (30.0, 17.0)
_NUCLEI = InputChannel("nuclear", "nuclei")
_CELLS = InputChannel("cytoplasm", "cytoplasm or whole cells")
_EXPECTED = "weights of Cellpose 3"
_CITATION = "Stringer et al., Cellpose: a generalist algorithm, Nature Methods 18, 2021"


def with_channels(network: CellposeNetwork, count: int) -> CellposeNetwork:
    """A network as one that is given one channel, or two, whatever it finds."""
    own = network.card.input
    inputs = own.channels[:1] if count == 1 else (_CELLS, _NUCLEI)
    card = replace(network.card, input=replace(own, channels=inputs))
    return replace(network, blank=CHANNELS - count, card=card)


def new_network(widths: Sequence[int], diameter: float) -> Any:
    """Cellpose's module, as it is before it has learnt anything.

    Args:
        widths: how many channels it is given, and each of its levels has.
        diameter: of objects at its scale, pixels.
    """
    network = importlib.import_module("cellpose.resnet_torch")
    return network.CPnet(list(widths), OUTPUTS, sz=_KERNEL, diam_mean=diameter)


def _recognises(source: Path) -> bool:
    held = tensor_list(source)
    own = b"diam_mean" in held or _LEVEL.format(0).encode() in held
    return own and ENCODER.encode() not in held


def open_network(source: Path, said: Said) -> CellposeNetwork:
    """Open a file of weights by cellpose, and its size model: that given, or that beside it.

    Raises:
        BadInput: it has no weights of Cellpose 3, or the size model is of another network.
    """
    torch = importlib.import_module("torch")
    what = f"model '{source}'"
    weights = load_weights(source, _EXPECTED)
    if "W2" in weights:
        raise BadInput(what, expected=_EXPECTED, found="Cellpose 4's")
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
        raise not_loaded(what, _EXPECTED, error) from error
    card, size = _card(kind, diameter, source.name, said), None
    sized = Path(said.size_model) if said.size_model else size_model_file(source)
    if sized is not None:
        size = read_size_model(sized, widths[-1], float(net.diam_labels.reshape(-1)[0]))
        card = replace(card, size_model=True)
    # Cellpose's channels `[0, 0]`: the second one is blank.
    blank = CHANNELS - len(card.input.channels)
    return CellposeNetwork(net.eval(), card, blank=blank, portable=_portable(net), size=size)


def _portable(net: Any) -> Any:
    """The network with the mean of a tile of any size in place of one whose size is fixed."""
    torch: Any = importlib.import_module("torch")

    class Style(torch.nn.Module):
        def forward(self, maps: Any) -> Any:
            style = maps.mean((2, 3))
            return style / torch.sum(style**2, dim=1, keepdim=True) ** 0.5

    made = copy.deepcopy(net)
    made.make_style = Style()
    return made.eval()


def _widths(weights: Any, what: str) -> tuple[int, ...]:
    """How many channels the network is given, and each of its levels has."""
    levels: list[tuple[int, ...]] = []
    while (name := _LEVEL.format(len(levels))) in weights:
        levels.append(tuple(weights[name].shape[:2]))
    if not levels:
        raise BadInput(what, expected=_EXPECTED, found=f"{len(weights)} others")
    return (levels[0][1], *(wide for wide, _ in levels))


def _card(kind: Compartment, diameter: float, name: str, said: Said) -> ModelCard:
    given = ModelInput(
        channels=(_NUCLEI,) if kind == NUCLEAR else (_CELLS, _NUCLEI),
        mpp=said.mpp,
        tile=(_TILE, _TILE),
        object_diameter={kind: diameter},
        resampling="averaged",
    )
    text = f"A Cellpose network for objects of {diameter:g} px."
    own = Said(name, version="3", description=text, citation=_CITATION)
    tiling = Tiling("constant", _OVERLAP, fitted=True, layout="tapered")
    return card_of(kind, given, tiling, said.or_else(own))


FRAMEWORK = Framework(
    name="cellpose3",
    title="Cellpose 3",
    package="cellpose",
    image="cellpose3",
    files="a file of weights that cellpose wrote, as cyto3 or nucleitorch_0",
    recognises=_recognises,
    open=open_network,
    versions="3.",
    beside=size_model_file,
    sized=True,
)
