"""`auto`: the fastest engine that is there and proves equal; the record says why."""

import dataclasses
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from cellmill.errors import BadInput
from cellmill.inference import engines, proofs
from cellmill.inference.engines import has_gpu, load_network
from cellmill.inference.proofs import (
    BOUND,
    known_proof,
    largest_difference,
    probe_tiles,
    proof_of,
    prove,
)
from cellmill.inference.registry import ENGINES, REFERENCE
from cellmill.models.card import ModelCard
from cellmill.models.card_origin import EngineProof
from cellmill.models.networks import network_digest, network_form
from cellmill.models.shipped import shipped_models
from launch import ROOT
from tests.inference import toy_engine
from tests.inference.tiny_models import SAVES, card
from tests.inference.toy_engine import STATE, TOY

pytestmark = pytest.mark.tensorflow

TILES = np.random.default_rng(0).random((3, 32, 32, 1), dtype=np.float32)
needs_no_gpu = pytest.mark.skipif(has_gpu(), reason="there is a GPU")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cellmill" / "engines"


@pytest.fixture(params=SAVES)
def tiny(request, tmp_path):
    SAVES[request.param](tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setitem(ENGINES, "toy", TOY)
    monkeypatch.setitem(STATE, "error", 0.0)
    monkeypatch.setitem(STATE, "loads", 0)
    return TOY


def without(monkeypatch, *packages):
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)


def auto(folder, made=None, **options):
    return load_network(folder, made or card(), **{"device": "cpu", **options})


def never(*_, **__):
    raise AssertionError("it was proven before")


def test_the_fastest_is_taken_once_it_is_proven(tiny, cache):
    network = auto(tiny)
    reference = ENGINES[REFERENCE[network_form(tiny)]]
    assert network.effect["engine"] == "openvino"
    assert network.effect["engine_chosen"] == "auto: fastest on cpu, proven equal"
    assert network.effect["largest_difference"] <= 1e-5
    assert network.effect["largest_difference_from"] == f"{reference.name} {reference.version}"
    assert len([*cache.iterdir()]) == 1
    for head, wanted in zip(
        network(TILES), reference.open(tiny, card(), device="cpu")(TILES), strict=True
    ):
        assert np.abs(head - wanted).max() <= 1e-5


def test_it_is_proven_once(tiny, toy, monkeypatch):
    assert auto(tiny).effect["engine"] == "toy"
    loads = STATE["loads"]
    monkeypatch.setattr(proofs, "prove", never)
    network = auto(tiny)
    assert network.effect["engine_chosen"] == "auto: fastest on cpu, proven equal"
    assert network.effect["largest_difference"] == 0
    assert STATE["loads"] == loads + 1
    # Other bytes are another network, another version another engine.
    variables = sorted(tiny.rglob("*"))[-1]
    before = network_digest(tiny)
    variables.write_bytes(variables.read_bytes() + b"")
    assert network_digest(tiny) == before
    (tiny / {"savedmodel": "assets", "onnx": "."}[network_form(tiny)]).mkdir(exist_ok=True)
    extra = {"savedmodel": "assets/more", "onnx": "network.onnx.data"}[network_form(tiny)]
    (tiny / extra).write_bytes(b"more")
    with pytest.raises(AssertionError, match="proven before"):
        auto(tiny)
    (tiny / extra).unlink()
    assert auto(tiny).effect["engine"] == "toy"
    monkeypatch.setattr(type(toy), "version", property(lambda self: "another"))
    with pytest.raises(AssertionError, match="proven before"):
        auto(tiny)


def test_one_that_differs_is_passed_over_and_that_is_kept_too(tiny, toy, monkeypatch):
    STATE["error"] = 2 * BOUND
    network = auto(tiny)
    assert network.effect["engine"] == "openvino"
    said = network.effect["engines_passed_over"]["toy on cpu"]
    assert re.match(r"its heads differ by 0\.0002, from (tensorflow|onnxruntime) \d", said)
    STATE["error"] = 0.0
    monkeypatch.setattr(proofs, "prove", never)
    assert auto(tiny).effect["engine"] == "openvino"
    # Who names it has it.
    named = load_network(tiny, card(), engine="toy")
    assert named.effect["engine_chosen"] == "named"
    assert named.effect["largest_difference"] == 2 * BOUND


