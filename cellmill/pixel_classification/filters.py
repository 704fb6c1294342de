"""The kernels behind `features`: blurs of an extended window, and what is derived from them.

A window comes with a halo of the image around it, mirrored beyond the image's border, and every sum
is float32 in one fixed order: a value does not depend on the window in which it is computed.
"""

from __future__ import annotations

import math

import numpy as np

from cellmill.compute.kernels import kernel

#: How far derivatives look from a pixel of a blurred image.
REACH = 2
#: Kinds of feature, as `derive_row` is told them.
GAUSSIAN, GRADIENT, LAPLACIAN, HESSIAN, TENSOR = range(5)

_2, _4 = np.float32(2), np.float32(4)
_HALF, _QUARTER = np.float32(0.5), np.float32(0.25)
_SIXTEENTH = np.float32(1 / 16)
_TURN = 2 * math.pi / 3


@kernel
def blur_rows(image, weights, left, top, out, line):  # type: ignore[no-untyped-def]
    """Blur rows of a plane along y, then along x.

    Args:
        image: `(Y, X)` float32, with a halo.
        weights: float32, the middle one and then those of the pairs from the inmost outwards.
        left: where in `image` column 0 of `out` lies.
        top: where in `image` row 0 of `out` lies.
        out: `(rows, columns)` float32.
        line: `(image.shape[1],)` float32 to work in.
    """
    radius = len(weights) - 1
    rows, columns = out.shape
    start, width = left - radius, columns + 2 * radius
    for y in range(rows):
        row = top + y
        _weigh(image[row, start:], weights[0], line, width)
        k = 1
        while k + 2 < radius:
            _add_four(
                image[row - k, start:],
                image[row + k, start:],
                weights[k],
                image[row - k - 1, start:],
                image[row + k + 1, start:],
                weights[k + 1],
                image[row - k - 2, start:],
                image[row + k + 2, start:],
                weights[k + 2],
                image[row - k - 3, start:],
                image[row + k + 3, start:],
                weights[k + 3],
                line,
                width,
            )
            k += 4
        for rest in range(k, radius + 1):
            _add_pair(
                image[row - rest, start:], image[row + rest, start:], weights[rest], line, width
            )
        _weigh(line[radius:], weights[0], out[y], columns)
        k = 1
        while k + 2 < radius:
            _add_four(
                line[radius - k :],
                line[radius + k :],
                weights[k],
                line[radius - k - 1 :],
                line[radius + k + 1 :],
                weights[k + 1],
                line[radius - k - 2 :],
                line[radius + k + 2 :],
                weights[k + 2],
                line[radius - k - 3 :],
                line[radius + k + 3 :],
                weights[k + 3],
                out[y],
                columns,
            )
            k += 4
        for rest in range(k, radius + 1):
            _add_pair(line[radius - rest :], line[radius + rest :], weights[rest], out[y], columns)


@kernel
def blur_planes(volume, weights, first, out):  # type: ignore[no-untyped-def]
    """Blur a volume along z.

    Args:
        volume: `(Z, Y, X)` float32, with a halo along z.
        weights: as `blur_rows` takes them.
        first: where in `volume` plane 0 of `out` lies.
        out: `(planes, Y, X)` float32.
    """
    planes, rows, width = out.shape
    for z in range(planes):
        plane = first + z
        for y in range(rows):
            _weigh(volume[plane, y], weights[0], out[z, y], width)
            for k in range(1, len(weights)):
                _add_pair(volume[plane - k, y], volume[plane + k, y], weights[k], out[z, y], width)


@kernel
def _weigh(row, weight, total, width):  # type: ignore[no-untyped-def]
    for x in range(width):
        total[x] = row[x] * weight


@kernel
def _add_pair(one, other, weight, total, width):  # type: ignore[no-untyped-def]
    for x in range(width):
        total[x] += (one[x] + other[x]) * weight


@kernel
def _add_four(a, b, one, c, d, two, e, f, three, g, h, four, total, width):  # type: ignore[no-untyped-def]
    """Add four pairs with their weights: the bits of one after another, in one pass."""
    for x in range(width):
        value = (total[x] + (a[x] + b[x]) * one) + (c[x] + d[x]) * two
        total[x] = (value + (e[x] + f[x]) * three) + (g[x] + h[x]) * four


