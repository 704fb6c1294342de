"""What a stage did, measured: steps, images, machine, memory, versions."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cellmill import extras
from cellmill.compute.memory import peak_rss
from cellmill.compute.parts import Parts
from cellmill.compute.processes import seconds_alive
from cellmill.typed_json import without_nan
from cellmill.version import __version__

#: Distributions whose version can change a result, by the module that shows they were used.
LIBRARIES = {
    "cv2": "opencv-python-headless",
    "deepcell": "deepcell",
    "deepcell_toolbox": "deepcell-toolbox",
    "imagecodecs": "imagecodecs",
    "keras": "keras",
    "numba": "numba",
    "numpy": "numpy",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "pyarrow": "pyarrow",
    "scipy": "scipy",
    "skimage": "scikit-image",
    "tensorflow": "tensorflow",
    "tensorstore": "tensorstore",
    "tifffile": "tifffile",
}

#: The variable by which a launcher tells a stage what machine it rented for it.
MACHINE_VARIABLE = "CELLMILL_MACHINE"


@dataclass
class ImageRecord:
    """Time spent on one image, whole and by step, in seconds."""

    name: str
    status: str = "ok"
    error: str = ""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    steps: list[dict[str, Any]] = field(default_factory=list)


class Recorder:
    """Collects what a stage says of its work while it runs."""

    def __init__(self) -> None:
        self.images: dict[str, ImageRecord] = {}
        self.notes: dict[str, Any] = {}
        self.steps: list[dict[str, Any]] = []
        self.gpu_used: dict[str, Any] | None = None
        self._start = seconds_alive()
        self._imported = frozenset(extras.IMPORT_SECONDS)
        self._started = datetime.now(timezone.utc)
        self._wall = time.perf_counter()
        self._cpu = _cpu_seconds()
        self._read = _bytes_read()
        self._current: ImageRecord | None = None

    @contextlib.contextmanager
    def image(self, name: str) -> Iterator[ImageRecord]:
        """Time the work on one image; steps within the block belong to it."""
        entry = self.images.setdefault(name, ImageRecord(name))
        self._current, outer = entry, self._current
        wall, cpu = time.perf_counter(), _cpu_seconds()
        try:
            yield entry
        finally:
            entry.wall_s += time.perf_counter() - wall
            entry.cpu_s += _cpu_seconds() - cpu
            self._current = outer

    @contextlib.contextmanager
    def step(self, name: str, image: str = "") -> Iterator[None]:
        """Time one step, of the image at hand (or the one named), or of the stage as a whole."""
        owner = self.images.setdefault(image, ImageRecord(image)) if image else self._current
        wall, cpu = time.perf_counter(), _cpu_seconds()
        try:
            yield
        finally:
            timing = {
                "name": name,
                "wall_s": time.perf_counter() - wall,
                "cpu_s": _cpu_seconds() - cpu,
            }
            (owner.steps if owner else self.steps).append(timing)

    @contextlib.contextmanager
    def side_by_side(self, pooled: str) -> Iterator[Parts]:
        """Time steps, of the image at hand or the stage, that threads take side by side.

        Args:
            pooled: the step whose work is done by threads of its own; see `Parts`.
        """
        owner, cpu = self._current, _cpu_seconds()
        parts = Parts(pooled)
        try:
            yield parts
        finally:
            for name, spent in parts.seconds(_cpu_seconds() - cpu).items():
                timing = {"name": name, "wall_s": spent[0], "cpu_s": spent[1]}
                (owner.steps if owner else self.steps).append(timing)

    def note(self, **values: Any) -> None:
        """Keep JSON values with the record: what took effect, what was noticed."""
        self.notes.update(values)

    def gpu(self, name: str, peak_memory_bytes: int) -> None:
        """Say which GPU worked and the most memory it held."""
        self.gpu_used = {"name": name, "peak_memory_bytes": peak_memory_bytes}

    def document(
        self,
        *,
        stage: str,
        parameters: Mapping[str, Any],
        inputs: Mapping[str, str | list[str]],
        outputs: Mapping[str, Path],
    ) -> dict[str, Any]:
        """Return the whole record as JSON values; of inputs it has the digests."""
        return {
            "format": "cellmill-record/1",
            "stage": stage,
            "version": __version__,
            "image": os.environ.get("CELLMILL_IMAGE", ""),
            "started": self._started.isoformat(timespec="milliseconds"),
            "libraries": library_versions(),
            "parameters": dict(parameters),
            "inputs": dict(inputs),
            "images": [vars(image) for image in self.images.values()],
            "steps": self.steps,
            "totals": {
                **self._beginning(),
                "wall_s": time.perf_counter() - self._wall,
                "cpu_s": _cpu_seconds() - self._cpu,
                "peak_rss_bytes": peak_rss(),
                "bytes_read": _bytes_read() - self._read,
                "bytes_written": sum(_size(path) for path in outputs.values()),
            },
            "machine": machine(),
            "gpu": self.gpu_used,
            "notes": self.notes,
        }

    def _beginning(self) -> dict[str, float]:
        """Seconds before the stage began its work, and those that engines' imports took in it."""
        imports = [t for p, t in extras.IMPORT_SECONDS.items() if p not in self._imported]
        return {
            "start_wall_s": self._start,
            "start_cpu_s": self._cpu,
            "import_wall_s": sum((wall for wall, _ in imports), 0.0),
            "import_cpu_s": sum((cpu for _, cpu in imports), 0.0),
        }


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that this process has loaded and that matter."""
    found = {"python": platform.python_version()}
    for module, distribution in LIBRARIES.items():
        if module in sys.modules:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found[distribution] = importlib.metadata.version(distribution)
                continue
            found[distribution] = str(getattr(sys.modules[module], "__version__", "unknown"))
    return found


def machine() -> dict[str, Any]:
    """Return what this machine is: processors that may be used, their model, memory, platform.

    `rented` is what the launcher said of it, where it is one that is paid by the hour; `load` the
    mean number of runnable processes in the last minute.
    """
    return {
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else (os.cpu_count() or 1),
        "cpu_model": _cpu_model(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "rented": os.environ.get(MACHINE_VARIABLE, ""),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def digest(path: Path) -> str:
    """Return `sha256:…` of an input.

    A batch is digested through its manifest, which holds a checksum of every array; any other
    folder through its files' names and bytes.
    """
    sha = hashlib.sha256()
    manifest = path / "manifest.json"
    if manifest.is_file():
        files = [manifest]
    elif path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
    else:
        files = [path] if path.is_file() else []
    for file in files:
        if path.is_dir():
            sha.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                sha.update(chunk)
    return f"sha256:{sha.hexdigest()}"


def to_json(document: Mapping[str, Any]) -> str:
    """Return a record as JSON text (see `Recorder.document`), seconds rounded to a µs."""
    values = without_nan(_rounded(document))
    return json.dumps(values, indent=1, sort_keys=True, default=str, allow_nan=False) + "\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, Mapping):
        return {str(k): _rounded(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(v) for v in value]
    return value


def _cpu_seconds() -> float:
    mine = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return mine.ru_utime + mine.ru_stime + children.ru_utime + children.ru_stime


def _bytes_read() -> int:
    """Bytes asked for through read calls; reads through a memory map are not among them."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/io").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("rchar")).split()[1])
    return 0


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return path.stat().st_size if path.is_file() else 0


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"
