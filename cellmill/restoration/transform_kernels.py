"""Fourier transforms of planes and columns, sixteen side by side, for convolution.

A plane of real numbers `(Y, X)` is transformed along Y, pairs of rows as one complex row (M = Y/2
of them), and then along X; of the spectrum rows 1 to M - 1 along Y are kept as rows of numbers
`(X, M)`, real and imaginary part apart. Rows 0 and M of a real transform are real before the
transform along X: they are left as they are, as the plane's two rims, for whoever calls to convolve
by themselves. In their stead row 0 holds anything.

Transforms are Stockham's, after C. Van Loan, Computational frameworks for the fast Fourier
transform (1992); nothing is divided by lengths.
"""

from __future__ import annotations

import numpy as np

from cellmill.compute.kernels import kernel
from cellmill.restoration.butterflies import (
    LANES,
    join,
    multiply,
    plain_1,
    plain_2,
    plain_3,
    plain_4,
    plain_5,
    plain_6,
    plain_8,
    plain_12,
    plain_16,
    split,
    transpose,
    twisted_2,
    twisted_3,
    twisted_4,
    twisted_5,
    twisted_6,
    twisted_8,
    twisted_12,
    twisted_16,
)

#: Lanes that lie beside each other, and go on together: less time is lost waiting for memory.
WIDE = 2 * LANES


@kernel
def _plain(radix, source, at, step, target, to, step_there, factors):  # type: ignore[no-untyped-def]
    """A butterfly; places are of real and imaginary parts."""
    re, im, there, im_there = at[0], at[1], to[0], to[1]
    if radix == 16:
        plain_16(source, re, im, step, target, there, im_there, step_there, factors, 0)
    elif radix == 12:
        plain_12(source, re, im, step, target, there, im_there, step_there, factors, 0)
    elif radix == 8:
        plain_8(source, re, im, step, target, there, im_there, step_there, factors, 0)
    elif radix == 6:
        plain_6(source, re, im, step, target, there, im_there, step_there, factors, 0)
    elif radix == 4:
        plain_4(source, re, im, step, target, there, im_there, step_there, factors, 0)
    elif radix == 5:
        plain_5(source, re, im, step, target, there, im_there, step_there, factors, 0)
    elif radix == 3:
        plain_3(source, re, im, step, target, there, im_there, step_there, factors, 0)
    elif radix == 2:
        plain_2(source, re, im, step, target, there, im_there, step_there, factors, 0)
    else:
        plain_1(source, re, im, step, target, there, im_there, step_there, factors, 0)


@kernel
def _twisted(radix, source, at, step, target, to, step_there, factors, first):  # type: ignore[no-untyped-def]
    """A butterfly whose results are multiplied by factors."""
    re, im, there, im_there = at[0], at[1], to[0], to[1]
    if radix == 16:
        twisted_16(source, re, im, step, target, there, im_there, step_there, factors, first)
    elif radix == 12:
        twisted_12(source, re, im, step, target, there, im_there, step_there, factors, first)
    elif radix == 8:
        twisted_8(source, re, im, step, target, there, im_there, step_there, factors, first)
    elif radix == 6:
        twisted_6(source, re, im, step, target, there, im_there, step_there, factors, first)
    elif radix == 4:
        twisted_4(source, re, im, step, target, there, im_there, step_there, factors, first)
    elif radix == 5:
        twisted_5(source, re, im, step, target, there, im_there, step_there, factors, first)
    elif radix == 3:
        twisted_3(source, re, im, step, target, there, im_there, step_there, factors, first)
    else:
        twisted_2(source, re, im, step, target, there, im_there, step_there, factors, first)


