"""A model that is quick, and slides that ask for several shards though they are small."""

import dataclasses

import pytest
import tifffile

from bench.mosaic import Mosaic
from tests.inference.tiny_models import card, save
from tests.segmentation.maps import watershed_of
from tests.stages.shared.slides.by_hand import opened

#: Long and thin: three shards of 2048 px, the last one narrow.
SHAPE = (300, 4200)


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """Whole cells and nuclei from random weights, at 0.5 µm/px; nothing where nothing is."""
    folder = tmp_path_factory.mktemp("model")
    save(folder, channels=1, tile=(128, 128))
    found = {"interior_threshold": 0.5, "maxima_threshold": 0.02, "interior_smooth": 1.0}
    maps = {"maxima_head": "pixelwise", "interior_head": "pixelwise", "interior_channel": 2}
    dataclasses.replace(
        card(tile=(128, 128), method="percentile"),
        postprocessing={
            "nuclear": watershed_of(**maps, **found, maxima_channel=2),
            "whole_cell": watershed_of(**maps, **found, maxima_channel=1),
        },
    ).save(folder)
    return folder


@pytest.fixture(scope="session")
def slide(tmp_path_factory):
    """Nuclei in some blocks, nothing in others: a batch of one image of 0.5 µm/px."""
    folder = tmp_path_factory.mktemp("slide")
    tifffile.imwrite(folder / "slide.tif", Mosaic(SHAPE, empty=0.5)[: SHAPE[0], : SHAPE[1]])
    assert not opened(folder, [{"image": str(folder / "slide.tif")}], mpp=0.5, container="zarr")
    return folder / "images"


@pytest.fixture(scope="session")
def two(tmp_path_factory):
    """A batch of two images of 0.6 µm/px, which the model wants larger: of one shard and of two."""
    folder = tmp_path_factory.mktemp("two")
    tifffile.imwrite(folder / "long.tif", Mosaic((100, 1800))[:100, :1800])
    tifffile.imwrite(folder / "small.tif", Mosaic((512, 512))[200:330, 100:380])
    items = [{"image": str(folder / f"{name}.tif")} for name in ("long", "small")]
    assert not opened(folder, items, mpp=0.6, container="zarr")
    return folder / "images"
