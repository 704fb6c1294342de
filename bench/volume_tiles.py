"""Objects of a volume in memory and block by block: seconds, peak memory, and whether labels agree.

`python -m bench.volume_tiles [--method voronoi_otsu] [--shape 64 1500 1500] [--memory-mib 1024]`

Spheres of known truth in noise, as light or as a network's heads, in a Zarr store; a process of its
own segments them in memory, another block by block, labels into another store. Memory is the peak
of each process. Seconds are those of segmenting and writing, once kernels are compiled.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.maps import network_maps, star_maps
from cellmill.arrays.windows import Grid, WritableWindowed
from cellmill.arrays.workspace import StoredWorkspace
from cellmill.arrays.zarr import create_zarr, open_zarr
from cellmill.datasets.phantoms import spheres
from cellmill.segmentation.cellpose import flows_of
from cellmill.segmentation.labelling import (
    Facts,
    Layouts,
    label_in_memory,
    label_in_tiles,
    write_in_tiles,
)
from cellmill.segmentation.methods import Recipe, Source, find_method

#: Spheres of this block repeat, whole: they keep away from its sides.
_BLOCK, _COUNT = (32, 100, 100), 12
_MPP = (2.0, 0.62, 0.62)
#: Rays of StarDist's polyhedra, and how many times fewer voxels spheres have along each axis.
_RAYS, _SQUEEZED = 32, (_MPP[0] / _MPP[1], 1.0, 1.0)

Plane = np.ndarray


@dataclass(frozen=True)
class Case:
    """How a method is measured.

    Attributes:
        arrays: what it reads, `(Z, Y, X, C)` by name, from the light and the truth of a block.
        seen: what is stored of a plane of them, with noise.
        sources: which array plays which role.
        parameters: of the method.
        stride: pixels of a plane for each value of the arrays.
    """

    arrays: Callable[[np.ndarray, np.ndarray], Mapping[str, np.ndarray]]
    seen: Callable[[np.random.Generator, Plane], Plane]
    sources: Mapping[str, str]
    parameters: Mapping[str, Any]
    stride: int = 1


def _heads(light: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    maxima, interior = network_maps(truth)
    return {"distance": maxima[..., np.newaxis], "interior": interior[..., np.newaxis]}


def _flows(light: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """What a perfect network of planes gives for those across all axes, added up."""
    flows = np.zeros((*truth.shape, 3), np.float32)
    for axis, others in enumerate(((1, 2), (0, 2), (0, 1))):
        shown = np.moveaxis(flows, axis, 0)
        for place, plane in enumerate(np.moveaxis(truth, axis, 0)):
            shown[place][..., list(others)] += 5 * flows_of(np.ascontiguousarray(plane))
    return {"flows": flows, "probability": np.where(truth > 0, 9, -9)[..., np.newaxis]}


def _noisy(random: np.random.Generator, plane: Plane) -> Plane:
    return (plane + random.normal(0, 1, plane.shape)).astype(np.float32)


def _star(light: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    probability, distances = star_maps(truth, _RAYS, _SQUEEZED)
    return {
        "probability": probability[:, ::2, ::2, np.newaxis],
        "distances": distances[:, ::2, ::2],
    }


def _uneven(random: np.random.Generator, plane: Plane) -> Plane:
    return (plane * random.uniform(0.9, 1.0, plane.shape)).astype(np.float32)


def _photons(random: np.random.Generator, plane: Plane) -> Plane:
    return random.poisson(20 + 400 * plane).astype(np.uint16)


def _unsure(random: np.random.Generator, plane: Plane) -> Plane:
    return np.clip(plane + random.normal(0, 0.01, plane.shape), 0, 1).astype(np.float32)


CASES = {
    "cellpose": Case(
        _flows, _noisy, {"flows": "flows", "probability": "probability"}, {"min_size": 50}
    ),
    "voronoi_otsu": Case(
        lambda light, truth: {"image": light[..., np.newaxis]},
        _photons,
        {"intensity": "image"},
        {"spot_sigma": 4.0},
    ),
    "deep_watershed": Case(
        _heads,
        _unsure,
        {"maxima": "distance", "interior": "interior"},
        # What a network that `make run-training Z=all` trained says, tuning aside.
        {
            "maxima_threshold": 0.1,
            "maxima_smooth": 1.0,
            "interior_threshold": 0.4,
            "interior_smooth": 0.0,
            "radius": 2,
            "small_objects_fraction": 0.2,
        },
    ),
    "probability_watershed": Case(
        lambda light, truth: {"classes": _heads(light, truth)["interior"]},
        _unsure,
        {"probability": "classes"},
        {},
    ),
    "stardist": Case(
        _star,
        _uneven,
        {"probability": "probability", "distances": "distances"},
        {"nms_threshold": 0.3, "anisotropy_z": _SQUEEZED[0]},
        stride=2,
    ),
}


def write_volume(folder: Path, shape: Sequence[int], case: Case) -> int:
    """Write what is read of the volume, plane by plane; how many spheres lie whole in it."""
    light, truth = spheres(_BLOCK, _MPP, count=_COUNT, radius_um=(5, 8), gap_um=1, seed=4)
    whole = [length // side for length, side in zip(shape, _BLOCK, strict=True)]
    stored = (shape[0], *(-(-side // case.stride) for side in shape[1:]))
    random = np.random.default_rng(0)
    for name, block in case.arrays(light, truth).items():
        channels = block.shape[-1]
        dtype = case.seen(random, block[0]).dtype
        out = create_zarr(f"{folder}/{name}.zarr", {name: ((*stored, channels), dtype, "ZYXC")})
        for z in range(shape[0]):
            plane = np.zeros((*stored[1:], channels), np.float32)
            if z < whole[0] * _BLOCK[0]:
                tiled = np.tile(block[z % _BLOCK[0]], (*whole[1:], 1))
                plane[: tiled.shape[0], : tiled.shape[1]] = tiled
            out[name][z] = case.seen(random, plane)
    return int(truth.max()) * int(np.prod(whole))


def segment(folder: Path, name: str, memory_mib: int) -> dict[str, Any]:
    """Segment the volume in this process, in memory where 0 is given."""
    case, method = CASES[name], find_method(name)
    parameters = method.parameters(**case.parameters)
    sources = {role: Source(array, 0, case.stride) for role, array in case.sources.items()}
    recipes = {"nuclear": Recipe(method, sources, parameters)}
    heads = {
        array: open_zarr(f"{folder}/{array}.zarr/{array}/0", "ZYXC")
        for array in case.sources.values()
    }
    small = {array: head[:70, :70, :70] for array, head in heads.items()}
    _segment(small, recipes, folder / "small", memory_mib)
    start, cpu = time.perf_counter(), time.process_time()
    objects = _segment(heads, recipes, folder / f"labels-{memory_mib}", memory_mib)
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "objects": objects,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _segment(
    heads: Mapping[str, Any], recipes: Mapping[str, Recipe], place: Path, memory_mib: int
) -> int:
    def stored(shape: tuple[int, ...]) -> Mapping[str, WritableWindowed]:
        return create_zarr(f"{place}.zarr", {"nuclear": (shape, np.dtype(np.int32), "ZYX")})

    if not memory_mib:
        labels, facts = label_in_memory(heads, recipes, mpp=_MPP)
        out = stored(labels["nuclear"].shape)["nuclear"]
        for z, plane in enumerate(labels["nuclear"]):
            out[z] = plane
        return facts["nuclear"].objects

    @contextlib.contextmanager
    def create(layouts: Layouts, facts: Facts) -> Iterator[Mapping[str, WritableWindowed]]:
        yield stored(layouts["nuclear"][0])

    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        segmented, _, side = label_in_tiles(
            heads,
            recipes,
            lambda name, side: StoredWorkspace(f"{scratch}/{name}", "", side=side),
            memory_mib=memory_mib,
            mpp=_MPP,
        )
        facts = write_in_tiles(segmented, None, create, side=side, memory_mib=memory_mib, axes=3)
    return facts["nuclear"].objects


def _equal(folder: Path, memory_mib: int) -> bool:
    one, other = (
        open_zarr(f"{folder}/labels-{each}.zarr/nuclear/0", "ZYX") for each in (0, memory_mib)
    )
    grid = Grid(one.shape, 2048, 4)
    boxes = (grid.box(tile).slices for tile in range(len(grid)))
    return all(np.array_equal(one[box], other[box]) for box in boxes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a row each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--method", choices=CASES, default="voronoi_otsu")
    parser.add_argument("--shape", type=int, nargs=3, default=[64, 1500, 1500])
    parser.add_argument("--memory-mib", type=int, default=1024, help="to work in, by blocks")
    parser.add_argument("--output", type=Path, default=Path("outputs/bench/volume_tiles.json"))
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        print(json.dumps(segment(Path(given.one[0]), given.method, int(given.one[1]))))
        return 0
    found: dict[str, Any] = {
        "method": given.method,
        "shape": given.shape,
        "memory_mib": given.memory_mib,
    }
    with tempfile.TemporaryDirectory() as name:
        found["spheres"] = write_volume(Path(name), given.shape, CASES[given.method])
        for kind, memory in (("in memory", 0), ("by blocks", given.memory_mib)):
            command = [sys.executable, "-m", "bench.volume_tiles", "--method", given.method]
            command += ["--one", name, str(memory)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            found[kind] = json.loads(done.stdout)
            print(kind, ", ".join(f"{key} {value:.0f}" for key, value in found[kind].items()))
        found["equal"] = _equal(Path(name), given.memory_mib)
    print(f"{found['spheres']} spheres; labels equal: {found['equal']}")
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(found, indent=1) + "\n")
    return 0 if found["equal"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