def test_what_the_card_says_is_believed_of_the_same_network_and_version(tiny, toy, monkeypatch):
    reference = ENGINES[REFERENCE[network_form(tiny)]].name
    said = EngineProof(toy.version, f"{reference} 1", 3e-7, network_digest(tiny))
    monkeypatch.setattr(proofs, "prove", never)
    network = auto(tiny, dataclasses.replace(card(), engines={"toy": said}))
    assert network.effect["engine"] == "toy"
    assert network.effect["largest_difference"] == 3e-7
    assert network.effect["largest_difference_from"] == f"{reference} 1"
    for changes in ({"version": "0"}, {"network": "sha256:0"}):
        stale = dataclasses.replace(card(), engines={"toy": dataclasses.replace(said, **changes)})
        assert known_proof(tiny, stale, toy) is None
        with pytest.raises(AssertionError, match="proven before"):
            auto(tiny, stale)
    both = {
        "toy": dataclasses.replace(said, largest_difference=1.0),
        "openvino": dataclasses.replace(said, version=ENGINES["openvino"].version),
    }
    assert auto(tiny, dataclasses.replace(card(), engines=both)).effect["engine"] == "openvino"


def test_one_that_cannot_run_the_network_is_passed_over(tiny, toy, monkeypatch):
    def broken(*_, **__):
        raise BadInput("model", expected="what it reads", found="an operation that it lacks")

    monkeypatch.setattr(toy_engine, "load", broken)
    network = auto(tiny)
    assert network.effect["engine"] == "openvino"
    assert "an operation that it lacks" in network.effect["engines_passed_over"]["toy on cpu"]


def test_a_wrong_card_is_told_as_the_reference_tells_it(tiny):
    with pytest.raises(BadInput, match=r"outputs of model .*pixelwise: \(32, 32, 2\)"):
        auto(tiny, card(heads=(("distance", 1), ("pixelwise", 2))))


def test_the_only_engine_is_taken_and_the_record_says_that_nothing_proves_it(tiny, monkeypatch):
    without(monkeypatch, "tensorflow", "onnxruntime")
    network = auto(tiny)
    reference = REFERENCE[network_form(tiny)]
    assert network.effect["engine"] == "openvino"
    why = f"auto: fastest on cpu, not proven, since {reference} is not installed"
    assert network.effect["engine_chosen"] == why
    assert "largest_difference" not in network.effect
    # What is known to differ is not taken in silence.
    said = EngineProof(ENGINES["openvino"].version, "x 1", 0.5, network_digest(tiny))
    made = dataclasses.replace(card(), engines={"openvino": said})
    with pytest.raises(BadInput, match=r"engine openvino: expected heads that differ by at most"):
        auto(tiny, made)
    assert load_network(tiny, made, engine="openvino").effect["largest_difference"] == 0.5


def test_without_openvino_the_reference_is_taken(tiny, monkeypatch):
    without(monkeypatch, "openvino")
    network = auto(tiny)
    assert network.effect["engine"] == REFERENCE[network_form(tiny)]
    assert network.effect["engine_chosen"] == "auto: fastest on cpu, its heads are the reference"


def test_no_engine_at_all_is_one_line_that_names_what_to_install(tiny, monkeypatch):
    without(monkeypatch, "openvino", "tensorflow", "onnxruntime")
    with pytest.raises(BadInput, match=r"engine auto: expected one that reads .*found none") as bad:
        auto(tiny)
    for engine in ENGINES.values():
        line = f"pip install 'cellmill[{engine.extra}]'"
        assert (line in str(bad.value)) == (network_form(tiny) in engine.reads)


def test_a_precision_that_only_one_has(tmp_path):
    for form, save in SAVES.items():
        save(tmp_path / form)
    network = auto(tmp_path / "savedmodel", precision="mixed_float16")
    assert network.effect["engine"] == "tensorflow"
    # Where the processor has it; what is proven is proven in float32.
    network = auto(tmp_path / "savedmodel", precision="mixed_bfloat16")
    chosen = network.effect["engine"], network.effect["engine_chosen"].split(", ")[1]
    assert chosen in (
        ("openvino", "proven equal in float32"),
        ("tensorflow", "its heads are the reference"),
    )
    with pytest.raises(BadInput, match="expected one that computes mixed_float16 on device cpu"):
        auto(tmp_path / "onnx", precision="mixed_float16")


@needs_no_gpu
def test_a_gpu_that_is_not_there(tiny):
    with pytest.raises(BadInput, match=r"(device|engine auto): expected .*(GPU|device gpu)"):
        auto(tiny, device="gpu")


