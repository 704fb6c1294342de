"""The predict stage: heads of whole images, batches and records, refusals."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from cellmill.arrays.batch import Batch
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.windows import Box
from cellmill.contract import Dataset, Model, Record
from cellmill.contract.cli import main
from cellmill.errors import BadInput
from cellmill.inference import tiled
from cellmill.inference.engines import load_network
from cellmill.inference.proofs import BOUND
from cellmill.inference.registry import ENGINES
from cellmill.inference.tensorflow_engine import TensorFlowNetwork
from cellmill.inference.tiled import card_grid, predict_tiled
from cellmill.inference.tiles import TileGrid
from cellmill.models.card import ModelCard
from cellmill.models.shipped import default_model
from cellmill.segmentation.methods import METHODS
from cellmill.stages.predict import predict
from tests.inference.tiny_models import SAVES, card, load, save, save_model
from tests.segmentation.maps import watershed_of
from tests.segmentation.strided import NAME

pytestmark = pytest.mark.tensorflow


def image(shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def write_preprocessed(folder, images, made_for=None):
    attributes = {"model": made_for.to_dict()} if made_for else {}
    with BatchWriter(folder, attributes=attributes) as out:
        for name, array in images.items():
            out.write(
                name,
                {"image": array},
                axes={"image": "YXC"},
                mpp=(0.5, 0.4),
                mpp_source="test",
                attributes={"source_shape": [7, 9], "scale": [1.5, 1.25]},
            )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    return folder, save_model(folder)


def run(tmp_path, model_folder, **parameters):
    out = tmp_path / "predictions"
    record = Record(tmp_path / "record.json")
    given = {"engine": "tensorflow", **parameters}
    predict(Dataset(tmp_path / "images"), Model(model_folder), Dataset(out), record, **given)
    return Batch.open(out), record


def test_heads_of_every_image_by_the_cards_names(tmp_path, model):
    folder, made = model
    images = {
        "large": image((100, 75, 1)),
        "small": image((5, 3, 1), 1),
        "wide": image((20, 90, 1)),
    }
    write_preprocessed(tmp_path / "images", images, made)
    batch, record = run(tmp_path, folder, batch_size=4)
    network = load(folder, made)
    assert batch.attributes["model"] == made.to_dict()
    for entry in batch.entries:
        source = images[entry.name]
        expected = [np.empty((*source.shape[:2], n), np.float32) for n in (1, 3)]
        grid = TileGrid.over(source.shape[:2], (32, 32))
        predict_tiled(source, network, grid, expected, 4)
        for key, wanted in zip(("distance", "pixelwise"), expected, strict=True):
            assert np.array_equal(batch.read(entry, key), wanted)
            assert entry.arrays[key].dtype == "float32"
        assert entry.attributes == {"source_shape": [7, 9], "scale": [1.5, 1.25]}
        assert entry.mpp == (0.5, 0.4)
    assert record.notes["device"] == "cpu"
    assert record.notes["precision"] == "float32"
    assert record.notes["batch_size"] == 4
    assert record.notes["memory_retries"] == 0
    assert [step["name"] for step in record.steps] == ["load model"]
    for done in record.images.values():
        assert {step["name"] for step in done.steps} == {"read", "network", "blend", "write"}
        assert sum(step["cpu_s"] for step in done.steps) <= done.cpu_s + 0.05


def test_the_model_is_loaded_once_for_a_batch(tmp_path, model, monkeypatch):
    loads = []
    original = tf.saved_model.load
    monkeypatch.setattr(tf.saved_model, "load", lambda path: loads.append(path) or original(path))
    write_preprocessed(tmp_path / "images", {f"i{i}": image((40, 40, 1), i) for i in range(4)})
    run(tmp_path, model[0])
    assert len(loads) == 1


def test_two_runs_are_equal_to_the_bit_and_batch_sizes_nearly(tmp_path, model):
    write_preprocessed(tmp_path / "images", {"a": image((90, 80, 1))})
    (batch, _), arrays = run(tmp_path, model[0]), {}
    for key in ("distance", "pixelwise"):
        arrays[key] = batch.read(batch.entries[0], key).copy()
    for batch_size, tolerance in ((8, 0), (3, 1e-5)):
        batch, _ = run(tmp_path, model[0], batch_size=batch_size)
        for key, wanted in arrays.items():
            assert np.abs(batch.read(batch.entries[0], key) - wanted).max() <= tolerance


def test_windows_are_the_whole_to_the_bit(tmp_path, model):
    """A tile's prediction does not depend on its place in a batch, nor on the other tiles."""
    folder, made = model
    source = image((190, 400, 1))
    write_preprocessed(tmp_path / "images", {"a": source}, made)
    batch, _ = run(tmp_path, folder)
    whole = [batch.read(batch.entries[0], key) for key in ("distance", "pixelwise")]
    network = load(folder, made)
    grid = TileGrid.over((190, 400), (32, 32))
    for window in (Box(0, 190, 100, 164), Box(77, 80, 0, 400), Box(150, 190, 390, 400)):
        parts = [np.zeros((190, 400, n), np.float32) for n in (1, 3)]
        predict_tiled(source, network, grid, parts, 8, window=window)
        for part, all_of_it in zip(parts, whole, strict=True):
            assert np.array_equal(part[window.slices], all_of_it[window.slices])


