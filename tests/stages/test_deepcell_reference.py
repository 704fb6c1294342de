"""What of the reference stage can be seen without deepcell; the rest is in tests/conformance."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract.spec import StageSpec
from cellmill.errors import BadInput
from cellmill.models.card import known_cards
from cellmill.stages import deepcell_reference as stage

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    known_cards()["Mesmer"].save(folder)
    return folder


def write_image(folder: Path, image: np.ndarray, **attributes: object) -> tuple[Batch, Entry]:
    with BatchWriter(folder) as out:
        out.write("a", {"image": image}, axes={"image": "YXC"}, attributes=attributes)
    batch = Batch.open(folder)
    return batch, batch.entry("a")


def command(model: Path, folder: Path) -> list[str]:
    outputs = ("labels", "predictions", "preprocessed")
    return [
        *(sys.executable, "-m", "cellmill", "deepcell_reference"),
        *("--images", str(folder / "images"), "--model", str(model)),
        *(part for name in outputs for part in (f"--{name}", str(folder / name))),
    ]


def test_it_needs_only_the_standard_library_and_numpy_until_it_runs() -> None:
    program = (
        "import sys; before = set(sys.modules); from cellmill.contract.spec import StageSpec; "
        "StageSpec.load('deepcell_reference'); loaded = set(sys.modules) - before; "
        "print(*sorted({m.split('.')[0] for m in loaded} - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = {name for name in done.stdout.split() if not name.startswith("_")}
    assert loaded <= {"cellmill", "numpy"}


def test_its_interface() -> None:
    spec = StageSpec.load("deepcell_reference")
    assert [i.name for i in spec.inputs] == ["images", "model"]
    assert [o.name for o in spec.outputs] == ["labels", "predictions", "preprocessed", "record"]
    assert [p.name for p in spec.parameters] == ["on_bad_image", "compartment"]


@pytest.mark.skipif(
    importlib.util.find_spec("deepcell") is not None, reason="deepcell is installed here"
)
def test_elsewhere_than_in_its_environment_it_says_so_in_one_line(
    model: Path, tmp_path: Path
) -> None:
    write_image(tmp_path / "images", np.ones((8, 8, 2), np.uint8))
    done = subprocess.run(
        command(model, tmp_path), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "images/deepcell" in done.stderr
    assert not (tmp_path / "labels").exists()


def test_a_model_of_other_heads_is_refused_in_one_line(model: Path, tmp_path: Path) -> None:
    card = known_cards()["NuclearSegmentation"]
    card.save(model)
    write_image(tmp_path / "images", np.ones((8, 8, 2), np.uint8))
    done = subprocess.run(
        command(model, tmp_path), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "four heads" in done.stderr


def test_heads_in_another_order_are_refused(model: Path) -> None:
    card = known_cards()["Mesmer"]
    stage._check_heads(card, model)
    with pytest.raises(BadInput, match="four heads"):
        stage._check_heads(replace(card, heads=card.heads[::-1]), model)


def test_unequal_pixel_sides_are_refused() -> None:
    assert stage._one_mpp(Entry("a")) is None
    assert stage._one_mpp(Entry("a", mpp=(0.65, 0.65))) == 0.65
    with pytest.raises(BadInput, match="square pixels"):
        stage._one_mpp(Entry("a", mpp=(0.5, 0.6)))


def test_one_channel_is_enough_for_nuclei_alone(tmp_path: Path) -> None:
    image = np.arange(1, 13, dtype=np.uint16).reshape(3, 4, 1)
    _, entry = write_image(tmp_path, image)
    shown = stage._two_channels(image, entry, ["nuclear"])
    assert shown.shape == (3, 4, 2)
    assert (shown[..., 0] == image[..., 0]).all()
    assert not shown[..., 1].any()
    both = np.concatenate([image, image + 1], axis=2)
    assert (stage._two_channels(both, entry, ["nuclear"]) == both).all()
    for kinds in (["whole_cell"], ["whole_cell", "nuclear"]):
        with pytest.raises(BadInput, match="expected 2 for model 'Mesmer'"):
            stage._two_channels(image, entry, kinds)


@pytest.mark.parametrize(
    ("shape", "mpp", "crashes"),
    [
        ((300, 300), None, False),
        ((200, 200), None, False),
        ((256, 200), None, False),
        ((2, 2), None, False),
        ((1, 1), None, True),
        ((256, 1), None, True),
        ((200, 700), None, True),
        ((700, 200), 0.5, True),
        ((200, 300), 0.65, False),  # 260 × 390
        ((300, 200), 0.65, False),  # 390 × 260
        ((300, 190), 0.65, True),  # 390 × 247
    ],
)
def test_sides_that_deepcell_crashes_on_are_refused(
    shape: tuple[int, int], mpp: float | None, crashes: bool
) -> None:
    if crashes:
        with pytest.raises(BadInput, match="deepcell crashes"):
            stage._check_sides("a", shape, mpp, (256, 256))
    else:
        stage._check_sides("a", shape, mpp, (256, 256))


@given(
    arrays.arrays(np.int64, arrays.array_shapes(min_dims=2, max_dims=2), elements=st.integers(0, 5))
)
def test_numbering_keeps_objects_and_is_in_raster_order(labels: np.ndarray) -> None:
    numbered = stage._canonical(labels)
    assert numbered.dtype == np.int32
    # The same partition: pairs (old, new) are one to one, background stays.
    pairs = {(int(a), int(b)) for a, b in zip(labels.ravel(), numbered.ravel(), strict=True)}
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    assert all((a == 0) == (b == 0) for a, b in pairs)
    seen = [i for i in dict.fromkeys(numbered.ravel().tolist()) if i]
    assert seen == list(range(1, len(seen) + 1))
