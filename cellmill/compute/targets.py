"""Which processors kernels are compiled for: this one, or the best of those that an image names.

An image is built on one machine and run on others. `CELLMILL_KERNEL_TARGETS` names processors, the
best first, each as LLVM does with the features that make it: `x86-64-v3=+avx2,+fma
x86-64-v2=+sse4.2`. The first of which this processor has all features is the target, and numba
finds what was compiled for it when the image was built. Results do not depend on the target: no
kernel lets the compiler reorder or fuse floating-point operations.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping

VARIABLE = "CELLMILL_KERNEL_TARGETS"


def usable_targets(named: str) -> Iterator[tuple[str, str]]:
    """Give those of some targets whose features this processor has, the best first.

    Args:
        named: as `CELLMILL_KERNEL_TARGETS` names them.

    Returns:
        A name and features, as `NUMBA_CPU_NAME` and `NUMBA_CPU_FEATURES` take them.
    """
    from llvmlite.binding import get_host_cpu_features

    own = get_host_cpu_features() if named else {}
    for target in named.split():
        name, _, features = target.partition("=")
        if all(own.get(feature.lstrip("+"), False) for feature in features.split(",")):
            yield name, features


def choose_target(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return what numba's environment has to say for the best target.

    Returns:
        Nothing where no target is named that fits this processor, or the user has named one: numba
        then compiles for this processor, or for what it was told.
    """
    if "NUMBA_CPU_NAME" in environ:
        return {}
    for name, features in usable_targets(environ.get(VARIABLE, "")):
        return {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}
    return {}


def set_target() -> None:
    """Tell numba, in this process and those that it starts, what to compile for."""
    chosen = choose_target()
    os.environ.update(chosen)
    if chosen and "numba" in sys.modules:
        from numba.core import config

        config.reload_config()
