"""Sixteen Fourier transforms side by side: the steps of one, in the processor's vectors.

Sixteen neighbouring numbers are a row, and rows are transformed as numbers are: what numba makes
of loops over them is not kept in vectors, so the steps are given to the compiler (LLVM) as such. A
complex row is two rows of float32, real and imaginary part. Nothing is fused or reordered, so every
processor finds the same bits.

Kernels call what stands here; arrays are float32, of one axis, contiguous, and places in them are
counted in numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

#: Transforms side by side.
LANES = 16
#: Into what lengths are factored.
RADICES = (16, 12, 8, 6, 5, 4, 3, 2)

_INDEX, _WORD = ir.IntType(32), ir.IntType(64)
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_ZEROS = ir.Constant(ir.VectorType(_INDEX, LANES), [0] * LANES)


@dataclass(frozen=True)
class _Row:
    """Sixteen complex numbers in a kernel that is being made."""

    make: Any
    re: Any
    im: Any

    def __add__(self, other: _Row) -> _Row:
        return _Row(self.make, self.make.fadd(self.re, other.re), self.make.fadd(self.im, other.im))

    def __sub__(self, other: _Row) -> _Row:
        return _Row(self.make, self.make.fsub(self.re, other.re), self.make.fsub(self.im, other.im))

    def times(self, re: Any, im: Any) -> _Row:
        """The product with a complex number, or with another row."""
        make = self.make
        return _Row(
            make,
            make.fsub(make.fmul(self.re, re), make.fmul(self.im, im)),
            make.fadd(make.fmul(self.re, im), make.fmul(self.im, re)),
        )

    def scaled(self, factor: Any) -> _Row:
        """The product with a real number."""
        return _Row(self.make, self.make.fmul(self.re, factor), self.make.fmul(self.im, factor))

    def over_i(self) -> _Row:
        """Divided by i."""
        return _Row(self.make, self.im, self.make.fneg(self.re))

    def conjugate(self) -> _Row:
        """The complex conjugate."""
        return _Row(self.make, self.re, self.make.fneg(self.im))


def _transformed(rows: Sequence[_Row]) -> list[_Row]:
    """The Fourier transform of a few rows: by halves, or of an odd number by pairs."""
    count = len(rows)
    if count == 1:
        return list(rows)
    if count % 2:
        return _of_odd(rows)
    even, odd = _transformed(rows[::2]), _transformed(rows[1::2])
    turned = [_turned(row, k, count) for k, row in enumerate(odd)]
    pairs = list(zip(even, turned, strict=True))
    return [a + b for a, b in pairs] + [a - b for a, b in pairs]


def _turned(row: _Row, k: int, count: int) -> _Row:
    """Times exp(-2πi k / count), for k below half of count."""
    if not k:
        return row
    if 4 * k == count:
        return row.over_i()
    if 8 * k == count:
        return (row + row.over_i()).scaled(_number(math.sqrt(0.5)))
    if 8 * k == 3 * count:
        return (row.over_i() - row).scaled(_number(math.sqrt(0.5)))
    angle = 2 * math.pi * k / count
    return row.times(_number(math.cos(angle)), _number(-math.sin(angle)))


def _of_odd(rows: Sequence[_Row]) -> list[_Row]:
    """The Fourier transform of an odd number of rows."""
    count, half = len(rows), range(1, (len(rows) + 1) // 2)
    sums = [rows[j] + rows[count - j] for j in half]
    differences = [rows[j] - rows[count - j] for j in half]
    found = [_added([rows[0], *sums])] * count
    for k in half:
        angles = [2 * math.pi * (j * k % count) / count for j in half]
        along = [s.scaled(_number(math.cos(a))) for s, a in zip(sums, angles, strict=True)]
        across = [d.scaled(_number(math.sin(a))) for d, a in zip(differences, angles, strict=True)]
        real, imaginary = _added([rows[0], *along]), _added(across).over_i()
        found[k], found[count - k] = real + imaginary, real - imaginary
    return found


def _added(rows: Sequence[_Row]) -> _Row:
    total = rows[0]
    for row in rows[1:]:
        total = total + row
    return total


def _operation(function: Callable[..., Any]) -> Any:
    """What kernels call; typed as anything, since numba gives it its types."""
    return intrinsic(function)


class _Arrays:
    """The arrays and numbers that a kernel calls an operation with."""

    def __init__(self, context: Any, make: Any, signature: Any, arguments: Any) -> None:
        self._context, self._make = context, make
        self._types, self._given = signature.args, arguments

    def place(self, array: int, *shifts: Any) -> Any:
        """The address of a number of the array that is an argument."""
        proxy = cgutils.create_struct_proxy(self._types[array])
        data = proxy(self._context, self._make, self._given[array]).data
        total = shifts[0]
        for shift in shifts[1:]:
            total = self._make.add(total, shift)
        return self._make.gep(data, [total])

    def load(self, array: int, *shifts: Any) -> Any:
        """Sixteen numbers."""
        return self._make.load(self._vector(array, *shifts), align=4)

    def store(self, values: Any, array: int, *shifts: Any) -> None:
        """Sixteen numbers."""
        self._make.store(values, self._vector(array, *shifts), align=4)

    def row(self, array: int, re: Any, im: Any, shift: Any) -> _Row:
        """A complex row."""
        return _Row(self._make, self.load(array, re, shift), self.load(array, im, shift))

    def put(self, row: _Row, array: int, re: Any, im: Any, shift: Any) -> None:
        """A complex row."""
        self.store(row.re, array, re, shift)
        self.store(row.im, array, im, shift)

    def factor(self, array: int, first: Any, number: int) -> tuple[Any, Any]:
        """A complex number of those that begin at `first`, in all places of a row."""
        parts = (self.place(array, first, _WORD(2 * number + part)) for part in (0, 1))
        re, im = (_repeated(self._make, self._make.load(each)) for each in parts)
        return re, im

    def _vector(self, array: int, *shifts: Any) -> Any:
        return self._make.bitcast(self.place(array, *shifts), _FLOATS.as_pointer())


def _number(value: float) -> Any:
    """A number in all places of a row, as float32."""
    return ir.Constant(_FLOATS, [float(np.float32(value))] * LANES)


def _repeated(make: Any, value: Any) -> Any:
    nothing = ir.Constant(_FLOATS, ir.Undefined)
    first = make.insert_element(nothing, value, ir.Constant(_INDEX, 0))
    return make.shuffle_vector(first, nothing, _ZEROS)


def _butterfly(radix: int, twisted: bool) -> Any:
    """The transform of so many rows, each of the results but the first times a factor if twisted.

    Rows begin at `re` and `im` of the source, so many numbers apart, and come to the target
    likewise; factors are complex numbers from `first` on.
    """

    def butterfly(
        typing: Any,
        source: Any,
        re: Any,
        im: Any,
        step: Any,
        target: Any,
        re_there: Any,
        im_there: Any,
        step_there: Any,
        factors: Any,
        first: Any,
    ) -> Any:
        def code(context: Any, make: Any, signature: Any, given: Any) -> Any:
            arrays = _Arrays(context, make, signature, given)
            shifts = [make.mul(given[3], _WORD(j)) for j in range(radix)]
            found = _transformed([arrays.row(0, given[1], given[2], shift) for shift in shifts])
            for k, row in enumerate(found):
                if twisted and k:
                    row = row.times(*arrays.factor(8, given[9], k - 1))
                arrays.put(row, 4, given[5], given[6], make.mul(given[7], _WORD(k)))
            return context.get_dummy_value()

        i = types.intp
        return types.void(source, i, i, i, target, i, i, i, factors, i), code

    return _operation(butterfly)


plain_1 = _butterfly(1, False)
plain_2, twisted_2 = _butterfly(2, False), _butterfly(2, True)
plain_3, twisted_3 = _butterfly(3, False), _butterfly(3, True)
plain_4, twisted_4 = _butterfly(4, False), _butterfly(4, True)
plain_5, twisted_5 = _butterfly(5, False), _butterfly(5, True)
plain_6, twisted_6 = _butterfly(6, False), _butterfly(6, True)
plain_8, twisted_8 = _butterfly(8, False), _butterfly(8, True)
plain_12, twisted_12 = _butterfly(12, False), _butterfly(12, True)
plain_16, twisted_16 = _butterfly(16, False), _butterfly(16, True)


@_operation
def split(typing: Any, rows: Any, im: Any, one: Any, other: Any, factors: Any, first: Any) -> Any:
    """Make of two rows k and M - k of a transform of real pairs those of the real transform, twice.

    With Z the transform of x[2m] + i x[2m+1], the transform of x is (Z[k] + conj Z[M-k]) / 2 +
    exp(-πi k / M) (Z[k] - conj Z[M-k]) / 2i. In place; real parts begin at 0, imaginary ones at
    `im`.
    """

    def code(context: Any, make: Any, signature: Any, given: Any) -> Any:
        arrays, zero = _Arrays(context, make, signature, given), _WORD(0)
        here = arrays.row(0, zero, given[1], given[2])
        there = arrays.row(0, zero, given[1], given[3]).conjugate()
        even = here + there
        odd = (here - there).over_i().times(*arrays.factor(4, given[5], 0))
        arrays.put(even + odd, 0, zero, given[1], given[2])
        arrays.put((even - odd).conjugate(), 0, zero, given[1], given[3])
        return context.get_dummy_value()

    i = types.intp
    return types.void(rows, i, i, i, factors, i), code


@_operation
def join(typing: Any, rows: Any, im: Any, one: Any, other: Any, factors: Any, first: Any) -> Any:
    """Undo `split`, twice as large."""

    def code(context: Any, make: Any, signature: Any, given: Any) -> Any:
        arrays, zero = _Arrays(context, make, signature, given), _WORD(0)
        here = arrays.row(0, zero, given[1], given[2])
        there = arrays.row(0, zero, given[1], given[3]).conjugate()
        re, im_ = arrays.factor(4, given[5], 0)
        even, odd = here + there, (here - there).times(re, make.fneg(im_)).over_i()
        arrays.put(even - odd, 0, zero, given[1], given[2])
        arrays.put((even + odd).conjugate(), 0, zero, given[1], given[3])
        return context.get_dummy_value()

    i = types.intp
    return types.void(rows, i, i, i, factors, i), code


@_operation
def multiply(
    typing: Any, rows: Any, re: Any, im: Any, others: Any, re_there: Any, im_there: Any,
    times_re: Any, times_im: Any,
) -> Any:  # fmt: skip
    """Multiply a row by another, whose parts are multiplied by two numbers before."""

    def code(context: Any, make: Any, signature: Any, given: Any) -> Any:
        arrays, zero = _Arrays(context, make, signature, given), _WORD(0)
        other = arrays.row(3, given[4], given[5], zero)
        re_, im_ = (
            make.fmul(part, _repeated(make, by))
            for part, by in ((other.re, given[6]), (other.im, given[7]))
        )
        row = arrays.row(0, given[1], given[2], zero).times(re_, im_)
        arrays.put(row, 0, given[1], given[2], zero)
        return context.get_dummy_value()

    i, f = types.intp, types.float32
    return types.void(rows, i, i, others, i, i, f, f), code


@_operation
def transpose(
    typing: Any, source: Any, first: Any, step: Any, target: Any, first_there: Any, step_there: Any
) -> Any:
    """Write sixteen rows of sixteen real numbers as columns; rows are `step` numbers apart."""

    def code(context: Any, make: Any, signature: Any, given: Any) -> Any:
        arrays = _Arrays(context, make, signature, given)
        rows = [arrays.load(0, given[1], make.mul(given[2], _WORD(j))) for j in range(LANES)]
        half = LANES // 2
        while half:
            upper, lower = _exchange(half)
            for j in range(LANES):
                if not j & half:
                    pair = rows[j], rows[j + half]
                    rows[j] = make.shuffle_vector(*pair, upper)
                    rows[j + half] = make.shuffle_vector(*pair, lower)
            half //= 2
        for j, row in enumerate(rows):
            arrays.store(row, 3, given[4], make.mul(given[5], _WORD(j)))
        return context.get_dummy_value()

    i = types.intp
    return types.void(source, i, i, target, i, i), code


def _exchange(half: int) -> tuple[Any, Any]:
    """How two rows exchange what lies in the other's half, of every part of twice that length."""
    places = ir.VectorType(_INDEX, LANES)
    upper = [j if not j & half else LANES + j - half for j in range(LANES)]
    lower = [j + half if not j & half else LANES + j for j in range(LANES)]
    return ir.Constant(places, upper), ir.Constant(places, lower)
