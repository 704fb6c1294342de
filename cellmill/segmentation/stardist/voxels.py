"""Which voxels lie in a polyhedron, as bits.

A voxel lies in a polyhedron if its middle lies in one of the tetrahedra between the centre and a
face, or on its surface. That is tested as StarDist 0.9 does, in single precision, where rounding
can decide; elsewhere rows of voxels are cut by the planes of a tetrahedron at once.
"""

from __future__ import annotations

import numpy as np

from cellmill.compute.kernels import kernel

#: How far single precision may be off, as a part of the sum of what is added up.
_ROUNDING = 6e-7
#: How far beyond its corners a tetrahedron is looked at, voxels.
_BEYOND = 1e-3
_BIT = np.uint64(1)


@kernel
def words_of(box):  # type: ignore[no-untyped-def]
    """Shape of the bits of a box: planes, rows, words of 64 voxels from multiples of 64 on."""
    return box[1] - box[0] + 1, box[3] - box[2] + 1, (box[5] >> 6) - (box[4] >> 6) + 1


@kernel
def set_voxels(centre, corners, faces, box, bits, doubtful):  # type: ignore[no-untyped-def]
    """Set the bits of a polyhedron's voxels in a box, and of those where rounding decides.

    Args:
        centre: `(3,)` float32.
        corners: `(R, 3)` float32.
        faces: `(F, 3)`.
        box: least and greatest z, y, x.
        bits: uint64, of the shape that `words_of` gives, written to.
        doubtful: the same; or without words, if they are not asked for.
    """
    planes = np.empty((4, 5))
    first = (box[4] >> 6) << 6
    reach = 0.0
    for axis in range(3):
        reach = max(reach, abs(np.float64(centre[axis])))
        for k in range(len(corners)):
            reach = max(reach, abs(np.float64(corners[k, axis])))
    for face in faces:
        a, b, c = corners[face[0]], corners[face[1]], corners[face[2]]
        _plane(a, b, c, reach, planes[0])
        _plane(centre, b, a, reach, planes[1])
        _plane(centre, c, b, reach, planes[2])
        _plane(centre, a, c, reach, planes[3])
        z0, z1 = _range(centre, a, b, c, 0, box[0], box[1])
        y0, y1 = _range(centre, a, b, c, 1, box[2], box[3])
        x0, x1 = _range(centre, a, b, c, 2, box[4], box[5])
        for z in range(z0, z1 + 1):
            for y in range(y0, y1 + 1):
                sure_0, sure_1 = np.float64(x0), np.float64(x1)
                low, high = np.float64(x0), np.float64(x1)
                for k in range(4):
                    value = planes[k, 0] * z + planes[k, 1] * y + planes[k, 3]
                    slope, off = planes[k, 2], planes[k, 4]
                    if slope > 0:
                        sure_0 = max(sure_0, (off - value) / slope)
                        low = max(low, (-off - value) / slope)
                    elif slope < 0:
                        sure_1 = min(sure_1, (off - value) / slope)
                        high = min(high, (-off - value) / slope)
                    else:
                        if value < -off:
                            high = low - 1
                        if value < off:
                            sure_1 = sure_0 - 1
                if low > high:
                    continue
                sure_first, sure_last = np.int64(np.ceil(sure_0)), np.int64(np.floor(sure_1))
                for x in range(np.int64(np.ceil(low)), np.int64(np.floor(high)) + 1):
                    word, bit = (x - first) >> 6, _BIT << np.uint64((x - first) & 63)
                    if not sure_first <= x <= sure_last:
                        if doubtful.size:
                            doubtful[z - box[0], y - box[2], word] |= bit
                        if not _within(z, y, x, centre, a, b, c):
                            continue
                    bits[z - box[0], y - box[2], word] |= bit


@kernel
def shared(bits, box, other_bits, other_box):  # type: ignore[no-untyped-def]
    """How many voxels two polyhedra share, from their bits."""
    count = np.int64(0)
    word_0, word_1 = max(box[4] >> 6, other_box[4] >> 6), min(box[5] >> 6, other_box[5] >> 6)
    for z in range(max(box[0], other_box[0]), min(box[1], other_box[1]) + 1):
        for y in range(max(box[2], other_box[2]), min(box[3], other_box[3]) + 1):
            one, other = (
                bits[z - box[0], y - box[2]],
                other_bits[z - other_box[0], y - other_box[2]],
            )
            for word in range(word_0, word_1 + 1):
                both = one[word - (box[4] >> 6)] & other[word - (other_box[4] >> 6)]
                if both:
                    count += _ones(both)
    return count


@kernel
def _ones(word):  # type: ignore[no-untyped-def]
    """How many bits of a word are set."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + (
        (word >> np.uint64(2)) & np.uint64(0x3333333333333333)
    )
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@kernel
def _plane(a, b, c, reach, plane):  # type: ignore[no-untyped-def]
    """Coefficients of z, y, x and 1 of a plane's determinant, and how far rounding may be off."""
    m00, m01, m02 = np.float64(b[0] - a[0]), np.float64(b[1] - a[1]), np.float64(b[2] - a[2])
    m10, m11, m12 = np.float64(c[0] - a[0]), np.float64(c[1] - a[1]), np.float64(c[2] - a[2])
    nz, ny, nx = m01 * m12 - m02 * m11, m02 * m10 - m00 * m12, m00 * m11 - m01 * m10
    plane[0], plane[1], plane[2] = nz, ny, nx
    plane[3] = -(nz * a[0] + ny * a[1] + nx * a[2])
    terms = (
        abs(m00) * (abs(m11) + abs(m12))
        + abs(m01) * (abs(m10) + abs(m12))
        + abs(m02) * (abs(m10) + abs(m11))
    )
    plane[4] = _ROUNDING * 2 * reach * terms


@kernel
def _range(r, a, b, c, axis, low, high):  # type: ignore[no-untyped-def]
    least = min(min(r[axis], a[axis]), min(b[axis], c[axis]))
    most = max(max(r[axis], a[axis]), max(b[axis], c[axis]))
    start = max(np.int64(np.ceil(np.float64(least) - _BEYOND)), low)
    return start, min(np.int64(np.floor(np.float64(most) + _BEYOND)), high)


@kernel
def _within(z, y, x, r, a, b, c):  # type: ignore[no-untyped-def]
    """Whether a voxel lies in a tetrahedron, in single precision."""
    p = np.float32(z), np.float32(y), np.float32(x)
    return (
        _beyond(p, a, b, c) and _beyond(p, r, b, a) and _beyond(p, r, c, b) and _beyond(p, r, a, c)
    )


@kernel
def _beyond(p, a, b, c):  # type: ignore[no-untyped-def]
    """Whether a point lies on the inner side of a plane or on it."""
    m00, m01, m02 = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    m10, m11, m12 = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    m20, m21, m22 = p[0] - a[0], p[1] - a[1], p[2] - a[2]
    det = (
        m00 * (m11 * m22 - m21 * m12)
        - m01 * (m10 * m22 - m12 * m20)
        + m02 * (m10 * m21 - m11 * m20)
    )
    return det >= 0
