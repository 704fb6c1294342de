"""Read exports back with the programs that they are for; their interpreter runs this file.

`python read_exports.py FOLDER`: it holds what a test wrote, and `truth.npz` what that was made of.
What the programs say goes to `found.json`.
"""

import json
import sys
from pathlib import Path

import anndata
import numpy as np
import shapely
import spatialdata
import xarray
from spatialdata.transformations import get_transformation


def annotated(adata):
    """What a table says, as plain values."""
    anndata.AnnData(adata.X, obs=adata.obs)
    return {
        "names": list(adata.obs_names),
        "channels": list(adata.var_names),
        "means": np.asarray(adata.X).tolist(),
        "sd": np.asarray(adata.layers["sd"]).tolist(),
        "spatial": np.asarray(adata.obsm["spatial"]).tolist(),
        "areas": [int(a) for a in adata.obs.get("area_px", adata.obs.get("volume_px"))],
        "cells": cells_of(adata),
        "edge": [bool(e) for e in adata.obs["touches_edge"]],
        "model": str(adata.uns["model"]),
        "unit": str(adata.uns["spatial_unit"]),
    }


def cells_of(adata):
    """The cells of nuclei, where nuclei and cells were measured."""
    if "cell_label" not in adata.obs:
        return None
    column = adata.obs["cell_label"].to_numpy(dtype=float, na_value=np.nan)
    return [None if np.isnan(each) else int(each) for each in column]


def painted(shapes, labels):
    """Fill shapes, whose corners are pixels', with their index, at the pixels' centres."""
    found = np.zeros(labels.shape, np.int64)
    y, x = np.mgrid[: labels.shape[0], : labels.shape[1]] + 0.5
    for label, geometry in zip(shapes.index, shapes.geometry, strict=True):
        assert geometry.is_valid
        found[shapely.contains_xy(geometry, x, y)] = label
    return found


def levels_of(element):
    """The resolutions of an image, full resolution first."""
    if not isinstance(element, xarray.DataTree):
        return [element]
    return [next(iter(each.data_vars.values())) for each in element.children.values()]


def spatial(folder, truth):
    """Open a store, and compare what lies in it with what it was made of."""
    store = spatialdata.read_zarr(folder)
    image = store.images["image"]
    levels = levels_of(image)
    pixels = np.moveaxis(np.asarray(levels[0]), 0, -1)
    found = {
        "image": bool(np.array_equal(pixels, truth["image"])),
        "levels": [list(map(int, level.shape)) for level in levels],
        "channels": [str(c) for c in levels[0].coords["c"].values],
        "table": annotated(store.tables["table"]) if store.tables else None,
        "extent": {k: [float(v) for v in e] for k, e in spatialdata.get_extent(store).items()},
        "labels": {},
        "shapes": {},
        "annotates": sorted(
            store.tables["table"].uns["spatialdata_attrs"]["region"] if store.tables else []
        ),
        "scale": np.diag(
            get_transformation(levels[0] if len(levels) == 1 else image).to_affine_matrix(
                ("y", "x"), ("y", "x")
            )
        ).tolist()[:2],
    }
    for kind in store.labels:
        array = np.asarray(levels_of(store.labels[kind])[0])
        found["labels"][kind] = bool(np.array_equal(array, truth[kind]))
        if f"{kind}_shapes" in store.shapes:
            shapes = store.shapes[f"{kind}_shapes"]
            found["shapes"][kind] = bool(np.array_equal(painted(shapes, array), truth[kind]))
    return found


def main(folder: Path) -> None:
    found = {}
    for case in sorted(p for p in folder.iterdir() if p.is_dir()):
        with np.load(case / "truth.npz") as truth:
            found[case.name] = {
                "spatialdata": spatial(case / "a.spatialdata.zarr", truth),
                "anndata": annotated(anndata.read_h5ad(case / "a.h5ad")),
            }
    (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
