"""Packages that only some uses need: imported when used, asked for in one line where missing.

The base installation goes without them. Nothing in `cellmill` imports one by a statement, so that
every module can be imported without it; what needs one asks for it here.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from typing import Any

from cellmill.errors import BadInput

EXTRAS = {
    "gcsfs": "cloud",
    "google.auth": "cloud",
    "h5py": "exports",
    "keras": "tensorflow",
    "kfp": "pipelines",
    "liffile": "formats",
    "napari": "napari",
    "nd2": "formats",
    "oiffile": "formats",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "pylibCZIrw": "formats",
    "roifile": "exports",
    "s3fs": "cloud",
    "sklearn": "pixels",
    "tensorflow": "tensorflow",
    "yaml": "pipelines",
}
"""The extra of `setup.cfg` that installs a package, by the name under which it is imported."""

_SILENT = {"onnxruntime": "ORT_DISABLE_TELEMETRY"}
"""The variable by which a package that reports its use to its makers is told not to. It counts
when it is set before the import; a user's own value stays."""

_REPORTERS = {"openvino": "openvino_telemetry"}
"""The package by which another reports its use, from its import on, with an identifier in the
user's home, and which it does without where there is none. It is kept out of the process, unless
the user has imported it."""

IMPORT_SECONDS: dict[str, tuple[float, float]] = {}
"""Wall and processor seconds that each package took to import in this process."""


def load(module: str, what: str) -> Any:
    """Import a module of an optional package.

    Args:
        module: its full name, for example `openvino.opset11`; its package is one of `EXTRAS`.
        what: what needs it, as a user knows it: `engine openvino`.

    Returns:
        The module.

    Raises:
        BadInput: the package is not installed; the line names the extra that installs it.
        ImportError: it is installed, and cannot be imported.
    """
    package = next(p for p in EXTRAS if f"{module}.".startswith(f"{p}."))
    is_new = package not in sys.modules
    if package in _SILENT:
        os.environ.setdefault(_SILENT[package], "1")
    if package in _REPORTERS:
        sys.modules.setdefault(_REPORTERS[package], None)  # type: ignore[arg-type]
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        found = importlib.import_module(module)
        if is_new:
            spent = time.perf_counter() - wall, time.process_time() - cpu
            IMPORT_SECONDS[package] = spent
        return found
    except ModuleNotFoundError as error:
        if error.name is None or not f"{package}.".startswith(f"{error.name}."):
            raise
        raise missing(package, what) from None


def missing(package: str, what: str) -> BadInput:
    """Return what to raise where an optional package is not installed.

    Example:
        >>> print(missing("openvino", "engine openvino"))
        engine openvino: expected openvino installed (pip install 'cellmill[openvino]'), found none
    """
    return BadInput(
        what,
        expected=f"{package} installed (pip install 'cellmill[{EXTRAS[package]}]')",
        found="none",
    )