def test_strips_of_a_wide_image_and_zarr_give_the_same(tmp_path, model):
    folder, made = model
    source = image((35, 40_000, 1))
    write_preprocessed(tmp_path / "images", {"a": source}, made)
    batch, _ = run(tmp_path, folder)
    whole = {key: batch.read(batch.entries[0], key) for key in ("distance", "pixelwise")}
    batch, _ = run(tmp_path, folder, memory_mib=64)
    for key, expected in whole.items():
        assert np.array_equal(batch.read(batch.entries[0], key), expected)
    with BatchWriter(tmp_path / "images", attributes={"model": made.to_dict()}) as out:
        layout = {"image": (source.shape, source.dtype, "YXC")}
        with out.create("a", layout, container="zarr") as arrays:
            arrays["image"][...] = source
    batch, _ = run(tmp_path, folder, memory_mib=64)
    assert (tmp_path / "predictions" / "a.zarr").is_dir()
    for key, expected in whole.items():
        assert np.array_equal(batch.read(batch.entries[0], key), expected)


def test_empty_parts_are_predicted_once(tmp_path, model, monkeypatch):
    source = np.zeros((200, 300, 1), np.float32)
    source[60:100, 60:90] = image((40, 30, 1))
    write_preprocessed(tmp_path / "images", {"a": source}, model[1])
    batch, record = run(tmp_path, model[0], batch_size=3)
    assert record.notes["tiles_repeated"] > len(TileGrid.over((200, 300), (32, 32))) / 2
    found = [batch.read(batch.entries[0], key).copy() for key in ("distance", "pixelwise")]
    monkeypatch.setattr(tiled, "_FEW_LEVELS", -1)
    batch, record = run(tmp_path, model[0], batch_size=3)
    assert record.notes["tiles_repeated"] == 0
    for key, ours in zip(("distance", "pixelwise"), found, strict=True):
        assert np.array_equal(batch.read(batch.entries[0], key), ours)


def test_memory_that_runs_out_is_noted_and_survived(tmp_path, model, monkeypatch):
    write_preprocessed(tmp_path / "images", {"a": image((90, 80, 1))})
    whole, _ = run(tmp_path, model[0])
    expected = whole.read(whole.entries[0], "distance").copy()
    original = TensorFlowNetwork.__call__

    def small(self, tiles):
        if len(tiles) > 3:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return original(self, tiles)

    monkeypatch.setattr(TensorFlowNetwork, "__call__", small)
    batch, record = run(tmp_path, model[0])
    assert np.abs(batch.read(batch.entries[0], "distance") - expected).max() < 1e-5
    # 12 tiles in two batches of 6, halved.
    assert record.notes["batch_size"] == 3
    assert record.notes["memory_retries"] == 1


