"""How the library's numba kernels are compiled.

Kernels hold no lock of the interpreter, so threads of one process run them side by side, each on a
band or tile of its own: no OpenMP, nothing that a forked process would trip over.

Compiled code is kept in the user's cache by what it is made of (`kernel_cache`), so that no clone
or environment compiles what another has; the CPU's name and features are in its key. A cache that
is built on one machine (an image) and used on others is for the processors that `targets` names,
in the folder of `NUMBA_CACHE_DIR`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cellmill.compute.targets import set_target

set_target()
import numba  # noqa: E402 - what is set is read when it is imported
from numba.core.dispatcher import Dispatcher  # noqa: E402

try:
    from cellmill.compute.kernel_cache import keep
except (ImportError, AttributeError, ValueError):  # numba's inner workings are others

    def keep(kernel: Dispatcher) -> None:
        """Keep what a kernel is compiled to where numba keeps it."""
        kernel.enable_caching()


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function at its first call with given types; without the interpreter's lock."""
    return _kept(numba.njit(nogil=True, error_model="numpy")(function))


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function into each kernel that calls it."""
    return _kept(numba.njit(nogil=True, error_model="numpy", inline="always")(function))


def _kept(made: Any) -> Any:
    """What numba's `cache=True` does, in another place; nothing where compiling is off."""
    if isinstance(made, Dispatcher):
        keep(made)
    return made
