"""What a bioimage.io package says of its network: `rdf.yaml` (0.4) or `bioimageio.yaml` (0.5).

Its steps before and behind the network are taken where they are percentiles or plain arithmetic;
a step of another kind is refused by its name, never left out.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from cellmill import extras
from cellmill.errors import BadInput
from cellmill.models.card import Preprocessing

#: The description as JSON, for environments that read no YAML.
PLAIN = "rdf.json"
_DESCRIPTION = re.compile(r"(.*[._-])?(rdf|bioimageio)\.yaml")
#: Of a description, and of a tensor of a test.
_MOST_BYTES, _MOST_PIXELS = 1 << 22, 1 << 26
_STEPS = "scale_range, scale_linear, zero_mean_unit_variance with given mean and std, clip, sigmoid"


@dataclass(frozen=True)
class Step:
    """Arithmetic on each pixel, channels last: `x · gain + offset`, a clip, or a sigmoid.

    Attributes:
        name: `linear`, `clip` or `sigmoid`.
        first: the gain, or the least value.
        second: the offset, or the greatest value.
    """

    name: str
    first: tuple[float, ...] = ()
    second: tuple[float, ...] = ()

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """What becomes of values `(N, Y, X, C)`."""
        if self.name == "sigmoid":
            return 1 / (1 + np.exp(-values))
        one, other = np.array(self.first, np.float32), np.array(self.second, np.float32)
        return values * one + other if self.name == "linear" else np.clip(values, one, other)


@dataclass(frozen=True)
class Package:
    """What a package says.

    Attributes:
        raw: the description.
        axes: of the network's input, and of each output: `bcyx`, `byxc`, …
        preprocessing: by percentiles, or none.
        before: steps between that and the network.
        behind: steps behind the network, for each output.
        given: the test's input `(1, Y, X, C)`, normalised by percentiles.
        wanted: the test's outputs, channels last.
    """

    raw: Mapping[str, Any]
    axes: tuple[str, ...]
    preprocessing: Preprocessing
    before: tuple[Step, ...]
    behind: tuple[tuple[Step, ...], ...]
    given: np.ndarray
    wanted: tuple[np.ndarray, ...]


def description_in(source: Path) -> bytes:
    """The text of the description of a package, a folder or a zip; empty if it is none."""
    try:
        if source.is_dir():
            found = [path for path in source.iterdir() if _DESCRIPTION.fullmatch(path.name)]
            small = len(found) == 1 and found[0].stat().st_size <= _MOST_BYTES
            return found[0].read_bytes() if small else b""
        with zipfile.ZipFile(source) as archive:
            names = [name for name in archive.namelist() if _DESCRIPTION.fullmatch(name)]
            small = len(names) == 1 and archive.getinfo(names[0]).file_size <= _MOST_BYTES
            return archive.read(names[0]) if small else b""
    except (OSError, zipfile.BadZipFile, EOFError, RuntimeError, ValueError, NotImplementedError):
        return b""


def write_plain(source: Path, folder: Path) -> None:
    """Write a package's description as JSON into a folder.

    Raises:
        BadInput: it is no YAML, or there is nothing here that reads it.
    """
    what = f"package '{source.name}'"
    yaml = extras.load("yaml", what)
    try:
        found = yaml.safe_load(description_in(source))
        text = json.dumps(found, default=str)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = str(error).splitlines()[0]
        raise BadInput(what, expected="a description in YAML", found=said) from None
    (folder / PLAIN).write_text(text)


def read_package(folder: Path) -> Package:
    """Read a package that lies in a folder.

    Raises:
        BadInput: it has another form, or something that is not taken here.
    """
    what = f"package '{folder.name}'"
    if not (folder / PLAIN).is_file():
        write_plain(folder, folder)
    raw = json.loads((folder / PLAIN).read_text())
    try:
        (taken,) = raw["inputs"]
        outputs = raw["outputs"]
        axes = tuple(_axes(each["axes"], what) for each in (taken, *outputs))
        preprocessing, before = _before(taken.get("preprocessing") or [], what)
        behind = tuple(_steps(each.get("postprocessing") or [], what) for each in outputs)
        sources = [each.get("test_tensor", {}).get("source") for each in (taken, *outputs)]
        if None in sources:
            sources = [*raw["test_inputs"], *raw["test_outputs"]]
        tensors = [
            _last(_tensor(folder, source, what), order)
            for source, order in zip(sources, axes, strict=True)
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        said = f"{type(error).__name__}: {error}"
        raise BadInput(what, expected="a model of one input, with a test", found=said) from None
    given = tensors[0].astype(np.float32)
    if preprocessing.method == "percentile":
        low, high = np.percentile(
            given, [preprocessing.low, preprocessing.high], axis=(1, 2), keepdims=True
        )
        given = ((given - low) / (high - low + 1e-6)).astype(np.float32)
    return Package(raw, axes, preprocessing, before, behind, given, tuple(tensors[1:]))


def weights_of(package: Package, folder: Path, form: str) -> Path:
    """A package's weights of one form, verified.

    Raises:
        BadInput: there are none in it, or their checksum is another.
    """
    what = f"weights of package '{folder.name}'"
    entry = package.raw["weights"][form]
    path = _inside(folder, entry["source"], what)
    wanted = entry.get("sha256")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if wanted and found != wanted:
        raise BadInput(what, expected=f"sha256 {wanted}", found=found)
    return path


def _inside(folder: Path, source: Any, what: str) -> Path:
    name = PurePosixPath(source["source"] if isinstance(source, Mapping) else source)
    path = folder / name
    if name.is_absolute() or ".." in name.parts or not path.is_file():
        raise BadInput(what, expected="a file of the package", found=f"'{name}'")
    return path


def _tensor(folder: Path, source: Any, what: str) -> np.ndarray:
    path = _inside(folder, source, f"test of {what}")
    found = np.load(path, allow_pickle=False, mmap_mode="r")
    if found.size > _MOST_PIXELS or found.dtype.kind not in "uif":
        raise BadInput(f"test of {what}", expected="numbers", found=f"{found.dtype} {found.shape}")
    return np.asarray(found)


def _axes(given: Any, what: str) -> str:
    """Axes by letters, of either version."""
    if isinstance(given, str):
        letters = given
    else:
        letters = "".join(
            {"batch": "b", "channel": "c", "time": "t"}.get(each["type"], each.get("id", "?"))
            for each in given
        )
    if sorted(letters) != sorted("bcyx") or letters[0] != "b":
        raise BadInput(f"axes of {what}", expected="b, c, y, x, b first", found=letters)
    return letters


def _last(tensor: np.ndarray, axes: str) -> np.ndarray:
    """A tensor with its channels last."""
    return np.transpose(tensor, [axes.index(each) for each in "byxc"])


def _named(step: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    return str(step.get("name") or step.get("id")), step.get("kwargs") or {}


def _before(
    steps: Sequence[Mapping[str, Any]], what: str
) -> tuple[Preprocessing, tuple[Step, ...]]:
    """Percentiles, if they come first, and the steps behind them."""
    rest = [step for step in steps if _named(step)[0] != "ensure_dtype"]
    if not rest or _named(rest[0])[0] != "scale_range":
        return Preprocessing("none"), _steps(rest, what)
    told = _named(rest[0])[1]
    axes = {"x": "x", "y": "y"} | {each: each for each in told.get("axes") or "xy"}
    odd = [f"mode {told['mode']}"] if told.get("mode", "per_sample") != "per_sample" else []
    odd += ["reference_tensor"] if told.get("reference_tensor") else []
    odd += ["percentiles of all channels at once"] if {"c", "channel"} & {*axes} else []
    if odd:
        raise BadInput(
            f"step scale_range of {what}",
            expected="percentiles of each channel of the image",
            found=odd[0],
        )
    low, high = float(told.get("min_percentile", 0)), float(told.get("max_percentile", 100))
    return Preprocessing("percentile", low=low, high=high), _steps(rest[1:], what)


def _steps(steps: Sequence[Mapping[str, Any]], what: str) -> tuple[Step, ...]:
    found = []
    for step in steps:
        name, told = _named(step)
        fixed = name == "fixed_zero_mean_unit_variance" or told.get("mode") == "fixed"
        if name == "ensure_dtype":
            continue
        if name == "sigmoid":
            found.append(Step("sigmoid"))
        elif name == "clip":
            found.append(Step("clip", _numbers(told["min"]), _numbers(told["max"])))
        elif name == "scale_linear":
            gain, offset = _numbers(told.get("gain", 1.0)), _numbers(told.get("offset", 0.0))
            found.append(Step("linear", gain, offset))
        elif name.endswith("zero_mean_unit_variance") and fixed:
            mean, std = np.array(_numbers(told["mean"])), np.array(_numbers(told["std"]))
            std = std + (told.get("eps", 1e-6) if name == "zero_mean_unit_variance" else 0)
            found.append(Step("linear", tuple((1 / std).tolist()), tuple((-mean / std).tolist())))
        else:
            raise BadInput(f"step {name} of {what}", expected=f"one of {_STEPS}", found=name)
    return tuple(found)


def _numbers(given: Any) -> tuple[float, ...]:
    return tuple(float(each) for each in (given if isinstance(given, list) else [given]))
