"""The methods that turn heads, or an image, into labelled objects; and how cards name them.

A method is a folder beside this module and one line in `METHODS`. A card says of each kind of
object by which method it is found, what plays the method's roles, and with which parameters:

    "nuclear": {"method": "deep_watershed", "maxima_head": "distance", …, "radius": 2, …}

`models` knows nothing of methods: what a card says is held against the registry here, by everyone
who is about to use it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cellmill.arrays.windows import Grid, Windowed
from cellmill.arrays.workspace import Workspace
from cellmill.errors import BadInput
from cellmill.models.card import Head, ModelCard
from cellmill.models.chosen import chosen_compartments
from cellmill.segmentation.interface import (
    IMAGE,
    Maps,
    Method,
    Numbering,
    Role,
    TiledForm,
    TiledSegmentation,
)
from cellmill.segmentation.parameters import parameters_of
from cellmill.segmentation.sources import Source, map_of
from cellmill.typed_json import WrongField, from_json, require, to_json

#: A line a method: the module that holds it, as `METHOD`.
METHODS: dict[str, str] = {
    "deep_watershed": "cellmill.segmentation.deep_watershed.method",
    "voronoi_otsu": "cellmill.segmentation.voronoi_otsu.method",
    "stardist": "cellmill.segmentation.stardist.method",
    "cellpose": "cellmill.segmentation.cellpose.method",
    "probability_watershed": "cellmill.segmentation.probability_watershed.method",
}


def find_method(name: str) -> Method:
    """The method of that name.

    Raises:
        BadInput: there is none.
    """
    if name not in METHODS:
        raise BadInput("method", expected=f"one of {', '.join(METHODS)}", found=repr(name))
    method: Method = importlib.import_module(METHODS[name]).METHOD
    return method


@dataclass(frozen=True)
class Recipe:
    """How one kind of object is found: by a method, from some heads, with its parameters.

    Attributes:
        method: the method.
        sources: what plays each of its roles.
        parameters: of the method's own dataclass.
    """

    method: Method
    sources: Mapping[str, Source]
    parameters: Any

    def plain(self) -> dict[str, Any]:
        """As a card holds it; `recipe_of` gives an equal recipe back."""
        found: dict[str, Any] = {"method": self.method.name}
        for name, source in self.sources.items():
            found |= {f"{name}_head": source.head, f"{name}_channel": source.channel}
        return found | dict(to_json(self.parameters))

    def with_parameters(self, **values: Any) -> Recipe:
        """The recipe with some parameters of other values.

        Raises:
            BadInput: a value is not what it must be.
        """
        return replace(self, parameters=replace(self.parameters, **values))

    def maps(
        self,
        heads: Mapping[str, Windowed],
        mpp: tuple[float, ...] | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> Maps:
        """What the method reads of one image.

        Args:
            heads: the network's outputs by name, each `(Y, X, C)` or `(Z, Y, X, C)`, and under
                `image` what the network was shown, where a role asks for it.
            mpp: µm per pixel of the image at the model's scale, an axis each; none where unknown.
            shape: of the image at that scale, without channels; none: that of `image`, or of the
                head of the least stride, as many pixels as its values stand for.

        Raises:
            BadInput: a head or channel is missing, or heads differ in shape.
        """
        arrays, names = {}, {}
        strides: dict[str, int | tuple[int, ...]] = {}
        for role in self.method.roles:
            source = self.sources[role.name]
            arrays[role.name] = map_of(heads, role, source)
            only = f", channel {source.channel}" if role.channels == 1 else ""
            names[role.name] = f"head '{source.head}'{only}"
        whole = shape or self._shape_of(heads)
        for role_name, source in self.sources.items():
            own, steps = tuple(heads[source.head].shape[:-1]), source.strides(len(whole))
            if set(steps) != {1}:
                strides[role_name] = steps[0] if len(set(steps)) == 1 else steps
            if own != tuple(-(-side // step) for side, step in zip(whole, steps, strict=True)):
                read = " and ".join(dict.fromkeys(f"'{s.head}'" for s in self.sources.values()))
                raise BadInput(
                    f"heads {read}", expected=f"one shape, {whole}", found=f"'{source.head}' {own}"
                )
        found = Maps(arrays, names, whole, mpp, strides)
        self.method.check_maps(found)
        return found

    def _shape_of(self, heads: Mapping[str, Windowed]) -> tuple[int, ...]:
        if IMAGE in heads:
            return tuple(heads[IMAGE].shape[:-1])
        finest = min(self.sources.values(), key=lambda source: source.stride)
        own = heads[finest.head].shape[:-1]
        steps = finest.strides(len(own))
        return tuple(side * step for side, step in zip(own, steps, strict=True))


def recipe_of(
    plain: Mapping[str, Any],
    channels: Mapping[str, int],
    place: str = "",
    strides: Mapping[str, tuple[int, int]] | None = None,
) -> Recipe:
    """Read what a card says of one kind of object.

    Args:
        plain: `method`, for each role `<role>_head` and `<role>_channel`, and parameters.
        channels: how many channels each head has that may be read.
        place: where it stands, for messages.
        strides: of the heads, within planes and along Z, where they are not 1.

    Raises:
        WrongField: the method is unknown, a head is missing, or a parameter is unknown or wrong.
    """
    prefix = f"{place}." if place else ""
    name = plain.get("method")
    require(name in METHODS, f"{prefix}method", f"one of {', '.join(METHODS)}", repr(name))
    method = find_method(str(name))
    places = [key for role in method.roles for key in (f"{role.name}_head", f"{role.name}_channel")]
    known = [*places, *(each.name for each in parameters_of(method.parameters))]
    unknown = [str(key) for key in plain if key not in known and key != "method"]
    require(not unknown, place, f"only {', '.join(known)}", f"'{', '.join(unknown)}'")
    sources = {
        role.name: _source_of(plain, role, channels, strides or {}, prefix) for role in method.roles
    }
    values = {key: value for key, value in plain.items() if key not in (*places, "method")}
    return Recipe(method, sources, from_json(method.parameters, values, place))


def recipes_of(
    card: ModelCard,
    compartments: Sequence[str],
    *,
    method: str = "",
    parameters: Mapping[str, Any] | None = None,
) -> dict[str, Recipe]:
    """How each kind of object is found, as a card says, or as the caller says in its place.

    Args:
        card: the model's.
        compartments: kinds of object that the card has.
        method: another method than the card's, with its own defaults; empty is the card's.
        parameters: what is set in place of the card's values, heads of roles too; for all kinds.

    Raises:
        BadInput: the card or the caller names what there is not, or a value is out of range.
    """
    given = dict(parameters or {})
    if "method" in given:
        raise BadInput("parameters", expected="parameters of a method", found="'method' among them")
    if method:
        find_method(method)
    found = {}
    for name in compartments:
        whole = f"model card '{card.name}'"
        own = _in_words(card, card.postprocessing[name], whole, f"postprocessing.{name}")
        if method and method != own.method.name:
            own_values: Mapping[str, Any] = {"method": method}
        else:
            own_values = own.plain()
        found[name] = (
            _in_words(card, {**own_values, **given}, "", "parameters")
            if given or own_values["method"] != own.method.name
            else own
        )
    return found


def check_card(card: ModelCard) -> None:
    """Hold all that a card says of post-processing against the registry.

    Raises:
        BadInput: it names what there is not, or a value is out of range.
    """
    recipes_of(card, card.compartments)


def heads_read(card: ModelCard, recipes: Iterable[Recipe]) -> tuple[Head, ...]:
    """The heads that some recipes read, in the card's order; the image is no head."""
    read = {source.head for recipe in recipes for source in recipe.sources.values()}
    return tuple(head for head in card.heads if head.name in read)


