"""Label images into a file, or a store, of their own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cellmill.arrays.files import open_staged
from cellmill.arrays.windows import Windowed
from cellmill.errors import BadInput
from cellmill.io import uris
from cellmill.io.tiff.write import MEMORY_MIB, write_label_images


def write_labels(
    path: str | os.PathLike[str],
    labels: Windowed | Mapping[str, Windowed],
    *,
    mpp: tuple[float, ...] | None = None,
    dtype: str = "int32",
    memory_mib: int = MEMORY_MIB,
) -> None:
    """Write label images as OME-TIFF, or as OME-Zarr; what is written appears whole or not at all.

    Both are tiled, compressed and, above 1024 px, pyramids. The same labels make the same bytes.

    Args:
        path: the file to make; or a store where nothing is yet, which ends in `.zarr`: its group
            `labels` holds the label images (OME-Zarr 0.5).
        labels: a label image `(Y, X)` or `(Z, Y, X)`, integers from 0, of any size; or several of
            one shape by kind of object, a channel each.
        mpp: pixel size (y, x), or (z, y, x), in microns, None where unknown.
        dtype: `"int32"`, or `"uint16"` for programs that open no other integers.
        memory_mib: memory to use at most; what is written does not depend on it.

    Raises:
        BadInput: the labels do not fit the dtype, they have other axes, or it cannot be written
            there.
    """
    planes = labels if isinstance(labels, Mapping) else {"labels": labels}
    place = os.fspath(path)
    if uris.is_zarr(place):
        _write_store(place, planes, mpp, dtype, memory_mib)
        return
    file_name = Path(place)
    with open_staged(file_name) as file:
        write_label_images(
            file,
            [*planes.values()],
            [*planes],
            image_name=file_name.name.removesuffix(file_name.suffix).removesuffix(".ome"),
            mpp=mpp,
            dtype=dtype,
            memory_mib=memory_mib,
        )


def _write_store(
    place: str,
    labels: Mapping[str, Windowed],
    mpp: tuple[float, ...] | None,
    dtype: str,
    memory_mib: int,
) -> None:
    from cellmill.arrays.label_pyramid import write_label_pyramids

    wrong = [a for a in labels.values() if len(a.shape) not in (2, 3) or a.dtype.kind not in "iu"]
    if wrong:
        found = f"{wrong[0].dtype} {wrong[0].shape}"
        raise BadInput(
            f"labels for '{place}'", expected="integers (Y, X) or (Z, Y, X)", found=found
        )
    if uris.exists(place):
        raise BadInput(f"output '{place}'", expected="nothing there yet", found="something")
    local = uris.local_path(place)
    if local is None:
        write_label_pyramids(place, labels, mpp=mpp, dtype=dtype, memory_mib=memory_mib)
        return
    try:
        local.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=".cellmill-", suffix=".part", dir=local.parent))
    except OSError as error:
        raise BadInput(
            f"output '{place}'", expected="a place that can be written", found=f"{error}"
        ) from error
    try:
        write_label_pyramids(str(staged), labels, mpp=mpp, dtype=dtype, memory_mib=memory_mib)
        # mkdtemp makes folders private.
        staged.chmod(local.parent.stat().st_mode & 0o777)
        staged.rename(local)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
