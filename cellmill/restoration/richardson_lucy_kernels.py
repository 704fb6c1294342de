"""What an iteration of Richardson-Lucy does voxel by voxel, in float32, fused and in place.

All arrays are volumes; an image is a volume of one plane. Kernels work on planes or rows from
`start` to `stop` of the volume laid out as rows, so that threads share one array.
"""

from __future__ import annotations

import math

import numpy as np

from cellmill.compute.kernels import kernel

#: Bits of √½ as float32, and of what follows the exponent.
_LEAST, _FRACTION = np.int32(0x3F3504F3), np.int32(0x7FFFFF)
_LN_2 = np.float32(math.log(2))
_THIRD, _FIFTH, _SEVENTH, _NINTH = (np.float32(1 / n) for n in (3, 5, 7, 9))


@kernel
def logarithms(values):  # type: ignore[no-untyped-def]
    """Overwrite float32 above 0 by their natural logarithms, to the last bit or two; 0 by anything.

    With x = 2ᵉ m and m from √½ to √2, log x = e log 2 + 2 artanh((m - 1) / (m + 1)), whose series
    is cut after the ninth power. Nothing branches, so that it is computed many values at a time.
    """
    bits = values.view(np.int32)
    one, two = np.float32(1), np.float32(2)
    for i in range(values.size):
        above = bits[i] - _LEAST
        exponent = np.float32(above >> np.int32(23))
        bits[i] = (above & _FRACTION) + _LEAST
        s = (values[i] - one) / (values[i] + one)
        q = s * s
        series = one + q * (_THIRD + q * (_FIFTH + q * (_SEVENTH + q * _NINTH)))
        values[i] = exponent * _LN_2 + two * s * series


@kernel
def _total(values):  # type: ignore[no-untyped-def]
    """Σ of float32 as float64, in eight parts that do not wait for each other."""
    a, b, c, d, e, f, g, h = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    whole = values.size // 8 * 8
    for i in range(0, whole, 8):
        a, b, c, d = a + values[i], b + values[i + 1], c + values[i + 2], d + values[i + 3]
        e, f, g, h = e + values[i + 4], f + values[i + 5], g + values[i + 6], h + values[i + 7]
    for i in range(whole, values.size):
        a += values[i]
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


@kernel
def ratio(seen, acquired, background, least, start, stop):  # type: ignore[no-untyped-def]
    """Overwrite `seen`, h ∗ x, by y / (h ∗ x + b), and by 0 where nothing was acquired.

    `acquired` is negative where nothing was. Returns the I-divergence of the rows, Σ y log(y / m) -
    y + m with m = h ∗ x + b, which is the negative Poisson likelihood but for a constant.
    """
    width = seen.shape[1]
    terms, quotients = np.empty(width, np.float32), np.empty(width, np.float32)
    divergence, zero = 0.0, np.float32(0)
    for row in range(start, stop):
        here, there = seen[row], acquired[row]
        for i in range(width):
            y = there[i]
            model = max(here[i] + background, least)
            quotients[i] = y / model if y >= 0 else zero
            terms[i] = model - y if y >= 0 else zero
            here[i] = quotients[i]
        logarithms(quotients)
        for i in range(width):
            y = there[i]
            terms[i] += y * quotients[i] if y > 0 else zero
        divergence += _total(terms)
    return divergence


@kernel
def times_conjugate(spectrum, transform, start, stop):  # type: ignore[no-untyped-def]
    """Multiply rows of a spectrum by conj(transform), in place."""
    for row in range(start, stop):
        for i in range(spectrum.shape[1]):
            spectrum[row, i] *= transform[row, i].conjugate()


@kernel
def update(object_, correction, gain, start, stop):  # type: ignore[no-untyped-def]
    """Overwrite the correction by the new object: x · c · gain, not negative.

    Returns Σ |new - old| and Σ old of the rows.
    """
    change, total = 0.0, 0.0
    changes = np.empty(object_.shape[1], np.float32)
    for row in range(start, stop):
        here, new, seen = object_[row], correction[row], gain[row]
        for i in range(changes.size):
            found = max(here[i] * new[i] * seen[i], np.float32(0))
            new[i] = found
            changes[i] = abs(found - here[i])
        change += _total(changes)
        total += _total(here)
    return change, total


@kernel
def relative_noise(ratio, acquired, gain, out, start, stop):  # type: ignore[no-untyped-def]
    """Write gain · y / m² from the ratio y / m: the variance of photons' noise in the ratio."""
    for row in range(start, stop):
        for i in range(ratio.shape[1]):
            y = acquired[row, i]
            out[row, i] = gain * ratio[row, i] * ratio[row, i] / y if y > 0 else np.float32(0)
    return 0.0