def reads_image(recipe: Recipe) -> bool:
    """Whether a recipe reads the image itself."""
    return any(source.head == IMAGE for source in recipe.sources.values())


def segment(
    card: ModelCard,
    heads: Mapping[str, np.ndarray],
    wanted: str = "",
    *,
    method: str = "",
    parameters: Mapping[str, Any] | None = None,
    numbering: Numbering = "canonical",
    mpp: tuple[float, ...] | None = None,
    shape: tuple[int, ...] | None = None,
) -> dict[str, np.ndarray]:
    """Segment one image in memory from what a network gave, as its card says.

    Args:
        card: the model's.
        heads: the network's outputs by name, each `(Y, X, C)` or `(Z, Y, X, C)`; arrays or memory
            maps, of which only the channels that count are read. Under `image`, what the network
            was shown, where the method reads it.
        wanted: kinds of object as users type them; see `chosen_compartments`.
        method: another method than the card's.
        parameters: what is set in place of the card's values.
        numbering: `canonical`, or `reference`: in the order of the method's own reference.
        mpp: µm per pixel of the heads, an axis each; none where unknown.
        shape: of the image at the model's scale, see `Recipe.maps`; none is right where a head has
            a value for each pixel.

    Returns:
        int32 labels of the image's shape at the model's scale, 1…n, by kind of object.

    Raises:
        BadInput: the model does not have what is wanted, a head is missing or holds NaN or
            infinity, or a parameter is wrong.
    """
    recipes = recipes_of(
        card, chosen_compartments(card, wanted), method=method, parameters=parameters
    )
    return {name: segment_one(heads, each, numbering, mpp, shape) for name, each in recipes.items()}


