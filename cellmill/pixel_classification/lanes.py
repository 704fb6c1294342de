"""Sixty-four pixels at once: comparing and adding, with a bit a pixel.

A forest sends a pixel left or right at each node. Neighbouring pixels mostly go the same way, so a
node is asked of 64 of them together, and which go where are the bits of one number: the code that
numba makes of a loop over them does not keep them in one, so these two operations are given to the
compiler (LLVM) as such. It makes of them what the processor has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

#: Pixels in a word.
LANES = 64

_INDEX = ir.IntType(32)
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_BITS = ir.VectorType(ir.IntType(1), LANES)
_ZEROS = ir.Constant(ir.VectorType(_INDEX, LANES), [0] * LANES)


def _operation(function: Callable[..., Any]) -> Any:
    """What kernels call; typed as anything, since numba gives it its types."""
    return intrinsic(function)


@_operation
def at_most(typing: Any, values: Any, start: Any, bound: Any) -> Any:
    """Which of 64 values are at most a bound: `values[start + i] <= bound` is bit `i`.

    Args:
        typing: numba's.
        values: float32, one axis, contiguous.
        start: of the 64 values; they must all be there.
        bound: float32.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _place(context, builder, signature, arguments)
        compared = builder.fcmp_ordered(
            "<=", builder.load(place, align=4), _repeated(builder, arguments[2])
        )
        return builder.bitcast(compared, ir.IntType(LANES))

    return types.uint64(values, types.intp, types.float32), code


@_operation
def add_where(typing: Any, values: Any, start: Any, bits: Any, summand: Any) -> Any:
    """Add a number to those of 64 values whose bits are set.

    Args:
        typing: numba's.
        values: float32, one axis, contiguous.
        start: of the 64 values; they must all be there.
        bits: uint64.
        summand: float32.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _place(context, builder, signature, arguments)
        before = builder.load(place, align=4)
        added = builder.fadd(before, _repeated(builder, arguments[3]))
        chosen = builder.select(builder.bitcast(arguments[2], _BITS), added, before)
        builder.store(chosen, place, align=4)
        return context.get_dummy_value()

    return types.void(values, types.intp, types.uint64, types.float32), code


def _place(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """The address of 64 values of an array."""
    array = cgutils.create_struct_proxy(signature.args[0])(context, builder, arguments[0])
    return builder.bitcast(builder.gep(array.data, [arguments[1]]), _FLOATS.as_pointer())


def _repeated(builder: Any, value: Any) -> Any:
    """A number in all of 64 places."""
    nothing = ir.Constant(_FLOATS, ir.Undefined)
    first = builder.insert_element(nothing, value, ir.Constant(_INDEX, 0))
    return builder.shuffle_vector(first, nothing, _ZEROS)
