"""Networks of bioimage.io packages, a folder or a zip, by their ONNX or Keras weights.

The package's steps of arithmetic become part of the network, whose input and outputs have channels
last. Before anything is exported, the package's own network must give its test's outputs.
"""

from __future__ import annotations

import importlib
import itertools
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cellmill import extras
from cellmill.errors import BadInput
from cellmill.labels.kinds import NUCLEAR, WHOLE_CELL
from cellmill.models.archive import extract
from cellmill.models.card import Head, InputChannel, ModelCard, ModelInput, Tiling
from cellmill.models.importing.bioimage_package import (
    Package,
    Step,
    description_in,
    read_package,
    weights_of,
)
from cellmill.models.importing.interface import Framework, Original, Said, quiet

#: How far the test's outputs may be from those in the package: a part of each, and in all cases.
_PART, _LEAST = 1e-3, 1e-4
_OVERLAP = 0.25
#: Pixels that networks pool, as a rule, where the tile is a multiple of it.
_ALIGNMENTS = (32, 16, 8, 4, 2, 1)

Run = Callable[[np.ndarray], Sequence[np.ndarray]]
"""The package's own network on tiles in its own order of axes."""
Export = Callable[["BioimageNetwork", Path], None]
Load = Callable[[Path], tuple[Run, Export]]


@dataclass(frozen=True)
class BioimageNetwork:
    """A package that is open.

    Attributes:
        package: what it says.
        card: what is said of the network.
        run: its own network.
        exported: writes the network with its steps into a folder.
        tiles: on which it is compared: the test's input, and the same turned round.
    """

    package: Package
    card: ModelCard
    run: Run
    exported: Export
    tiles: np.ndarray

    def export(self, folder: Path) -> None:
        """Write the network with its steps."""
        self.exported(self, folder)

    def predict(self, tiles: np.ndarray, /) -> Sequence[np.ndarray]:
        """Its heads by its own network, tile by tile, and its steps."""
        parts = [self._predict(tiles[k : k + 1]) for k in range(len(tiles))]
        outputs = [np.concatenate(each) for each in zip(*parts, strict=True)]
        return [outputs[k][..., a:b] for k, a, b in self.cuts]

    def _predict(self, tile: np.ndarray) -> list[np.ndarray]:
        for step in self.package.before:
            tile = step(tile)
        found = self.run(np.transpose(tile, _places("byxc", self.package.axes[0])))
        maps = []
        for values, axes, steps in zip(
            found, self.package.axes[1:], self.package.behind, strict=True
        ):
            last = np.transpose(np.asarray(values), _places(axes, "byxc"))
            for step in steps:
                last = step(last)
            maps.append(last.astype(np.float32))
        return maps

    @property
    def cuts(self) -> list[tuple[int, int, int]]:
        """For each head which output it is, and from which channel to which."""
        if len(self.card.heads) == len(self.package.wanted):
            return [(k, 0, each.channels) for k, each in enumerate(self.card.heads)]
        ends = itertools.accumulate((head.channels for head in self.card.heads), initial=0)
        return [(0, a, b) for a, b in itertools.pairwise(ends)]

    def check(self, what: str) -> None:
        """Refuse a network that does not give its test's outputs."""
        for found, wanted in zip(
            self._predict(self.package.given), self.package.wanted, strict=True
        ):
            if found.shape != wanted.shape:
                raise BadInput(
                    f"test of {what}", expected=f"{wanted.shape}", found=f"{found.shape}"
                )
            off = np.abs(found - wanted) > _LEAST + _PART * np.abs(wanted)
            if off.any():
                raise BadInput(
                    f"test of {what}",
                    expected=f"its outputs to {_PART:g}",
                    found=f"{off.mean():.1%} of values farther off",
                )


def _places(have: str, wanted: str) -> list[int]:
    return [have.index(each) for each in wanted]


def _recognises(form: str) -> Callable[[Path], bool]:
    """Tells packages with weights of one form; of two the first is taken, ONNX."""

    def recognises(source: Path) -> bool:
        text = description_in(source)
        forms = [
            name
            for name in ("onnx", "keras_hdf5")
            if re.search(rb"^\s+%s\s*:" % name.encode(), text, re.MULTILINE)
        ]
        return forms[:1] == [form]

    return recognises