def segment_one(
    heads: Mapping[str, Windowed],
    recipe: Recipe,
    numbering: Numbering = "canonical",
    mpp: tuple[float, ...] | None = None,
    shape: tuple[int, ...] | None = None,
) -> np.ndarray:
    """Segment one kind of object of one image in memory; see `segment` and `Recipe.maps`."""
    return recipe.method.segment(recipe.maps(heads, mpp, shape), recipe.parameters, numbering)


def why_whole(recipe: Recipe) -> tuple[str, str] | None:
    """Why a recipe cannot be followed tile by tile, as what was expected and found; none if it can.

    The labels are those in memory, or differ by no more than the method's tiled form says.
    """
    form = recipe.method.tiled
    if form is None:
        return "a method that works tile by tile", f"'{recipe.method.name}'"
    return form.refuses(recipe.parameters)


def tiled_form(recipe: Recipe) -> TiledForm:
    """The tiled form of a recipe's method.

    Raises:
        BadInput: it has none, or not with these parameters.
    """
    refused = why_whole(recipe)
    if refused is not None or recipe.method.tiled is None:
        expected, found = refused or ("", "")
        raise BadInput("segmentation tile by tile", expected=expected, found=found)
    return recipe.method.tiled


def open_tiled(recipe: Recipe, maps: Maps, side: int, workspace: Workspace) -> TiledSegmentation:
    """Open the tiled segmentation of one image.

    Args:
        recipe: how objects are found.
        maps: what the method reads, of an image, or of a volume if its tiled form takes them.
        side: of the tiles, pixels.
        workspace: where the work is kept.

    Raises:
        BadInput: the method has no tiled form, or not with these parameters, or not of volumes.
    """
    form = tiled_form(recipe)
    if not form.takes(maps.shape):
        raise BadInput("segmentation tile by tile", expected="(Y, X)", found=f"{maps.shape}")
    return form.open(maps, recipe.parameters, Grid(maps.shape, side), workspace)


def run_tiled(
    recipe: Recipe, maps: Maps, side: int, workspace: Workspace, threads: int | None = None
) -> tuple[TiledSegmentation, dict[str, int]]:
    """Segment one image tile by tile in this process; its labels can be read then.

    Args:
        recipe: how objects are found.
        maps: what the method reads, of an image, or of a volume if its tiled form takes them.
        side: of the tiles, pixels.
        workspace: where the work is kept.
        threads: how many tiles at once; none is as many as there are threads.

    Returns:
        The segmentation, settled, and its counts for a record.

    Raises:
        BadInput: the method has no tiled form, or a map holds NaN or infinity.
    """
    work = open_tiled(recipe, maps, side, workspace)
    work.prepare(threads)
    work.work(range(len(Grid(maps.shape, side))), threads)
    return work, dict(work.settle(threads))


def _in_words(card: ModelCard, plain: Mapping[str, Any], whole: str, place: str) -> Recipe:
    """A recipe from what a card offers, errors naming the document that it stands in."""
    channels = {head.name: head.channels for head in card.heads}
    channels[IMAGE] = len(card.input.channels)
    strides = {head.name: (head.stride, head.stride_z) for head in card.heads}
    try:
        return recipe_of(plain, channels, place, strides)
    except WrongField as wrong:
        what = f"{whole}, {wrong.place}" if whole else wrong.place
        raise BadInput(what, expected=wrong.expected, found=wrong.found) from None


def _source_of(
    plain: Mapping[str, Any],
    role: Role,
    channels: Mapping[str, int],
    strides: Mapping[str, tuple[int, int]],
    prefix: str,
) -> Source:
    place = f"{prefix}{role.name}"
    head = plain.get(f"{role.name}_head", role.head)
    offered = [each for each in channels if each != IMAGE or role.head == IMAGE]
    require(head in channels, f"{place}_head", f"one of {offered}", repr(head))
    channel = from_json(int, plain.get(f"{role.name}_channel", 0), f"{place}_channel")
    last = channels[head] - max(role.channels, 1)
    what = f"0 to {last}" if last >= 0 else f"a head of {role.channels} channels"
    require(0 <= channel <= last, f"{place}_channel", what, f"{channel}")
    stride, stride_z = strides.get(head, (1, 1))
    fits = (stride, stride_z) == (1, 1) or role.strided
    largest = max(stride, stride_z)
    require(fits, f"{place}_head", "a head of stride 1", f"'{head}' of stride {largest}")
    return Source(head, channel, stride, stride_z)
