"""What every engine of the registry promises, for every form of network that it reads.

A new engine is tested by its entry in the registry alone.
"""

import dataclasses
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmill import extras
from cellmill.arrays.windows import Box
from cellmill.errors import BadInput
from cellmill.inference.engines import load_network
from cellmill.inference.registry import ENGINES, REFERENCE
from cellmill.inference.tiled import predict_tiled
from cellmill.inference.tiles import TileGrid
from cellmill.models.networks import FORMS
from tests.inference.tiny_models import SAVES, card

pytestmark = pytest.mark.tensorflow

TILES = np.random.default_rng(0).random((5, 32, 32, 1), dtype=np.float32)
#: Of forms that any network may have; a pixel classifier's is its own: `test_forest_engine`.
PAIRS = [(e.name, form) for e in ENGINES.values() for form in e.reads if form in SAVES]
each_pair = pytest.mark.parametrize(("engine", "form"), PAIRS)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Folders with the tiny network by form, and its heads of `TILES` computed eagerly."""
    folder, expected = tmp_path_factory.mktemp("tiny"), []
    for form, save in SAVES.items():
        module = save(folder / form)
        expected = [head.numpy() for head in module.heads(TILES)]
    return {form: folder / form for form in SAVES}, expected


def close(heads, expected, within=1e-5):
    """Whether heads are float32, of the expected shapes, and equal within a bound."""
    return all(
        head.dtype == np.float32
        and head.shape == wanted.shape
        and np.abs(head - wanted).max(initial=0) <= within
        for head, wanted in zip(heads, expected, strict=True)
    )


def test_every_form_has_a_reference_that_reads_it():
    assert REFERENCE.keys() == FORMS.keys() == {*SAVES, "forest"}
    for form, name in REFERENCE.items():
        assert form in ENGINES[name].reads


def test_ranks_are_different_and_every_extra_is_there():
    for place in ("cpu", "gpu"):
        ranks = [engine.rank[place] for engine in ENGINES.values() if place in engine.rank]
        assert len(set(ranks)) == len(ranks) > 0
    for name, engine in ENGINES.items():
        assert engine.name == name
        assert engine.extra == extras.EXTRAS.get(engine.package, "")
        assert engine.extra or name == "forest"
        assert {place for found in engine.distributions.values() for place in found} == {
            *engine.rank
        }


def test_whether_it_is_installed_is_known_without_importing_it():
    code = (
        "import sys\n"
        "from cellmill.inference.registry import ENGINES\n"
        "for e in ENGINES.values(): print(e.name, e.is_installed, e.version, *e.places)\n"
        "assert not {e.package for e in ENGINES.values()} & sys.modules.keys()\n"
        "assert not any(e.module in sys.modules for e in ENGINES.values())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert said.keys() == ENGINES.keys()
    for name, (is_installed, version, *places) in said.items():
        assert is_installed == "True"
        assert version == ENGINES[name].version
        assert version[0].isdigit()
        assert "cpu" in places


@each_pair
@pytest.mark.parametrize("threads", [0, 1, 3])
def test_its_heads_are_the_networks(tiny, engine, form, threads):
    folders, expected = tiny
    network = load_network(folders[form], card(), engine=engine, threads=threads)
    assert close(network(TILES), expected)
    assert network.effect["engine"] == engine
    assert network.effect[ENGINES[engine].package].split("+")[0]
    assert (network.effect["device"], network.effect["precision"]) == ("cpu", "float32")
    assert network.effect["threads"] >= threads or engine == "tensorflow"
    assert network.gpu_peak_bytes() == 0


@pytest.fixture(scope="module")
def loaded(tiny):
    """The tiny network in every engine, by engine and form."""
    folders, _ = tiny
    return {pair: load_network(folders[pair[1]], card(), engine=pair[0]) for pair in PAIRS}


@each_pair
@given(
    st.lists(st.integers(0, len(TILES) - 1), min_size=1, max_size=11),
    st.sampled_from([0.01, 1, 30]),
)
@settings(max_examples=15, deadline=None)
def test_any_tiles_in_any_number(loaded, engine, form, places, scale):
    tiles = TILES[places] * np.float32(scale)
    reference = loaded[REFERENCE[form], form](tiles)
    assert close(loaded[engine, form](tiles), reference, 1e-5 * max(1, scale))


@each_pair
def test_a_tile_depends_on_no_other_of_its_batch_to_the_bit(loaded, engine, form):
    network = loaded[engine, form]
    whole = network(TILES)
    shuffled = network(TILES[::-1])
    for head, wanted in zip(shuffled, whole, strict=True):
        assert np.array_equal(head[::-1], wanted)
    others = network(np.concatenate([TILES[:3], np.zeros_like(TILES[:2])]))
    for head, wanted in zip(others, whole, strict=True):
        assert np.array_equal(head[:3], wanted[:3])


@each_pair
def test_it_repeats_to_the_bit(tiny, loaded, engine, form):
    again = load_network(tiny[0][form], card(), engine=engine)
    for a, b in zip(again(TILES), loaded[engine, form](TILES), strict=True):
        assert np.array_equal(a, b)


@each_pair
def test_windows_are_the_whole_to_the_bit(loaded, engine, form):
    network = loaded[engine, form]
    source = np.random.default_rng(1).random((190, 200, 1), dtype=np.float32)
    grid = TileGrid.over((190, 200), (32, 32))
    whole = [np.zeros((190, 200, n), np.float32) for n in (1, 3)]
    predict_tiled(source, network, grid, whole, 8)
    for window in (Box(0, 190, 100, 164), Box(77, 80, 0, 200), Box(150, 190, 190, 200)):
        parts = [np.zeros((190, 200, n), np.float32) for n in (1, 3)]
        predict_tiled(source, network, grid, parts, 8, window=window)
        for part, all_of_it in zip(parts, whole, strict=True):
            assert np.array_equal(part[window.slices], all_of_it[window.slices])


@each_pair
def test_heads_that_are_not_asked_for_are_left_out(tiny, loaded, engine, form):
    whole = loaded[engine, form](TILES)
    for name, place in (("distance", 0), ("pixelwise", 1)):
        network = load_network(tiny[0][form], card(), engine=engine, heads=[name])
        (alone,) = network(TILES)
        assert np.array_equal(alone, whole[place])


@each_pair
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_a_network_of_one_batch_size_is_fed_whole_batches(tmp_path, engine, form, batch):
    module = SAVES[form](tmp_path, batch=batch)
    network = load_network(tmp_path, card(), engine=engine)
    for tiles in (TILES, TILES[:1], TILES[:4]):
        assert close(network(tiles), [head.numpy() for head in module.heads(tiles)])


@each_pair
@pytest.mark.parametrize("tile", [(9, 40), (33, 20), (8, 8)])
def test_odd_tiles_and_channels(tmp_path, engine, form, tile):
    module = SAVES[form](tmp_path, channels=2, tile=tile)
    tiles = np.random.default_rng(2).random((3, *tile, 2), dtype=np.float32)
    network = load_network(tmp_path, card(channels=("a", "b"), tile=tile), engine=engine)
    assert close(network(tiles), [head.numpy() for head in module.heads(tiles)])


@each_pair
def test_sides_that_the_network_leaves_free(tmp_path, engine, form):
    module = SAVES[form](tmp_path, tile=(None, None))
    network = load_network(tmp_path, card(), engine=engine)
    assert close(network(TILES), [head.numpy() for head in module.heads(TILES)])


@each_pair
def test_tiles_that_are_fitted_to_images(tmp_path, engine, form):
    """Any sides that the network takes, in any order; one of fixed sides is refused."""
    fitted = replace(card(), tiling=replace(card().tiling, fitted=True))
    for name, sides in (("free", (None, None)), ("fixed", (32, 32))):
        (tmp_path / name).mkdir()
        module = SAVES[form](tmp_path / name, tile=sides)
    with pytest.raises(BadInput, match="expected free sides, for its card says"):
        load_network(tmp_path / "fixed", fitted, engine=engine)
    network = load_network(tmp_path / "free", fitted, engine=engine)
    for rows, columns in ((32, 32), (16, 32), (24, 20), (32, 32)):
        tiles = np.ascontiguousarray(TILES[:, :rows, :columns])
        assert close(network(tiles), [head.numpy() for head in module.heads(tiles)])


@each_pair
@pytest.mark.parametrize("stride", [2, 4])
def test_heads_of_fewer_values_than_pixels(tmp_path, engine, form, stride):
    module = SAVES[form](tmp_path, stride=stride)
    expected = [head.numpy() for head in module.heads(TILES)]
    assert expected[1].shape[1] == 32 // stride
    network = load_network(tmp_path, card(stride=stride), engine=engine)
    assert close(network(TILES), expected)
    with pytest.raises(BadInput, match=r"outputs of model .*pixelwise: \(32, 32, 3\)"):
        load_network(tmp_path, card(), engine=engine)


@each_pair
def test_heads_come_in_the_cards_order(tmp_path, tiny, loaded, engine, form):
    # Spelt, s_10 comes before s_9.
    module = SAVES[form](tmp_path, names=("s_9", "s_10"))
    heads = load_network(tmp_path, card(), engine=engine)(TILES)
    assert close(heads, [head.numpy() for head in module.heads(TILES)])
    swapped = card(heads=(("pixelwise", 3), ("distance", 1)))
    first, second = load_network(tiny[0][form], swapped, engine=engine)(TILES)
    distance, pixelwise = loaded[engine, form](TILES)
    assert np.array_equal(first, pixelwise)
    assert np.array_equal(second, distance)
    # A network may give more than the card asks for, if the names say what.
    (alone,) = load_network(tiny[0][form], card(heads=(("pixelwise", 3),)), engine=engine)(TILES)
    assert close([alone], [pixelwise])


@each_pair
def test_heads_that_are_not_finite_are_refused(loaded, engine, form):
    with pytest.raises(BadInput, match=r"finite values, found NaN or infinity.*float32"):
        loaded[engine, form](TILES * np.float32(np.inf))


@each_pair
def test_networks_that_are_not_the_cards_or_not_read(tiny, tmp_path, engine, form):
    folder = tiny[0][form]
    for wrong, message in (
        ({"channels": ("a", "b")}, r"input of model .*\(N, 32, 32, 2\).*found \(\?, 32, 32, 1\)"),
        ({"tile": (64, 32)}, r"\(N, 64, 32, 1\) floats"),
        ({"heads": (("distance", 1), ("pixelwise", 2))}, r"2 heads .*pixelwise: \(32, 32, 2\)"),
        (
            {"heads": (("x", 1), ("y", 3), ("z", 1))},
            r"named as the card's heads \(x, y, z\), found distance, pixelwise",
        ),
    ):
        with pytest.raises(BadInput, match=message):
            load_network(folder, card(**wrong), engine=engine)
    (tmp_path / FORMS[form].graph).write_bytes(b"no protocol buffer")
    with pytest.raises(BadInput, match=r"expected an? .*, found damage"):
        load_network(tmp_path, card(), engine=engine)
    # What is taken on trust the engine itself finds damaged.
    with pytest.raises(BadInput, match=r"expected an? .* that \w+( \w+)? reads"):
        load_network(tmp_path, card(), engine=engine, trusted=True)


@pytest.mark.parametrize("engine", dict(PAIRS))
def test_impossible_settings(tiny, engine):
    folder = tiny[0][ENGINES[engine].reads[0]]
    for wrong, message in (
        ({"device": "tpu"}, "device: expected one of auto, cpu, gpu, found tpu"),
        ({"precision": "int8"}, "precision: expected one of"),
        ({"threads": -1}, "threads: expected 0 or more, found -1"),
    ):
        with pytest.raises(BadInput, match=message):
            load_network(folder, card(), engine=engine, **wrong)
    lacking = {"mixed_bfloat16", "mixed_float16"} - {*ENGINES[engine].precisions}
    for precision in lacking:
        with pytest.raises(BadInput, match=f"precision: expected float32.* with engine {engine}"):
            load_network(folder, card(), engine=engine, precision=precision)
    if "gpu" not in ENGINES[engine].rank:
        with pytest.raises(BadInput, match=f"device: expected auto or cpu with engine {engine}"):
            load_network(folder, card(), engine=engine, device="gpu")
    elif "gpu" not in ENGINES[engine].places:
        with pytest.raises(BadInput, match=r"device: expected a GPU that .* can use"):
            load_network(folder, card(), engine=engine, device="gpu")


def test_no_such_engine(tiny):
    with pytest.raises(
        BadInput, match=r"engine: expected one of auto, tensorflow, .*, found caffe"
    ):
        load_network(tiny[0]["onnx"], card(), engine="caffe")


def test_an_engine_says_which_form_it_reads(tiny):
    for engine in ENGINES.values():
        for form in SAVES.keys() - {*engine.reads}:
            with pytest.raises(BadInput, match=f"engine {engine.name}: expected a model that it"):
                load_network(tiny[0][form], card(), engine=engine.name)


@each_pair
def test_an_engine_that_is_not_there_is_one_line(tiny, monkeypatch, engine, form):
    monkeypatch.setitem(sys.modules, ENGINES[engine].package, None)
    assert not ENGINES[engine].is_installed
    asked = rf"engine {engine}: expected .*\(pip install 'cellmill\[{ENGINES[engine].extra}\]'\)"
    with pytest.raises(BadInput, match=asked):
        load_network(tiny[0][form], card(), engine=engine)


def test_what_an_engine_computes_on_is_known_by_its_distribution(monkeypatch):
    alone = dataclasses.replace(ENGINES["tensorflow"], distributions={"numpy": ("cpu",)})
    assert alone.places == ("cpu",)
    both = dataclasses.replace(alone, distributions={"numpy": ("cpu", "gpu"), "no-such": ("cpu",)})
    assert both.places == ("gpu", "cpu")
    unknown = dataclasses.replace(alone, distributions={"no-such": ("cpu",)})
    assert unknown.places == ("gpu", "cpu")
    assert unknown.version == ""
