"""Networks of Cellpose 4, the `cpsam` family: weights of a vision transformer, in one file.

How wide and deep the transformer is follows from the tensors (Pachitariu et al., Cellpose-SAM,
bioRxiv 2025). It takes three channels in any order, and tiles of one size: it knows where in a tile
a pixel lies. Cellpose runs it in half precision unless told otherwise; here it is in single.
"""

from __future__ import annotations

import functools
import importlib
import logging
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cellmill.errors import BadInput
from cellmill.labels.kinds import WHOLE_CELL, Compartment
from cellmill.models.card import InputChannel, ModelCard, ModelInput, Tiling
from cellmill.models.importing.cellpose_network import (
    OUTPUTS,
    CellposeNetwork,
    card_of,
    load_weights,
    not_loaded,
    tensor_list,
)
from cellmill.models.importing.interface import Framework, Original, Said

#: The tensor by which its files are known, and one that networks on DINO have.
ENCODER, _DINO = "encoder.patch_embed.proj.weight", "encoder.cls_token"
#: Of a tile, pixels: cellpose's own. And the part that tiles share.
_TILE, _OVERLAP = 256, 0.1
_CHANNELS = 3
#: What a diameter is brought to, and how many times larger or smaller objects may be.
_DIAMETER, _TOLERANCE = 30.0, 4.0
#: Sides in pixels of the tiles and patches of the transformer that cellpose begins with.
_SAM_TILE, _SAM_PATCH = 1024, 16
#: Of its normalisation layers.
_EPSILON = 1e-6
#: Tensors that cellpose does without.
_SPARE = ("diam_mean", "diam_labels")
_PARALLEL = "module."
#: Operators of torchvision's compiled part, which is built for CUDA and does not open without. The
#: package does not open without them; no network here calls them.
_OPERATORS = tuple(
    f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor" for name in ("nms", "qnms")
)
_EXPECTED = "weights of Cellpose 4"
_CITATION = (
    "Pachitariu, Rariden & Stringer, Cellpose-SAM: superhuman generalization for cellular "
    "segmentation, bioRxiv 2025"
)


@dataclass(frozen=True)
class Sizes:
    """How large a transformer is.

    Attributes:
        width: values of a token.
        depth: blocks.
        heads: of a block's attention.
        hidden: values of a token within a block, as a multiple of the width.
        features: channels of what is read out.
        patch: side of a token in pixels.
    """

    width: int
    depth: int
    heads: int
    hidden: float
    features: int
    patch: int


def import_cellpose() -> Any:
    """Import `cellpose.vit`, by its own package, whatever torchvision was built for."""
    torch = importlib.import_module("torch")
    # That DINO's package is not there counts where a network on DINO is given, and is said then.
    logging.getLogger("cellpose.vit").setLevel(logging.ERROR)
    if not hasattr(torch.ops.torchvision, "nms"):
        _declared(torch)
    return importlib.import_module("cellpose.vit")


