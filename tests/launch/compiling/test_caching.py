"""What an earlier run made is taken only where that is sound: same bytes, pinned images."""

import numpy as np
import pytest
import tifffile
import yaml

from cellmill.version import __version__
from components.container_images import ContainerImage, read_lock
from launch import ROOT
from launch.compiling.caching import uncached
from launch.compiling.compiled import pipeline, pipeline_names, to_yaml
from launch.compiling.renderings import TARGETS, Choice, render
from launch.runs.inputs import cut, find_items
from tests.launch.cloud.cloud_runs import STORED, WITH_STORES, cached

PINNED = {
    n: ContainerImage(f"r.example/{n}", __version__, "sha256:" + "1" * 64) for n in read_lock()
}
TAGGED = {n: ContainerImage(f"r.example/{n}", __version__) for n in read_lock()}
SPOT = Choice("NVIDIA_L4", spot=True)


def spec(text):
    return next(iter(yaml.safe_load_all(text)))


@pytest.mark.parametrize("name", pipeline_names())
@pytest.mark.parametrize("target", TARGETS)
def test_tasks_are_cached_only_where_images_are_pinned(name, target):
    assert not cached(spec(render(name, target, SPOT, TAGGED)))
    assert not cached(spec(render(name, target, SPOT)))
    found = cached(spec(render(name, target, SPOT, PINNED, report_failure=False)))
    everything = cached(spec(to_yaml(pipeline(name))))
    assert found == everything - (STORED if name in WITH_STORES else set())
    # A volume that is read by its URI alone has no digest that a cache could go by.
    assert bool(found) == (name != "style_transfer_training")


@pytest.mark.parametrize("name", pipeline_names())
def test_what_is_committed_caches_nothing(name):
    text = (ROOT / "pipelines" / name / "pipeline.yaml").read_text()
    assert not cached(spec(text))
    assert uncached(text) == text


def key(folder):
    """What a cache goes by: the parameters of the stage that opens the images."""
    return cut(find_items(str(folder)), 1)


def test_the_same_bytes_hit_and_changed_bytes_miss(tmp_path):
    image = tmp_path / "a.tif"
    tifffile.imwrite(image, np.zeros((8, 8), np.uint8), metadata=None)
    before = key(tmp_path)
    image.write_bytes(image.read_bytes())
    assert key(tmp_path) == before
    tifffile.imwrite(image, np.ones((8, 8), np.uint8), metadata=None)
    assert key(tmp_path) != before