@kernel
def gradient_products(blurred, along_z, out):  # type: ignore[no-untyped-def]
    """Products of the Sobel derivatives of a blurred image, for a structure tensor.

    Args:
        blurred: `(Z, Y, X)` float32; an image is one plane.
        along_z: derivatives along z are multiplied by it.
        out: `(3, 1, Y - 2, X - 2)`: yy, yx, xx; of a volume `(6, Z - 2, Y - 2, X - 2)`: zz, zy, zx,
            yy, yx, xx.
    """
    width = out.shape[3]
    work = np.empty((3, width), np.float32)
    gz, gy, gx = work[0], work[1], work[2]
    for z in range(out.shape[1]):
        for y in range(out.shape[2]):
            if out.shape[0] == 3:
                _sobel(blurred[0], y + 1, 1, gy, gx)
                for x in range(width):
                    out[0, z, y, x] = gy[x] * gy[x]
                    out[1, z, y, x] = gy[x] * gx[x]
                    out[2, z, y, x] = gx[x] * gx[x]
                continue
            _sobel_in_volume(blurred, z + 1, y + 1, 1, along_z, gz, gy, gx)
            for x in range(width):
                out[0, z, y, x] = gz[x] * gz[x]
                out[1, z, y, x] = gz[x] * gy[x]
                out[2, z, y, x] = gz[x] * gx[x]
                out[3, z, y, x] = gy[x] * gy[x]
                out[4, z, y, x] = gy[x] * gx[x]
                out[5, z, y, x] = gx[x] * gx[x]


@kernel
def derive_row(blurred, plan, y, left, out):  # type: ignore[no-untyped-def]
    """Features of a piece of a row of an image.

    Args:
        blurred: `(J, Y, X)` float32, `REACH` more on each side than there are pixels.
        plan: `(n, 3)`: kind, the first of its blurred images, the first of its features.
        y: of the row, in the pixels.
        left: of the piece.
        out: `(F, length)` float32.
    """
    length = out.shape[1]
    work = np.empty((3, length), np.float32)
    a, b, c = work[0], work[1], work[2]
    row, x0 = y + REACH, left + REACH
    for step in range(len(plan)):
        kind, first, place = plan[step, 0], plan[step, 1], plan[step, 2]
        image = blurred[first]
        if kind == GAUSSIAN:
            for x in range(length):
                out[place, x] = image[row, x0 + x]
        elif kind == GRADIENT:
            _sobel(image, row, x0, a, b)
            for x in range(length):
                out[place, x] = math.sqrt((a[x] * a[x] + b[x] * b[x]) * _HALF)
        elif kind == LAPLACIAN:
            _laplacian(image, row, x0, out[place])
        elif kind == HESSIAN:
            _hessian(image, row, x0, a, b, c)
            _eigenvalues_of_two(a, b, c, out[place], out[place + 1])
        else:
            for x in range(length):
                a[x] = blurred[first, row, x0 + x]
                b[x] = blurred[first + 1, row, x0 + x]
                c[x] = blurred[first + 2, row, x0 + x]
            _eigenvalues_of_two(a, b, c, out[place], out[place + 1])


@kernel
def derive_row_of_volume(blurred, plan, z, y, along_z, out):  # type: ignore[no-untyped-def]
    """Features of a row of a volume.

    Args:
        blurred: `(J, Z, Y, X)` float32, `REACH` more on each side than there are pixels.
        plan: as `derive_row` takes it.
        z: of the row, in the pixels.
        y: of the row.
        along_z: derivatives along z are multiplied by it.
        out: `(F, X)` float32.
    """
    length = out.shape[1]
    m = np.empty((6, length), np.float32)
    plane, row, x0 = z + REACH, y + REACH, REACH
    for step in range(len(plan)):
        kind, first, place = plan[step, 0], plan[step, 1], plan[step, 2]
        image = blurred[first]
        if kind == GAUSSIAN:
            for x in range(length):
                out[place, x] = image[plane, row, x0 + x]
        elif kind == GRADIENT:
            _sobel_in_volume(image, plane, row, x0, along_z, m[0], m[1], m[2])
            for x in range(length):
                total = m[0, x] * m[0, x] + m[1, x] * m[1, x] + m[2, x] * m[2, x]
                out[place, x] = math.sqrt(total / np.float32(3))
        elif kind == LAPLACIAN:
            _laplacian(image[plane], row, x0, out[place])
            middle, above, below = image[plane, row], image[plane - 1, row], image[plane + 1, row]
            for x in range(length):
                both = above[x0 + x] + below[x0 + x] - _2 * middle[x0 + x]
                out[place, x] += both * along_z * along_z
        elif kind == HESSIAN:
            _hessian_in_volume(image, plane, row, x0, along_z, m)
            _eigenvalues_of_three(m, out[place : place + 3])
        else:
            for x in range(length):
                for k in range(6):
                    m[k, x] = blurred[first + k, plane, row, x0 + x]
            _eigenvalues_of_three(m, out[place : place + 3])


@kernel
def _sobel(image, row, x0, gy, gx):  # type: ignore[no-untyped-def]
    above, middle, below = image[row - 1], image[row], image[row + 1]
    for i in range(len(gy)):
        x = x0 + i
        up = above[x - 1] + _2 * above[x] + above[x + 1]
        down = below[x - 1] + _2 * below[x] + below[x + 1]
        gy[i] = (down - up) * _QUARTER
        before = above[x - 1] + _2 * middle[x - 1] + below[x - 1]
        after = above[x + 1] + _2 * middle[x + 1] + below[x + 1]
        gx[i] = (after - before) * _QUARTER


