"""Compiled kernels kept by the content of their sources, for every clone and environment alike.

numba keeps compiled code beside a source and knows it by the file's time and size: each clone and
each environment compiles anew, and a constant of another file that went into a kernel may change
unseen. Here it lies in the user's cache (`$XDG_CACHE_HOME/cellmill/kernels`), and a kernel's key
says all that it was made of: numba's version, the bytes of its file, the constants that its module
has at hand, and the same of the kernels that it may call. Python's version, the types, and the
processor's name and features are in numba's own key. Where `NUMBA_CACHE_DIR` is set, or the user's
cache cannot be written, numba does as it always does.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numba
import numpy as np
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    _CacheLocator,
)
from numba.core.dispatcher import Dispatcher

from cellmill.compute.folders import cache_folder, locked

#: What has not been written for so long is dropped when something else is.
_DAYS = 90
_OURS = "cellmill"


class KernelCache(FunctionCache):
    """numba's cache of one kernel, by its key; several processes may write at once."""

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled for some types.

        Two processes that write one index at once would give two types' code one name.
        """
        if not isinstance(self._impl.locator, _ByContent):
            super().save_overload(sig, data)
            return
        with locked(Path(self._cache_path) / ".lock"):
            super().save_overload(sig, data)
            _drop_old(Path(self._cache_path), time.time())


class _ByContent(_CacheLocator):
    """Says where a kernel lies, and its key in the file's name."""

    def __init__(self, folder: str, name: str) -> None:
        self._folder, self._name = folder, name

    def get_cache_path(self) -> str:
        return self._folder

    def get_source_stamp(self) -> str:
        return self._name

    def get_disambiguator(self) -> str:
        return self._name

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> _ByContent | None:
        folder = _folder()
        if not folder or not Path(py_file).is_file():
            return None
        return cls(folder, f"{py_func.__code__.co_firstlineno}.{key_of(py_func)[:24]}")


class _Places(CompileResultCacheImpl):
    """Where compiled code is looked for: in the folder that numba was told of, then by its key."""

    _told, *_others = CompileResultCacheImpl._locator_classes
    _locator_classes = [_told, _ByContent, *_others]  # noqa: RUF012 - as numba has it


KernelCache._impl_class = _Places


def keep(kernel: Dispatcher) -> None:
    """Keep what a kernel is compiled to."""
    kernel._cache = KernelCache(kernel.py_func)  # type: ignore[attr-defined]


def key_of(function: Callable[..., Any]) -> str:
    """What a kernel is made of, as a digest.

    Args:
        function: as it is decorated: of its module, what stands above it is there.
    """
    content = hashlib.sha256(f"{numba.__version__} {function.__module__}".encode())
    for file in (Path(__file__).with_name("kernels.py"), Path(function.__code__.co_filename)):
        content.update(_digest(str(file)))
    for name, value in sorted(function.__globals__.items()):
        if not name.startswith("__"):
            content.update(f"\0{name}\0".encode() + _said(value, function.__module__))
    return content.hexdigest()


def _said(value: object, module: str) -> bytes:
    """What a name of a module can put into a kernel: a constant, or code of another module."""
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return f"{value.dtype}{value.shape}".encode() + value.tobytes()
    if isinstance(value, (bool, int, float, complex, str, bytes, np.generic)):
        return f"{type(value).__name__} {value!r}".encode()
    if isinstance(value, tuple):
        return b"".join(_said(each, module) + b"," for each in value)
    if isinstance(value, Dispatcher):
        return _key_of_another(value.py_func) if value.py_func.__module__ != module else b""
    if isinstance(value, FunctionType) or (
        isinstance(value, type) and not issubclass(value, enum.Enum)
    ):
        return b""  # no kernel calls what is not compiled
    owner = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", "")
    if not isinstance(owner, str) or owner == module or owner.split(".")[0] != _OURS:
        return b""
    return _digest(getattr(sys.modules.get(owner), "__file__", None) or "")


@functools.cache
def _key_of_another(function: Callable[..., Any]) -> bytes:
    return key_of(function).encode()


@functools.cache
def _digest(path: str) -> bytes:
    """The content of a file; nothing of one that is not there."""
    return hashlib.sha256(Path(path).read_bytes()).digest() if path else b""


@functools.cache
def _folder() -> str:
    """The folder of compiled kernels, made if need be; empty where none can be written."""
    try:
        folder = cache_folder("kernels")
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError):  # it cannot be written; or there is no home
        return ""
    return str(folder)


def _drop_old(folder: Path, now: float) -> None:
    """Drop what other sources than today's left long ago; it is compiled again if it is wanted."""
    for path in folder.glob("*.nb[ci]"):
        try:
            if now - path.stat().st_mtime > _DAYS * 86400:
                path.unlink()
        except FileNotFoundError:
            continue
