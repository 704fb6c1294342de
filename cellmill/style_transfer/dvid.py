"""Grey values of a DVID server, read over HTTP.

Source: DVID's own help of data type `uint8blk`: `info`, and `raw/0_1_2/SX_SY_SZ/OX_OY_OZ`, which
gives the voxels with x changing fastest. Outside of what is stored DVID sends zeros, so a window is
held against the instance's limits first.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import urllib3

from cellmill.errors import BadInput

#: Voxels of one request at most: a larger window is asked for in slabs.
_AT_ONCE = 1 << 25
_BUSY = (429, 502, 503, 504)
#: A server that is busy is asked again, so many times: at once, then after 0.1, 0.2, 0.4 … seconds.
_RETRIES, _WAIT = 7, 0.1
_CONNECTIONS = 8
_TYPES = {"uint8blk": np.uint8, "uint16blk": np.uint16}
_NM = {"nanometers": 1.0, "nm": 1.0, "micrometers": 1e3, "microns": 1e3}


class DvidArray:
    """An instance of grey values, `(Z, Y, X)`; reading is safe from several threads.

    Args:
        place: `http://HOST/UUID/INSTANCE`, or the address in DVID's own form, with `/api/node/`.

    Attributes:
        shape: of what is stored.
        dtype: of its values.
        origin: its first voxel in DVID's coordinates (z, y, x).
        voxel_nm: size of a voxel (z, y, x) in nm; None if it does not say.

    Raises:
        BadInput: there is none, or the server does not answer.
    """

    def __init__(self, place: str) -> None:
        scheme, separator, rest = place.partition("://")
        parts = rest.replace("/api/node/", "/").strip("/").split("/")
        if not separator or scheme not in ("http", "https") or len(parts) != 3:
            raise BadInput(
                f"volume 'dvid://{place}'",
                expected="dvid://http://HOST/UUID/INSTANCE",
                found="another address",
            )
        self._address = f"{scheme}://{parts[0]}/api/node/{parts[1]}/{parts[2]}"
        self._pool = urllib3.PoolManager(
            maxsize=_CONNECTIONS,
            timeout=urllib3.Timeout(connect=10, read=60),
            retries=urllib3.Retry(
                _RETRIES, backoff_factor=_WAIT / 2, status_forcelist=_BUSY, raise_on_status=False
            ),
        )
        about = self._about()
        try:
            self.dtype = np.dtype(_TYPES[about["Base"]["TypeName"]])
            extended = about["Extended"]
            low, high = extended["MinPoint"], extended["MaxPoint"]
            ends = [(int(a), int(b) + 1) for a, b in zip(low, high, strict=True)][::-1]
            (z0, z1), (y0, y1), (x0, x1) = ends
        except (KeyError, TypeError, ValueError) as error:
            raise self._wrong("an instance of grey values with its limits", repr(error)) from error
        self.origin = (z0, y0, x0)
        self.shape = (z1 - z0, y1 - y0, x1 - x0)
        self.voxel_nm = _voxel_nm(extended)

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Read a window, three slices within the shape.

        Raises:
            BadInput: the server fails.
        """
        box = window
        starts = [part.start for part in box]
        sides = [part.stop - part.start for part in box]
        found = np.empty(sides, self.dtype)
        if not found.size:
            return found
        slab = max(1, _AT_ONCE // (sides[1] * sides[2]))
        for z in range(0, sides[0], slab):
            count = min(slab, sides[0] - z)
            size = f"{sides[2]}_{sides[1]}_{count}"
            at = [o + s for o, s in zip(self.origin, (starts[0] + z, *starts[1:]), strict=True)]
            offset = f"{at[2]}_{at[1]}_{at[0]}"
            sent = self._ask(f"raw/0_1_2/{size}/{offset}?throttle=true")
            wanted = count * sides[1] * sides[2] * self.dtype.itemsize
            if len(sent) != wanted:
                raise self._wrong(f"{wanted} bytes", f"{len(sent)}")
            found[z : z + count] = np.frombuffer(sent, self.dtype).reshape(count, *sides[1:])
        return found

    def _about(self) -> Any:
        try:
            return json.loads(self._ask("info"))
        except ValueError as error:
            raise self._wrong("its description in JSON", f"{error}") from error

    def _ask(self, call: str) -> bytes:
        try:
            answer = self._pool.request("GET", f"{self._address}/{call}")
        except urllib3.exceptions.HTTPError as error:
            reason = getattr(error, "reason", None) or error
            raise self._wrong("an answer from its server", type(reason).__name__) from error
        if answer.status != 200:
            raise self._wrong("grey values", f"HTTP {answer.status} {answer.reason or ''}".strip())
        return bytes(answer.data)

    def _wrong(self, expected: str, found: str) -> BadInput:
        return BadInput(f"volume 'dvid://{self._address}'", expected=expected, found=found)


def _voxel_nm(extended: Any) -> tuple[float, float, float] | None:
    sizes, units = extended.get("VoxelSize"), extended.get("VoxelUnits")
    if not sizes or not units or any(unit not in _NM for unit in units):
        return None
    x, y, z = (float(size) * _NM[unit] for size, unit in zip(sizes, units, strict=True))
    return z, y, x
