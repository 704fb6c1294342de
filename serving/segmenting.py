"""A network that finds objects, as an endpoint serves it: `cellmill.Segmenter`, labels out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cellmill.errors import BadInput
from cellmill.inference.network import Device, Precision
from cellmill.io.images import open_image
from cellmill.models.chosen import chosen_compartments
from cellmill.segmenter import Segmenter
from serving.asking import IMAGE, Answer, Ask, TensorSpec
from serving.fields import a_whole, only, shown
from serving.volume_boxes import PARAMETERS as OF_VOLUMES
from serving.volume_boxes import box_of, check_size, read_box, stored_volume

_PARAMETERS = {
    "mpp": "microns per pixel, of all axes or 'y,x' ('z,y,x' of a volume)",
    "diameter": "of the objects in pixels, or 'auto'",
    "channels": "which channels the network is given, indices or names with commas between",
    "volume": "true: the array is (Z, Y, X) or (Z, Y, X, C), or all focal planes of a file",
    "z": "focal plane of a file",
    "t": "time point of a file",
    "series": "image of a file with several",
    **OF_VOLUMES,
}


class Segmenting:
    """A segmenter behind an endpoint.

    Args:
        model: name, path or URI of a model.
        most_pixels: of one image.
        compartment: kind of object; empty is the card's default.
        engine: what runs the network.
        device: where.
        precision: of its products.
        batch_size: tiles that go to the network together, of one image or of several.
        threads: of the network; 0 lets the engine choose.
        memory_mib: that one image may take.
        trust_model: whether the network may do more than compute.
        on_batch: told how many tiles each call of the network had.

    Raises:
        BadInput: there is no such model, or it does not find such objects.
    """

    def __init__(
        self,
        model: str,
        *,
        most_pixels: int,
        compartment: str = "",
        engine: str = "auto",
        device: Device = "auto",
        precision: Precision = "float32",
        batch_size: int = 8,
        threads: int = 0,
        memory_mib: int = 1024,
        trust_model: bool = False,
        on_batch: Callable[[int], None] | None = None,
    ) -> None:
        self._segmenter = Segmenter(
            model,
            compartment=compartment or None,
            engine=engine,
            device=device,
            precision=precision,
            batch_size=batch_size,
            threads=threads,
            memory_mib=memory_mib,
            trust_model=trust_model,
            together=True,
            on_batch=on_batch,
        )
        self._most, self._memory_mib = most_pixels, memory_mib
        card = self._segmenter.card
        self._kinds = chosen_compartments(card, compartment)
        # The first call compiles, also what labels objects; nobody is to wait for it.
        sees: dict[str, Any] = {"z": "all"} if card.input.sees_volumes else {}
        warm = self._segmenter(_disc(card.input.tile, len(card.input.channels)), **sees)
        self.effect: Mapping[str, Any] = warm.facts.engine

    @property
    def version(self) -> str:
        """Of the model."""
        return self._segmenter.card.version

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The image, `(Y, X, C)`, or volume; other types and numbers of axes are taken too."""
        given = self._segmenter.card.input
        return (TensorSpec(IMAGE, "UINT16", (*(-1 for _ in given.tile), len(given.channels))),)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Labels of each kind of object, `(Y, X)`, or of a volume; 0 is background."""
        shape = tuple(-1 for _ in self._segmenter.card.input.tile)
        return tuple(TensorSpec(kind, "INT32", shape) for kind in self._kinds)

    @property
    def parameters(self) -> Mapping[str, str]:
        """What may be said of an image."""
        return _PARAMETERS

    def __call__(self, ask: Ask) -> Answer:
        """Segment an image.

        Raises:
            BadInput: it is none, or not one for this network.
        """
        only(ask.parameters, _PARAMETERS, "parameters")
        options: dict[str, Any] = {
            "mpp": _mpp(ask.parameters.get("mpp")),
            "diameter": ask.parameters.get("diameter"),
            "channels": _channels(ask.parameters.get("channels")),
        }
        sees = self._segmenter.card.input.sees_volumes
        volume = ask.parameters.get("volume", sees)
        if not isinstance(volume, bool):
            raise BadInput("volume", expected="true or false", found=shown(volume))
        if volume:
            options["z"] = "all"
        if ask.image is not None:
            check_size(ask.image.shape, self._most, IMAGE)
            return _answer(self._segmenter, ask.image, options)
        if ask.box:
            return self._box(ask, options)
        for name in ("z", "t", "series"):
            if name in ask.parameters:
                options[name] = a_whole(ask.parameters[name], name)
        choice = {name: options[name] for name in ("z", "t", "series") if name in options}
        with open_image(ask.uri, **choice) as image:
            check_size(image.shape, self._most, image.label)
        return _answer(self._segmenter, ask.uri, options)

    def _box(self, ask: Ask, options: dict[str, Any]) -> Answer:
        """A box of a volume; of one section an image."""
        given = stored_volume(ask.uri, ask.parameters)
        pixels = read_box(given, box_of(ask.box, given.shape, self._most))
        size = given.voxel_nm and tuple(nm / 1e3 for nm in given.voxel_nm)
        if len(pixels) == 1 and not self._segmenter.card.input.sees_volumes:
            pixels, size = pixels[0], size and size[1:]
            options.pop("z", None)
        else:
            options["z"] = "all"
        options["mpp"] = options["mpp"] or size
        return _answer(self._segmenter, pixels, options)


def _disc(shape: tuple[int, ...], channels: int) -> np.ndarray:
    """An image of one bright disc on noise, or a volume of a ball; uint16."""
    middle = [(np.arange(side) - side / 2) / (side / 8) for side in shape]
    distance = sum(axis**2 for axis in np.meshgrid(*middle, indexing="ij", sparse=True))
    noise = np.random.default_rng(0).integers(0, 50, shape)
    values = (200 + noise + 3000 * (distance < 1)).astype(np.uint16)
    return np.repeat(values[..., np.newaxis], channels, axis=-1)


def _answer(segmenter: Segmenter, image: np.ndarray | str, options: Mapping[str, Any]) -> Answer:
    found = segmenter(image, **options)
    labels = {kind: np.asarray(each) for kind, each in found.labels.items()}
    facts: dict[str, Any] = {f"{kind}_objects": n for kind, n in found.counts.items()}
    facts["remarks"] = "; ".join(found.facts.remarks)
    facts["seconds"] = round(sum(found.facts.seconds.values()), 4)
    return Answer(labels, facts)


def _mpp(value: Any) -> Any:
    """A pixel size as `Segmenter` takes it: a number, or several with commas between."""
    if not isinstance(value, str):
        return value
    try:
        sizes = tuple(float(part) for part in value.split(","))
    except ValueError:
        raise BadInput("mpp", expected="microns, or 'y,x' of them", found=shown(value)) from None
    return sizes[0] if len(sizes) == 1 else sizes


def _channels(value: Any) -> Any:
    if value is not None and not isinstance(value, str):
        return a_whole(value, "channels")
    return value