@functools.cache
def _declared(torch: Any) -> Any:
    """Declare torchvision's operators; what declares them must live as long as they."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in _OPERATORS:
        library.define(operator)
    return library


def network_of(weights: dict[str, Any], what: str) -> Any:
    """Cellpose's module with these weights, in single precision.

    Raises:
        BadInput: they are not those of such a network.
    """
    torch = importlib.import_module("torch")
    sizes = _sizes(weights, what)
    vit = import_cellpose()
    sam = importlib.import_module("segment_anything.modeling")
    registry = vit.sam_model_registry
    # Nothing is filled or drawn: every tensor is that of the file.
    with torch.device("meta"):
        encoder = sam.ImageEncoderViT(
            img_size=_SAM_TILE,
            patch_size=_SAM_PATCH,
            embed_dim=sizes.width,
            depth=sizes.depth,
            num_heads=sizes.heads,
            mlp_ratio=sizes.hidden,
            out_chans=sizes.features,
            norm_layer=functools.partial(torch.nn.LayerNorm, eps=_EPSILON),
            use_rel_pos=True,
        )
        own = registry["vit_l"]
        registry["vit_l"] = lambda _: SimpleNamespace(image_encoder=encoder)
        try:
            net = vit.CPSAM(ps=sizes.patch, nout=OUTPUTS, bsize=_TILE)
        finally:
            registry["vit_l"] = own
    # Blocks that looked at windows have shorter tables of relative positions; cellpose stretches
    # them.
    for k, block in enumerate(net.encoder.blocks):
        for name in ("rel_pos_h", "rel_pos_w"):
            table = weights.get(f"encoder.blocks.{k}.attn.{name}")
            if table is not None:
                setattr(block.attn, name, torch.nn.Parameter(torch.empty_like(table)))
    held = {name: tensor.float() for name, tensor in weights.items() if name in net.state_dict()}
    spare = {name: torch.tensor([_DIAMETER]) for name in _SPARE}
    try:
        net.load_state_dict({**spare, **held}, assign=True)
    except RuntimeError as error:
        raise not_loaded(what, _EXPECTED, error) from error
    return net.eval()


def _recognises(source: Path) -> bool:
    return ENCODER.encode() in tensor_list(source)


def _open(source: Path, said: Said) -> Original:
    what = f"model '{source}'"
    weights = load_weights(source, _EXPECTED)
    weights = {name.removeprefix(_PARALLEL): tensor for name, tensor in weights.items()}
    if _DINO in weights:
        found = "a network on DINO, whose package no index has"
        raise BadInput(what, expected="weights of Cellpose 4, of the cpsam family", found=found)
    net = network_of(weights, what)
    card = _card(said.kind or WHOLE_CELL, source.name, said)
    return CellposeNetwork(net, card, portable=_portable(net))


def _portable(net: Any) -> Any:
    """The same layers in the same order, as torch can trace them.

    Cellpose's own `forward` takes its first layer's weights out of torch's sight.
    """
    torch: Any = importlib.import_module("torch")

    class Transformer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, tiles: Any) -> Any:
            encoder = self.net.encoder
            tokens = encoder.patch_embed(tiles) + encoder.pos_embed
            for block in encoder.blocks:
                tokens = block(tokens)
            found = self.net.out(encoder.neck(tokens.permute(0, 3, 1, 2)))
            # Each token's values become the pixels of its patch.
            return (torch.nn.functional.conv_transpose2d(found, self.net.W2, stride=self.net.ps),)

    return Transformer()


def _sizes(weights: dict[str, Any], what: str) -> Sizes:
    block = "encoder.blocks.{}.{}"
    read = {
        "proj": ENCODER,
        "table": block.format(0, "attn.rel_pos_h"),
        "hidden": block.format(0, "mlp.lin1.weight"),
        "neck": "encoder.neck.0.weight",
    }
    missing = [name for name in (*read.values(), "W2") if name not in weights]
    if missing:
        raise BadInput(what, expected=_EXPECTED, found=f"no tensor '{missing[0]}'")
    shape = {key: tuple(weights[name].shape) for key, name in read.items()}
    depth = 0
    while block.format(depth, "attn.rel_pos_h") in weights:
        depth += 1
    width, channels, patch = shape["proj"][:3]
    if channels != _CHANNELS or _SAM_PATCH % patch or width % shape["table"][1]:
        found = f"{channels} channels, patches of {patch}, {width} values a token"
        raise BadInput(what, expected=f"{_EXPECTED}, of {_CHANNELS} channels", found=found)
    return Sizes(
        width=width,
        depth=depth,
        heads=width // shape["table"][1],
        hidden=shape["hidden"][0] / width,
        features=shape["neck"][0],
        patch=patch,
    )


def _card(kind: Compartment, name: str, said: Said) -> ModelCard:
    meaning = "any stain; which one is first does not matter"
    given = ModelInput(
        channels=tuple(
            InputChannel(f"channel_{k + 1}", meaning, optional=k > 0) for k in range(_CHANNELS)
        ),
        mpp=said.mpp,
        tile=(_TILE, _TILE),
        object_diameter={kind: _DIAMETER},
        scale_tolerance=_TOLERANCE,
        resampling="averaged",
    )
    text = "A Cellpose-SAM network; it finds objects of about 7 to 120 px as they are."
    own = Said(name, version="4", description=text, citation=_CITATION)
    tiling = Tiling("constant", _OVERLAP, layout="tapered")
    # Masks are those of the program that the network comes with.
    return card_of(kind, given, tiling, said.or_else(own), rule="cellpose4")


FRAMEWORK = Framework(
    name="cellpose4",
    title="Cellpose 4",
    package="cellpose",
    image="cellpose4",
    files="a file of weights that cellpose 4 wrote, as cpsam",
    recognises=_recognises,
    open=_open,
    versions="4.",
)