def _open(
    form: str, load: Callable[[Path], tuple[Run, Export]]
) -> Callable[[Path, Said], Original]:
    def opened(source: Path, said: Said) -> Original:
        what = f"package '{source.name}'"
        with tempfile.TemporaryDirectory(prefix="cellmill-package-") as scratch:
            folder = source
            if source.is_file():
                folder = Path(scratch, source.name)
                folder.mkdir()
                extract(source, folder, what=what)
            package = read_package(folder)
            weights = weights_of(package, folder, form)
            try:
                run, exported = load(weights)
                card = _card(package, said, source.name.split(".")[0])
                given = package.given
                tiles = np.concatenate([given, given[:, ::-1, ::-1]])
                network = BioimageNetwork(package, card, run, exported, tiles)
                network.check(what)
            except BadInput:
                raise
            except Exception as error:
                text = f"{type(error).__name__}: {error}".splitlines()[0]
                raise BadInput(what, expected=f"weights that {form} opens", found=text) from error
        return network

    return opened


def _card(package: Package, said: Said, name: str) -> ModelCard:
    raw, (_, height, width, channels) = package.raw, package.given.shape
    text = " ".join([str(raw.get("name", "")), *map(str, raw.get("tags") or [])]).lower()
    kind = said.kind or (NUCLEAR if "nucle" in text else WHOLE_CELL)
    star = (raw.get("config") or {}).get("stardist")
    strides = [height // each.shape[1] for each in package.wanted]
    if star and len(package.wanted) == 1:
        rays = package.wanted[0].shape[3] - 1
        thresholds = star.get("thresholds") or {}
        heads: tuple[Head, ...] = (
            Head("probability", kind, "pixelwise", 1, strides[0], "cropped"),
            Head("distances", kind, "ray_distances", rays, strides[0], "cropped"),
        )
        method: dict[str, Any] = {
            "method": "stardist",
            "probability_head": "probability",
            "distances_head": "distances",
            "prob_threshold": float(thresholds.get("prob", 0.5)),
            "nms_threshold": float(thresholds.get("nms", 0.4)),
        }
    else:
        heads = tuple(
            Head(f"map_{k}", kind, "pixelwise", each.shape[3], strides[k])
            for k, each in enumerate(package.wanted)
        )
        method = {
            "method": "deep_watershed",
            "maxima_head": "map_0",
            "maxima_channel": 0,
            "interior_head": "map_0",
            "interior_channel": 0,
            "maxima_smooth": 2.0,
            "interior_threshold": 0.5,
        }
    fits = [step for step in _ALIGNMENTS if not (height % (4 * step) or width % (4 * step))]
    cite = [str(each.get("text", "")) for each in raw.get("cite") or [] if isinstance(each, dict)]
    return ModelCard(
        name=said.name or str(raw.get("name") or name),
        version=said.version or str(raw.get("version") or "1"),
        input=ModelInput(
            channels=tuple(
                InputChannel(kind if channels == 1 else f"channel_{k}") for k in range(channels)
            ),
            mpp=said.mpp,
            tile=(height, width),
            resampling="averaged",
        ),
        heads=heads,
        postprocessing={kind: method},
        default_compartment=kind,
        preprocessing=package.preprocessing,
        tiling=Tiling("reflect", _OVERLAP, fits[0] if fits else 1),
        description=said.description or str(raw.get("description") or ""),
        licence=said.licence or str(raw.get("license") or ""),
        citation=said.citation or "; ".join(cite),
    )


def _load_onnx(weights: Path) -> tuple[Run, Export]:
    onnx = importlib.import_module("onnx")
    runtime = extras.load("onnxruntime", "import of an ONNX network")
    model = onnx.load(str(weights))
    held = {each.name for each in model.graph.initializer}
    (own,) = (each for each in model.graph.input if each.name not in held)
    session = runtime.InferenceSession(str(weights), providers=["CPUExecutionProvider"])

    def run(tiles: np.ndarray) -> Sequence[np.ndarray]:
        found: Sequence[np.ndarray] = session.run(None, {own.name: tiles.astype(np.float32)})
        return found

    def export(network: BioimageNetwork, folder: Path) -> None:
        _write_onnx(onnx, model, own.name, network, folder / "network.onnx")

    return run, export


def _write_onnx(onnx: Any, model: Any, own: str, network: BioimageNetwork, path: Path) -> None:
    """Put the steps before and behind the network into its graph, channels last outside."""
    graph, helper, real = model.graph, onnx.helper, onnx.TensorProto.FLOAT
    outputs = [each.name for each in graph.output]

    def constant(values: Sequence[float], kind: Any = np.float32) -> str:
        name = f"cellmill_constant_{len(graph.initializer)}"
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(values, kind), name))
        return name

    def chained(steps: Sequence[Step], value: str) -> tuple[list[Any], str]:
        nodes = []
        for step in steps:
            for kind in {"linear": ("Mul", "Add"), "clip": ("Max", "Min")}.get(step.name, ("",)):
                beside = step.first if kind in ("Mul", "Max") else step.second
                taken = [value, constant(beside)] if kind else [value]
                value = f"{value}_{kind or 'Sigmoid'}"
                nodes.append(helper.make_node(kind or "Sigmoid", taken, [value]))
        return nodes, value

    first, value = chained(network.package.before, "tiles")
    order = _places("byxc", network.package.axes[0])
    first.append(helper.make_node("Transpose", [value], [own], perm=order))
    last: list[Any] = []
    ends: list[str] = []
    for name, axes, steps in zip(
        outputs, network.package.axes[1:], network.package.behind, strict=True
    ):
        value = f"{name}_last"
        last.append(helper.make_node("Transpose", [name], [value], perm=_places(axes, "byxc")))
        nodes, value = chained(steps, value)
        last += nodes
        ends.append(value)
    for head, (k, a, b) in zip(network.card.heads, network.cuts, strict=True):
        cut = [constant([each], np.int64) for each in (a, b, 3)]
        last.append(helper.make_node("Slice", [ends[k], *cut], [head.name]))
    nodes = [*first, *graph.node, *last]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    shape = ["batch", "y", "x", len(network.card.input.channels)]
    graph.input.append(helper.make_tensor_value_info("tiles", real, shape))
    for head in network.card.heads:
        shape = ["batch", f"y_{head.name}", f"x_{head.name}", head.channels]
        graph.output.append(helper.make_tensor_value_info(head.name, real, shape))
    onnx.save(model, str(path))