@kernel
def _sobel_in_volume(volume, plane, row, x0, along_z, gz, gy, gx):  # type: ignore[no-untyped-def]
    for i in range(len(gy)):
        x = x0 + i
        dz, dy, dx = np.float32(0), np.float32(0), np.float32(0)
        for one in range(-1, 2):
            for two in range(-1, 2):
                weight = np.float32((2 - abs(one)) * (2 - abs(two)))
                z, y = plane + one, row + two
                dx += weight * (volume[z, y, x + 1] - volume[z, y, x - 1])
                dy += weight * (volume[z, row + 1, x + two] - volume[z, row - 1, x + two])
                y = row + one
                dz += weight * (volume[plane + 1, y, x + two] - volume[plane - 1, y, x + two])
        gz[i] = dz * _SIXTEENTH * along_z
        gy[i] = dy * _SIXTEENTH
        gx[i] = dx * _SIXTEENTH


@kernel
def _laplacian(image, row, x0, out):  # type: ignore[no-untyped-def]
    above, middle, below = image[row - 1], image[row], image[row + 1]
    for i in range(len(out)):
        x = x0 + i
        out[i] = (above[x] + below[x]) + (middle[x - 1] + middle[x + 1]) - _4 * middle[x]


@kernel
def _hessian(image, row, x0, yy, yx, xx):  # type: ignore[no-untyped-def]
    """Central differences of central differences, as `numpy.gradient` twice."""
    middle, above, below = image[row], image[row - 1], image[row + 1]
    top, bottom = image[row - 2], image[row + 2]
    for i in range(len(yy)):
        x = x0 + i
        yy[i] = (bottom[x] - _2 * middle[x] + top[x]) * _QUARTER
        yx[i] = ((below[x + 1] - below[x - 1]) - (above[x + 1] - above[x - 1])) * _QUARTER
        xx[i] = (middle[x + 2] - _2 * middle[x] + middle[x - 2]) * _QUARTER


@kernel
def _hessian_in_volume(volume, plane, row, x0, along_z, m):  # type: ignore[no-untyped-def]
    _hessian(volume[plane], row, x0, m[3], m[4], m[5])
    middle, top, bottom = volume[plane, row], volume[plane - 2, row], volume[plane + 2, row]
    above, below = volume[plane - 1], volume[plane + 1]
    for i in range(m.shape[1]):
        x = x0 + i
        m[0, i] = (bottom[x] - _2 * middle[x] + top[x]) * _QUARTER * along_z * along_z
        down = below[row + 1, x] - below[row - 1, x]
        up = above[row + 1, x] - above[row - 1, x]
        m[1, i] = (down - up) * _QUARTER * along_z
        right = below[row, x + 1] - below[row, x - 1]
        left = above[row, x + 1] - above[row, x - 1]
        m[2, i] = (right - left) * _QUARTER * along_z


@kernel
def _eigenvalues_of_two(yy, yx, xx, greater, less):  # type: ignore[no-untyped-def]
    for x in range(len(yy)):
        middle = (yy[x] + xx[x]) * _HALF
        half = (yy[x] - xx[x]) * _HALF
        root = np.float32(math.sqrt(half * half + yx[x] * yx[x]))
        greater[x] = middle + root
        less[x] = middle - root


@kernel
def _eigenvalues_of_three(m, out):  # type: ignore[no-untyped-def]
    """Eigenvalues of symmetric matrices, the greatest first; in float64, by their cosines."""
    for x in range(m.shape[1]):
        zz, zy, zx = np.float64(m[0, x]), np.float64(m[1, x]), np.float64(m[2, x])
        yy, yx, xx = np.float64(m[3, x]), np.float64(m[4, x]), np.float64(m[5, x])
        mean = (zz + yy + xx) / 3
        zz, yy, xx = zz - mean, yy - mean, xx - mean
        aside = zy * zy + zx * zx + yx * yx
        spread = math.sqrt((zz * zz + yy * yy + xx * xx + 2 * aside) / 6)
        if spread == 0:
            out[0, x] = out[1, x] = out[2, x] = mean
            continue
        determinant = zz * (yy * xx - yx * yx) - zy * (zy * xx - yx * zx) + zx * (zy * yx - yy * zx)
        cosine = min(max(determinant / (2 * spread * spread * spread), -1.0), 1.0)
        angle = math.acos(cosine) / 3
        greatest = 2 * spread * math.cos(angle)
        least = 2 * spread * math.cos(angle + _TURN)
        out[0, x] = mean + greatest
        out[1, x] = mean - greatest - least
        out[2, x] = mean + least


@kernel
def derive_rows(blurred, plan, out):  # type: ignore[no-untyped-def]
    """Features of rows of an image, `(F, rows, X)`; see `derive_row`."""
    for y in range(out.shape[1]):
        derive_row(blurred, plan, y, 0, out[:, y])


@kernel
def derive_rows_of_volume(blurred, plan, along_z, out):  # type: ignore[no-untyped-def]
    """Features of a volume, `(F, Z, Y, X)`; see `derive_row_of_volume`."""
    for z in range(out.shape[1]):
        for y in range(out.shape[2]):
            derive_row_of_volume(blurred, plan, z, y, along_z, out[:, z, y])