@kernel
def transform(source, at, row, target, to, row_there, work, plan, lanes):  # type: ignore[no-untyped-def]
    """The transform along rows of some lanes, sixteens of them; with exchanged parts its inverse.

    `at` and `to` are the places of the real and the imaginary part, rows so many numbers apart.
    `plan` are radices and factors of all steps; `work` holds 4 numbers a lane for each row. Source
    and target may be the same place.
    """
    radices, factors = plan
    length = 1
    for radix in radices:
        length *= radix
    here, here_at, here_row = source, at, row
    left, done, first = length, 1, 0
    for index in range(len(radices)):
        radix = radices[index]
        left //= radix
        if index == len(radices) - 1:
            there, there_at, there_row = target, to, row_there
        else:
            begin = 2 * lanes * length * (index % 2)
            there, there_at, there_row = work, (begin, begin + lanes * length), lanes
        step, step_there = here_row * done * left, there_row * done
        for q in range(done):
            for lane in range(0, lanes, LANES):
                a, b = here_row * q + lane, there_row * q + lane
                _plain(
                    radix, here, (here_at[0] + a, here_at[1] + a), step,
                    there, (there_at[0] + b, there_at[1] + b), step_there, factors,
                )  # fmt: skip
        for p in range(1, left):
            for q in range(done):
                row_a, row_b = here_row * (q + done * p), there_row * (q + done * radix * p)
                for lane in range(0, lanes, LANES):
                    a, b = row_a + lane, row_b + lane
                    _twisted(
                        radix, here, (here_at[0] + a, here_at[1] + a), step,
                        there, (there_at[0] + b, there_at[1] + b), step_there,
                        factors, first + 2 * (radix - 1) * p,
                    )  # fmt: skip
        first += 2 * (radix - 1) * left
        done *= radix
        here, here_at, here_row = there, there_at, there_row