def _load_keras(weights: Path) -> tuple[Run, Export]:
    keras = importlib.import_module("keras")
    with quiet():
        model = keras.models.load_model(str(weights), compile=False)

    def run(tiles: np.ndarray) -> Sequence[np.ndarray]:
        with quiet():
            found = model.predict(tiles, verbose=0)
        return found if isinstance(found, list) else [found]

    def export(network: BioimageNetwork, folder: Path) -> None:
        def chained(steps: Sequence[Step], value: Any) -> Any:
            for step in steps:
                one, other = np.array(step.first, np.float32), np.array(step.second, np.float32)
                if step.name == "sigmoid":
                    value = keras.ops.sigmoid(value)
                elif step.name == "linear":
                    value = value * one + other
                else:
                    value = keras.ops.minimum(keras.ops.maximum(value, one), other)
            return value

        given = keras.Input((None, None, len(network.card.input.channels)))
        axes = network.package.axes
        value = chained(network.package.before, given)
        found = model(keras.ops.transpose(value, _places("byxc", axes[0])))
        found = found if isinstance(found, list | tuple) else [found]
        ends = [
            chained(steps, keras.ops.transpose(value, _places(order, "byxc")))
            for value, order, steps in zip(found, axes[1:], network.package.behind, strict=True)
        ]
        heads = [ends[k][..., a:b] for k, a, b in network.cuts]
        with quiet():
            keras.Model(given, heads).export(str(folder))

    return run, export


ONNX = Framework(
    name="bioimage_onnx",
    title="bioimage.io with ONNX weights",
    package="onnx",
    image="cellpose3",
    files="a package, a folder or .zip with rdf.yaml or bioimageio.yaml, with weights onnx",
    recognises=_recognises("onnx"),
    open=_open("onnx", _load_onnx),
)
KERAS = Framework(
    name="bioimage_keras",
    title="bioimage.io with Keras weights",
    package="keras",
    image="stardist",
    files="a package with weights keras_hdf5",
    recognises=_recognises("keras_hdf5"),
    open=_open("keras_hdf5", _load_keras),
)
