"""How the library's numba kernels are compiled.

Kernels hold no lock of the interpreter, so threads of one process run them side by side, each on a
band or tile of its own: no OpenMP, nothing that a forked process would trip over.

Compiled code is kept in the user's cache by what it is made of (`kernel_cache`), so that no clone
or environment compiles what another has; the CPU's name and features are in its key. To build a
cache on one machine (an image) and use it on others, set the same target on both before Python
starts, for example
`NUMBA_CPU_NAME=x86-64-v3 NUMBA_CPU_FEATURES=+avx2,+bmi,+bmi2,+f16c,+fma,+lzcnt,+movbe`, and
`NUMBA_CACHE_DIR` to a folder of the image. Results do not depend on the target: no kernel lets
the compiler reorder or fuse floating-point operations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba.core.dispatcher import Dispatcher

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