def test_a_gpu_is_seen_by_its_driver_and_hidden_by_the_user(tmp_path, monkeypatch):
    driver = tmp_path / "nvidiactl"
    monkeypatch.setattr(engines, "_DRIVERS", (str(driver),))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert not has_gpu()
    driver.touch()
    assert has_gpu()
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert not has_gpu()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert has_gpu()


@needs_no_gpu
def test_a_driver_without_a_gpu_ends_on_the_cpu(tiny, monkeypatch):
    """A build for GPUs that finds none is passed over for the fastest on the CPU."""
    monkeypatch.setattr(engines, "has_gpu", lambda: True)
    for engine in ("tensorflow", "onnxruntime"):
        both = dict.fromkeys(ENGINES[engine].distributions, ("cpu", "gpu"))
        changed = dataclasses.replace(ENGINES[engine], distributions=both)
        monkeypatch.setitem(ENGINES, engine, changed)
    network = load_network(tiny, card())
    assert (network.effect["engine"], network.effect["device"]) == ("openvino", "cpu")
    ((name, why),) = network.effect["engines_passed_over"].items()
    assert name == f"{REFERENCE[network_form(tiny)]} on gpu"
    assert "GPU" in why


@pytest.mark.skipif(os.geteuid() == 0 and not os.path.isdir("/proc"), reason="no such file system")
def test_a_cache_that_cannot_be_written_costs_time_alone(tiny, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert auto(tiny).effect["engine_chosen"] == "auto: fastest on cpu, proven equal"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}'])
def test_a_cache_that_is_damaged_is_made_anew(tiny, toy, cache, text):
    first = proof_of(tiny, card(), toy)
    (path,) = cache.iterdir()
    whole = path.read_text()
    path.write_text(text)
    assert known_proof(tiny, card(), toy) is None
    assert proof_of(tiny, card(), toy) == first
    assert path.read_text() == whole


def test_probes_are_what_networks_are_given():
    made = card(channels=("a", "b"), tile=(40, 24))
    tiles = probe_tiles(made)
    assert tiles.shape[1:] == (40, 24, 2)
    assert tiles.dtype == np.float32
    assert np.array_equal(tiles, probe_tiles(made))
    assert len({tile.tobytes() for tile in tiles}) == len(tiles) == 4
    assert np.isfinite(tiles).all()
    assert not tiles[0].any()
    assert tiles.min() < 0
    assert tiles.max() > 1


def test_a_difference_is_a_part_of_what_is_above_1():
    head = np.array([0.5, -0.25], np.float32)
    assert largest_difference([head + 0.125, head], [head, head]) == 0.125
    assert largest_difference([head, 40 * head + 5], [head, 40 * head]) == 0.25


@pytest.mark.parametrize("folder", shipped_models().values(), ids=shipped_models())
def test_cards_of_shipped_models_say_it_of_the_engines_in_the_lock(folder):
    """If this fails, `make prove-engines`."""
    made, form = ModelCard.load(folder), network_form(folder)
    lock = (ROOT / "images" / "tensorflow" / "requirements.lock").read_text()
    others = {e.name for e in ENGINES.values() if form in e.reads} - {REFERENCE[form]}
    assert made.engines.keys() == others
    for name, proof in made.engines.items():
        (pinned,) = re.findall(rf"^{name}==(\S+)", lock, re.M)
        assert proof.version == pinned
        assert proof.network == network_digest(folder)
        assert proof.largest_difference <= BOUND
        again = prove(folder, made, ENGINES[name])
        assert again.largest_difference <= BOUND
        assert dataclasses.replace(again, largest_difference=0) == dataclasses.replace(
            proof, largest_difference=0
        )


def test_the_command_writes_cards(tiny, capsys):
    card().save(tiny)
    assert proofs.main([str(tiny)]) == 0
    made = ModelCard.load(tiny)
    assert dataclasses.replace(made, engines={}) == card()
    assert made.engines["openvino"].network == network_digest(tiny)
    said = capsys.readouterr().out
    assert re.fullmatch(r"tiny: openvino \S+ differs from \S+ \S+ by \S+: equal\n", said)
    assert proofs.main([str(tiny / "nothing")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_a_shipped_model_is_loaded_without_importing_tensorflow():
    code = (
        "import sys\n"
        "from cellmill.inference.engines import load_network\n"
        "from cellmill.models.fetch import fetch_model\n"
        "model = fetch_model('')\n"
        "network = load_network(model.folder, model.card, device='cpu')\n"
        "assert network.effect['engine'] == 'openvino', network.effect\n"
        "assert not {'tensorflow', 'onnxruntime', 'keras'} & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