@kernel
def agreement(object_, correction, gain, noise, start, stop):  # type: ignore[no-untyped-def]
    """Overwrite the noise by x · ((c · gain - 1)² - noise · gain²); returns Σ x of the rows."""
    one, total = np.float32(1), 0.0
    for row in range(start, stop):
        for i in range(object_.shape[1]):
            seen = gain[row, i]
            gradient = correction[row, i] * seen - one
            square = gradient * gradient - noise[row, i] * seen * seen
            noise[row, i] = object_[row, i] * square
            total += object_[row, i]
    return total


@kernel
def hold(object_, correction, gain, agreed, start, stop):  # type: ignore[no-untyped-def]
    """Make c · gain 1 where nothing agrees; returns Σ x of the other voxels of the rows."""
    total = 0.0
    for row in range(start, stop):
        for i in range(object_.shape[1]):
            if agreed[row, i] > 0:
                total += object_[row, i]
            elif gain[row, i] > 0:
                correction[row, i] = np.float32(1) / gain[row, i]
    return total


@kernel
def flatness(object_, steps, epsilon, out, start, stop):  # type: ignore[no-untyped-def]
    """Write 1 / √(∇x² + ε²) for rows of all planes laid one below the other.

    Differences are forward, each divided by the voxel's size along its axis; beyond the rim nothing
    changes.
    """
    depth, height, width = object_.shape
    rz, ry, rx = np.float32(1) / steps[0], np.float32(1) / steps[1], np.float32(1) / steps[2]
    square = epsilon * epsilon
    one = np.float32(1)
    for row in range(start, stop):
        z, y = row // height, row % height
        here, after = object_[z, y], object_[z, min(y + 1, height - 1)]
        above = object_[min(z + 1, depth - 1), y]
        for x in range(width - 1):
            gz = (above[x] - here[x]) * rz
            gy = (after[x] - here[x]) * ry
            gx = (here[x + 1] - here[x]) * rx
            out[z, y, x] = one / math.sqrt(gz * gz + gy * gy + gx * gx + square)
        gz = (above[width - 1] - here[width - 1]) * rz
        gy = (after[width - 1] - here[width - 1]) * ry
        out[z, y, width - 1] = one / math.sqrt(gz * gz + gy * gy + square)


@kernel
def update_with_variation(  # type: ignore[no-untyped-def]
    object_, correction, gain, flat, weight, steps, start, stop
):
    """As `update`, divided by 1 - weight · div(∇x / |∇x|), the divergence by backward differences.

    After Dey et al., Microsc. Res. Tech. 69 (2006) 260. `flat` is 1 / |∇x|.
    """
    depth, height, width = object_.shape
    qz, qy, qx = (
        np.float32(1) / (steps[0] * steps[0]),
        np.float32(1) / (steps[1] * steps[1]),
        np.float32(1) / (steps[2] * steps[2]),
    )
    one, zero = np.float32(1), np.float32(0)
    change, total = 0.0, 0.0
    for row in range(start, stop):
        z, y = row // height, row % height
        up, down = max(z - 1, 0), min(z + 1, depth - 1)
        before, after = max(y - 1, 0), min(y + 1, height - 1)
        here, flows, new = object_[z, y], flat[z, y], correction[z, y]
        for x in range(width):
            left, right = max(x - 1, 0), min(x + 1, width - 1)
            value = here[x]
            divergence = qz * (
                (object_[down, y, x] - value) * flows[x]
                - (value - object_[up, y, x]) * flat[up, y, x]
            )
            divergence += qy * (
                (object_[z, after, x] - value) * flows[x]
                - (value - object_[z, before, x]) * flat[z, before, x]
            )
            divergence += qx * (
                (here[right] - value) * flows[x] - (value - here[left]) * flows[left]
            )
            found = value * new[x] * gain[z, y, x] / (one - weight * divergence)
            new[x] = max(found, zero)
        for x in range(width):
            change += abs(new[x] - here[x])
            total += here[x]
    return change, total


@kernel
def extrapolate(newest, before, factor, out, start, stop):  # type: ignore[no-untyped-def]
    """Write newest + factor · (newest - before), not negative, into `out`."""
    for row in range(start, stop):
        for i in range(newest.shape[1]):
            value = newest[row, i] + factor * (newest[row, i] - before[row, i])
            out[row, i] = max(value, np.float32(0))


@kernel
def steps_along(newest, guess, previous_step, start, stop):  # type: ignore[no-untyped-def]
    """Overwrite the previous step by the new one, newest - guess.

    Returns Σ new · previous and Σ previous² of the rows.
    """
    along, square = 0.0, 0.0
    for row in range(start, stop):
        for i in range(newest.shape[1]):
            step = newest[row, i] - guess[row, i]
            along += step * previous_step[row, i]
            square += previous_step[row, i] * previous_step[row, i]
            previous_step[row, i] = step
    return along, square
