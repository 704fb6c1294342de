"""A network is known by the files that lie beside the card: one form, whole, and its digest."""

import pytest

from cellmill.errors import BadInput
from cellmill.models.card import ModelCard
from cellmill.models.fetch import copy_model, fetch_model
from cellmill.models.networks import FORMS, network_digest, network_files, network_form
from cellmill.models.shipped import default_model


def fill(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_the_form_is_that_of_the_graph(tmp_path, form):
    fill(tmp_path, FORMS[form].graph, "model.json", "notes/variables")
    assert network_form(tmp_path) == form
    assert network_files(tmp_path) == [tmp_path / FORMS[form].graph]


def test_none_or_both_is_one_line(tmp_path):
    with pytest.raises(BadInput, match=r"expected one network beside its card, .*, found none"):
        network_form(tmp_path)
    fill(tmp_path, "saved_model.pb", "network.onnx")
    for look in (network_form, network_files, network_digest):
        with pytest.raises(BadInput, match=r"found saved_model.pb and network.onnx"):
            look(tmp_path)


def test_the_digest_is_of_all_of_the_network_and_nothing_else(tmp_path):
    fill(tmp_path, "saved_model.pb", "variables/variables.index", "assets.extra/deep/x", "other")
    found = network_digest(tmp_path)
    fill(tmp_path, "model.json", "README", "variables.txt")
    (tmp_path / "other").unlink()
    assert network_digest(tmp_path) == found
    for name in ("saved_model.pb", "variables/variables.index", "assets.extra/deep/x"):
        (tmp_path / name).write_bytes(b"changed")
        before, found = found, network_digest(tmp_path)
        assert found != before
    (tmp_path / "assets.extra/deep/x").rename(tmp_path / "assets.extra/deep/y")
    assert network_digest(tmp_path) != found


def test_an_onnx_model_is_fetched_and_copied_whole(tmp_path):
    made = fill(tmp_path / "made", "network.onnx", "network.onnx.data", "saved.txt")
    card = ModelCard.load(default_model())
    card.save(made)
    for source in (str(made), made.as_uri(), "memory"):
        if source == "memory":
            fsspec = pytest.importorskip("fsspec")
            fsspec.filesystem("memory").put(f"{made}/", "memory://bucket/made/", recursive=True)
            source = "memory://bucket/made"
        fetched = fetch_model(source)
        assert fetched.card == card
        copy = tmp_path / f"copy{len(source)}"
        copy_model(fetched, copy)
        assert sorted(p.name for p in copy.iterdir()) == [
            "model.json", "network.onnx", "network.onnx.data"
        ]  # fmt: skip
        assert network_digest(copy) == network_digest(made)


def test_a_model_of_two_networks_is_refused_when_it_is_fetched(tmp_path):
    fill(tmp_path, "network.onnx", "saved_model.pb")
    ModelCard.load(default_model()).save(tmp_path)
    with pytest.raises(BadInput, match=r"found saved_model.pb and network.onnx"):
        fetch_model(str(tmp_path))