@kernel
def columns_in(plane, begin, width, lanes, rows, row, rims, rims_at, work, along, halves):  # type: ignore[no-untyped-def]
    """Transform columns of a plane, `lanes` from and to, to rows of a spectrum.

    The plane is `width` wide and begins at `begin`; `rows` is the array and the places of the
    parts of its row 0, rows being `row` numbers apart; `halves` holds exp(-πi k / M), and a row of
    the plane's own work, 32 numbers for each of M.
    """
    spectrum, re, im = rows
    factors, half, count = halves
    part = LANES * count
    for lane in range(lanes[0], lanes[1], LANES):
        x = min(lane, width - LANES)
        at = (begin + x, begin + x + width)
        transform(plane, at, 2 * width, half, (0, part), LANES, work, along, LANES)
        for i in range(LANES):
            rims[rims_at[0] + x + i] = half[i] + half[part + i]
            rims[rims_at[1] + x + i] = half[i] - half[part + i]
        for k in range(1, count // 2 + 1):
            split(half, part, LANES * k, LANES * (count - k), factors, 2 * k)
        for number in range(0, count, LANES):
            k = min(number, count - LANES)
            transpose(half, LANES * k, LANES, spectrum, re + x * row + k, row)
            transpose(half, part + LANES * k, LANES, spectrum, im + x * row + k, row)


@kernel
def columns_out(plane, begin, width, lanes, rows, row, rims, rims_at, work, along, halves):  # type: ignore[no-untyped-def]
    """Undo `columns_in`, 2M times as large, but for the rims."""
    spectrum, re, im = rows
    factors, half, count = halves
    part = LANES * count
    weight = np.float32(1) / np.float32(2 * count)
    for lane in range(lanes[0], lanes[1], LANES):
        x = min(lane, width - LANES)
        for number in range(0, count, LANES):
            k = min(number, count - LANES)
            transpose(spectrum, re + x * row + k, row, half, LANES * k, LANES)
            transpose(spectrum, im + x * row + k, row, half, part + LANES * k, LANES)
        for i in range(LANES):
            low, high = rims[rims_at[0] + x + i], rims[rims_at[1] + x + i]
            half[i] = (low + high) * weight
            half[part + i] = (low - high) * weight
        for k in range(1, count // 2 + 1):
            join(half, part, LANES * k, LANES * (count - k), factors, 2 * k)
        to = (begin + x + width, begin + x)
        transform(half, (part, 0), LANES, plane, to, 2 * width, work, along, LANES)


@kernel
def planes_in(volume, planes, sizes, lanes, spectrum, places, rims, work, plans, halves):  # type: ignore[no-untyped-def]
    """Transform planes, from and to, of a volume whose lanes beyond some are 0.

    `sizes` are the volume's; `places` the numbers from a plane of the spectrum to the next, and
    to the imaginary parts; `plans` of transforms along Y and X.
    """
    depth, height, width = sizes
    count = height // 2
    row, wide = count + LANES, WIDE if count >= WIDE else LANES
    turned = np.zeros(2 * width * row, np.float32)
    for z in range(planes[0], planes[1]):
        rims_at = (z * width, (depth + z) * width)
        rims[rims_at[0] : rims_at[0] + width] = 0
        rims[rims_at[1] : rims_at[1] + width] = 0
        rows = (turned, 0, width * row)
        columns_in(
            volume, z * height * width, width, lanes, rows, row, rims, rims_at, work, plans[0],
            halves,
        )  # fmt: skip
        there = z * places[0]
        for number in range(0, count, wide):
            k = min(number, count - wide)
            transform(
                turned, (k, width * row + k), row,
                spectrum, (there + k, places[1] + there + k), count, work, plans[1], wide,
            )  # fmt: skip


@kernel
def planes_out(volume, planes, sizes, lanes, spectrum, places, rims, work, plans, halves):  # type: ignore[no-untyped-def]
    """Undo `planes_in`, of some lanes."""
    depth, height, width = sizes
    count = height // 2
    row, wide = count + LANES, WIDE if count >= WIDE else LANES
    turned = np.empty(2 * width * row, np.float32)
    for z in range(planes[0], planes[1]):
        there = z * places[0]
        for number in range(0, count, wide):
            k = min(number, count - wide)
            transform(
                spectrum, (places[1] + there + k, there + k), count,
                turned, (width * row + k, k), row, work, plans[1], wide,
            )  # fmt: skip
        rims_at = (z * width, (depth + z) * width)
        rows = (turned, 0, width * row)
        columns_out(
            volume, z * height * width, width, lanes, rows, row, rims, rims_at, work, plans[0],
            halves,
        )  # fmt: skip


@kernel
def forward(spectrum, lanes, places, work, plan):  # type: ignore[no-untyped-def]
    """Transform lanes, from and to, of a spectrum along its first axis."""
    for lane in range(lanes[0], lanes[1], WIDE):
        at = (lane, places[1] + lane)
        transform(spectrum, at, places[0], spectrum, at, places[0], work, plan, WIDE)


@kernel
def through(spectrum, factors, lanes, places, weights, work, plan):  # type: ignore[no-untyped-def]
    """Transform lanes along the first axis, multiply them, and transform them back.

    `weights`, a row for each time that the spectrum is multiplied by the factors, are by what their
    real and imaginary parts are multiplied before.
    """
    length = 1
    for radix in plan[0]:
        length *= radix
    part = WIDE * length
    column = np.empty(2 * part, np.float32)
    for lane in range(lanes[0], lanes[1], WIDE):
        at = (lane, places[1] + lane)
        transform(spectrum, at, places[0], column, (0, part), WIDE, work, plan, WIDE)
        for time in range(len(weights)):
            re, im = weights[time, 0], weights[time, 1]
            for z in range(length):
                for more in range(0, WIDE, LANES):
                    here, there = WIDE * z + more, z * places[0] + more
                    multiply(
                        column, here, part + here, factors, at[0] + there, at[1] + there, re, im
                    )
        back = (at[1], at[0])
        transform(column, (part, 0), WIDE, spectrum, back, places[0], work, plan, WIDE)