def test_mixed_precision_is_recorded(tmp_path, model):
    write_preprocessed(tmp_path / "images", {"a": image((40, 40, 1))})
    batch, record = run(tmp_path, model[0], precision="mixed_bfloat16")
    assert record.notes["precision"] == "mixed_bfloat16"
    assert record.notes["products_in_16_bits"] == 1
    assert batch.read(batch.entries[0], "distance").dtype == np.float32


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_the_engine_is_recorded_and_heads_nobody_needs_are_left_out(tmp_path, engine):
    heads = (("distance", 1), ("pixelwise", 3))
    save(tmp_path / "model")
    made = card(heads=heads)
    alone = replace(made, postprocessing={"nuclear": watershed_of("distance", "distance")})
    alone.save(tmp_path / "model")
    write_preprocessed(tmp_path / "images", {"a": image((90, 80, 1))}, alone)
    batch, record = run(tmp_path, tmp_path / "model", engine=engine)
    assert record.notes["engine"] == engine
    assert record.notes["heads"] == ["distance", "pixelwise"]
    whole = batch.read(batch.entries[0], "distance").copy()
    batch, record = run(tmp_path, tmp_path / "model", engine=engine, compartment="")
    assert record.notes["heads"] == ["distance"] == [*batch.entries[0].arrays]
    assert np.array_equal(batch.read(batch.entries[0], "distance"), whole)
    with pytest.raises(BadInput, match="compartment: expected what model 'tiny' has: nuclear"):
        run(tmp_path, tmp_path / "model", engine=engine, compartment="both")


