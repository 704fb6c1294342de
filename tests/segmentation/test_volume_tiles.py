"""Volumes block by block, down to what is written: the labels in memory, within a budget."""

import contextlib
import tracemalloc

import numpy as np
import pytest

from cellmill.arrays.store import Ledger
from cellmill.arrays.windows import Grid
from cellmill.arrays.workspace import MemoryWorkspace, StoredWorkspace
from cellmill.errors import BadInput
from cellmill.segmentation.cellpose import CellposeParameters
from cellmill.segmentation.interface import NUMBERINGS, Maps
from cellmill.segmentation.labelling import (
    fits_memory,
    label_in_memory,
    label_in_tiles,
    write_in_tiles,
)
from cellmill.segmentation.methods import Recipe, Source, find_method
from cellmill.segmentation.voronoi_otsu.parameters import VoronoiOtsuParameters
from tests.segmentation.examples import EXAMPLES

VORONOI = find_method("voronoi_otsu")
MPP = (2.0, 0.7, 0.5)


def recipes_with(*parameters):
    sources = {"intensity": Source("image")}
    return {f"kind{i}": Recipe(VORONOI, sources, each) for i, each in enumerate(parameters)}


@pytest.mark.parametrize("numbering", NUMBERINGS)
@pytest.mark.parametrize("own", [None, (20, 101, 55)], ids=["same", "resized"])
def test_what_is_written_is_what_memory_gives(tmp_path, numbering, own):
    shape = (20, 75, 70)
    heads = {"image": EXAMPLES["voronoi_otsu"].maps(3, shape)["intensity"][..., None]}
    kinds = recipes_with(
        VoronoiOtsuParameters(1.5, 1), VoronoiOtsuParameters(1, 1, small_objects_threshold=40)
    )
    assert not fits_memory(kinds, shape, 1)
    assert fits_memory(kinds, shape, 64)
    expected, facts = label_in_memory(heads, kinds, own, mpp=MPP, numbering=numbering)
    assert len(np.unique(expected["kind0"])) > 20
    segmented, _, side = label_in_tiles(
        heads,
        kinds,
        lambda name, side: StoredWorkspace(str(tmp_path / name), "", side=side),
        memory_mib=1,
        mpp=MPP,
    )
    made = {}

    @contextlib.contextmanager
    def create(layouts, said):
        assert {axes for _, _, axes in layouts.values()} == {"ZYX"}
        made.update({name: np.zeros(size, dtype) for name, (size, dtype, _) in layouts.items()})
        yield made

    found = write_in_tiles(
        segmented, own, create, side=side, memory_mib=1, numbering=numbering, axes=3
    )
    assert found == facts
    for name, labels in expected.items():
        np.testing.assert_array_equal(made[name], labels)


@pytest.mark.parametrize("side", [4, 9])
def test_plateaus_and_paths_across_many_blocks_are_as_whole(side):
    volume = np.zeros((12, 30, 34), np.float32)
    volume[2:11, 3:27, 2:30] = 0.2
    volume[5:7, 12:15, 4:28] = 1  # a plateau over several blocks
    volume[8:10, 20:26, 20:30] = 2
    volume[0:12:3, 0:30:5, 3:32] = 0  # winding gaps
    for parameters in (
        VoronoiOtsuParameters(0, 0),
        VoronoiOtsuParameters(0.6, 0, rule="clesperanto"),
    ):
        maps = Maps.of(MPP, intensity=volume)
        grid = Grid(volume.shape, side)
        work = VORONOI.tiled.open(maps, parameters, grid, MemoryWorkspace())
        work.prepare(2)
        work.work(range(len(grid)), 2)
        work.settle(2)
        expected = VORONOI.segment(maps, parameters, "reference")
        found = np.unique(work.labels(2)[:, :, :], return_inverse=True)[1]
        np.testing.assert_array_equal(found.reshape(volume.shape), expected)


class Repeated:
    """A volume that repeats a block along X; nothing of it is held."""

    dtype = np.dtype(np.float32)

    def __init__(self, block, width):
        self._block, self.shape = block, (*block.shape[:2], width, *block.shape[3:])

    def __getitem__(self, window):
        columns = np.arange(self.shape[2])[window[2]] % self._block.shape[2]
        return self._block[window[0], window[1]][:, :, columns]


class InFiles(MemoryWorkspace):
    """A workspace whose arrays and marks lie in files."""

    def __init__(self, folder):
        super().__init__()
        self._folder, self.marks = folder, Ledger(f"{folder}/marks", "w" * 64)
        self.marks.claim()

    def array(self, name, shape, dtype):
        if name not in self._arrays:
            path = self._folder / f"{name}.npy"
            self._arrays[name] = np.lib.format.open_memmap(path, "w+", dtype, shape)
        return self._arrays[name]


@pytest.mark.parametrize(
    ("method", "parameters"),
    [(VORONOI, VoronoiOtsuParameters(1.5, 1)), (find_method("cellpose"), CellposeParameters())],
    ids=lambda each: getattr(each, "name", ""),
)
def test_memory_does_not_grow_with_the_volume(monkeypatch, tmp_path, method, parameters):
    # So few that the smaller volume has as many.
    monkeypatch.setattr("cellmill.labels.cleaned._KEPT_BLOCKS", {3: 16})
    blocks = EXAMPLES[method.name].maps(5, (24, 64, 64))

    def most(width):
        maps = Maps.of(**{role: Repeated(block, width) for role, block in blocks.items()})
        grid = Grid(maps.shape, 64)
        (folder := tmp_path / f"{width}").mkdir()
        tracemalloc.start()
        try:
            work = method.tiled.open(maps, parameters, grid, InFiles(folder))
            work.prepare(1)
            work.work(range(len(grid)), 1)
            work.settle(1)
            assert work.labels(1)[12, :, -64:].max() > 0
            return tracemalloc.get_traced_memory()[1], method.tiled.bytes_of(grid)
        finally:
            tracemalloc.stop()

    most(64)  # compiled before memory is counted
    (small, _), (large, allowed) = most(192), most(320)
    assert large < 1.1 * small
    assert large < allowed


@pytest.mark.parametrize("tie_rule", ["local", "reference"])
def test_what_no_memory_bears_is_refused_with_what_would_do(tie_rule, monkeypatch):
    monkeypatch.setattr("cellmill.segmentation.labelling.memory_available", lambda: 64 << 20)
    method = find_method("deep_watershed")
    sources = {"maxima": Source("head"), "interior": Source("head")}
    recipes = {"nuclear": Recipe(method, sources, method.parameters(tie_rule=tie_rule))}
    whole = "a volume of 100 × 100 × 100 voxels: expected 76 MiB of memory to segment it whole"
    way = ", or less memory_mib, to segment it block by block" if tie_rule == "local" else ""
    with pytest.raises(BadInput) as error:
        label_in_memory({"head": np.zeros((100, 100, 100, 1), np.float32)}, recipes)
    assert str(error.value) == f"{whole}{way}, found 64 MiB"