@pytest.mark.parametrize("form", SAVES)
def test_heads_with_a_stride_are_smaller_and_equal_for_every_engine(tmp_path, form, monkeypatch):
    SAVES[form](tmp_path / "model", stride=2)
    made = card(stride=2, placement="cropped")
    made.save(tmp_path / "model")
    source = image((91, 130, 1))
    write_preprocessed(tmp_path / "images", {"a": source}, made)
    with pytest.raises(
        BadInput, match="expected a head of stride 1, found 'pixelwise' of stride 2"
    ):
        run(tmp_path, tmp_path / "model")
    monkeypatch.setitem(METHODS, NAME, "tests.segmentation.strided")
    read = {"nuclear": {**made.postprocessing["nuclear"], "method": NAME}}
    made = replace(made, postprocessing=read)
    made.save(tmp_path / "model")
    found = []
    for engine in (engine.name for engine in ENGINES.values() if form in engine.reads):
        batch, _ = run(tmp_path, tmp_path / "model", engine=engine, memory_mib=1024)
        (entry,) = batch.entries
        found.append([np.array(batch.read(entry, head.name)) for head in made.heads])
    assert [head.shape for head in found[0]] == [(91, 130, 1), (46, 65, 3)]
    for heads in found[1:]:
        for head, wanted in zip(heads, found[0], strict=True):
            assert np.abs(head - wanted).max() <= 1e-5
    # In the middle of a tile it is what the network gives there.
    network = load_network(tmp_path / "model", made, engine=engine)
    grid = card_grid(made, (91, 130))
    y, x = (axis.start(1) - axis.before for axis in (grid.rows, grid.columns))
    inner = slice(4, 12)
    direct = network(source[None, y : y + 32, x : x + 32])[1][0, inner, inner]
    placed = found[-1][1][y // 2 :, x // 2 :][inner, inner]
    assert np.array_equal(direct, placed)


def test_with_auto_the_shipped_model_runs_without_tensorflow_being_imported(tmp_path):
    made = ModelCard.load(default_model())
    write_preprocessed(tmp_path / "images", {"a": image((300, 280, 1))}, made)
    flags = ["--preprocessed", str(tmp_path / "images"), "--model", str(default_model())]
    flags += ["--predictions", str(tmp_path / "out"), "--record", str(tmp_path / "record.json")]
    code = (
        "import sys\n"
        "from cellmill.contract.cli import main\n"
        f"assert main(['predict', *{flags}, '--device', 'cpu']) == 0\n"
        "assert not {'tensorflow', 'keras', 'onnxruntime'} & sys.modules.keys()\n"
        "assert 'openvino' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "record.json").read_text())
    notes = document["notes"]
    assert notes["engine"] == "openvino"
    assert notes["engine_chosen"] == "auto: fastest on cpu, proven equal"
    assert 0 < notes["largest_difference"] <= BOUND
    assert notes["largest_difference_from"].startswith("tensorflow 2.")
    assert "engines_passed_over" not in notes
    # What is predicted is TensorFlow's within the bound.
    theirs, record = run(tmp_path, default_model(), device="cpu")
    assert record.notes["engine_chosen"] == "named"
    theirs = [np.array(theirs.read(theirs.entries[0], head.name)) for head in made.heads]
    assert not main(["predict", *flags, "--device", "cpu"])
    ours = Batch.open(tmp_path / "out")
    for head, wanted in zip(made.heads, theirs, strict=True):
        assert np.abs(ours.read(ours.entries[0], head.name) - wanted).max() <= BOUND


def test_a_two_channel_model(tmp_path):
    made = save_model(tmp_path / "two", channels=2)
    write_preprocessed(tmp_path / "images", {"a": image((50, 40, 2))}, made)
    batch, _ = run(tmp_path, tmp_path / "two")
    assert batch.read(batch.entries[0], "pixelwise").shape == (50, 40, 3)


def test_images_that_are_not_for_the_model_get_one_line(tmp_path, model):
    write_preprocessed(tmp_path / "images", {"a": image((40, 40, 2)), "b": image((40, 40, 1))})
    with pytest.raises(BadInput, match=r"image 'a': expected float32 \(Y, X, 1\).*\(40, 40, 2\)"):
        run(tmp_path, model[0])
    batch, _ = run(tmp_path, model[0], on_bad_image="skip")
    assert [entry.status for entry in batch.entries] == ["skipped", "ok"]
    assert batch.entries[0].arrays == {}
    write_preprocessed(tmp_path / "images", {"a": image((40, 40, 1))}, card(method="mesmer"))
    with pytest.raises(BadInput, match="preprocessed for model 'tiny' 1, found for 'tiny' 1, with"):
        run(tmp_path, model[0])


def test_parameters_out_of_range(tmp_path, model):
    write_preprocessed(tmp_path / "images", {"a": image((40, 40, 1))})
    with pytest.raises(BadInput, match="batch_size: expected at least 1, found 0"):
        run(tmp_path, model[0], batch_size=0)


def test_a_card_without_a_network_says_so_on_the_command_line(tmp_path):
    write_preprocessed(tmp_path / "images", {"a": image((40, 40, 1))})
    (tmp_path / "model").mkdir()
    card().save(tmp_path / "model")
    command = [sys.executable, "-m", "cellmill", "predict", "--preprocessed", tmp_path / "images"]
    command += ["--model", tmp_path / "model", "--predictions", tmp_path / "out"]
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "expected one network beside its card, a TensorFlow SavedModel" in done.stderr


def test_tiles_of_another_side_are_those_of_a_card_that_asks_for_them(tmp_path):
    """The batch is made for the model's own card; what the heads were made by stands in theirs."""
    folder, source = default_model(), image((100, 75, 1))
    made = ModelCard.load(folder)
    write_preprocessed(tmp_path / "images", {"a": source}, made)
    batch, _ = run(tmp_path, folder, tile=64)
    used = replace(made, input=replace(made.input, tile=(64, 64)))
    assert batch.attributes["model"] == used.to_dict()
    expected = [np.empty((100, 75, head.channels), np.float32) for head in made.heads]
    network = load_network(folder, made, engine="tensorflow")
    grid = card_grid(used, (100, 75))
    assert len(grid) > len(card_grid(made, (100, 75)))
    predict_tiled(source, network, grid, expected, 8, heads=made.heads)
    for head, wanted in zip(made.heads, expected, strict=True):
        assert np.array_equal(batch.read(batch.entries[0], head.name), wanted)


@pytest.mark.parametrize("side", [3, 64])
def test_a_tile_that_no_network_takes_is_refused(tmp_path, model, side):
    write_preprocessed(tmp_path / "images", {"a": image((40, 40, 1))}, model[1])
    with pytest.raises(BadInput, match="expected"):
        run(tmp_path, model[0], tile=side)
