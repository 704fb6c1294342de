"""A training goes on from the networks that another wrote, of planes or of volumes."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from cellmill.errors import BadInput
from cellmill.models.fetch import FetchedModel
from cellmill.style_transfer.base import begin_with, load_base
from cellmill.style_transfer.cyclegan import build_networks
from cellmill.style_transfer.network import (
    build_generator,
    export_generator,
    export_table,
    generator_card,
    inflated,
)
from cellmill.style_transfer.parameters import TransferParameters
from cellmill.style_transfer.sampling import Source
from cellmill.style_transfer.training import Domain, averaged_generator, train
from cellmill.style_transfer.volumes import open_volume
from tests.style_transfer.generators import tissue

pytestmark = pytest.mark.tensorflow
PLANES = TransferParameters(
    depth=1, width=2, discriminator_width=2, crop=48, batch_size=1, planes="z", steps=1
)
VOLUMES = replace(PLANES, steps=0, volume_steps=1, sections=13)


def written(folder, *, volume=False, seed=0, step=1, made=PLANES):
    """A network as a training writes it, and its weights."""
    generator = build_generator(2, depth=1, residual=False, volume=volume)
    random = np.random.default_rng(seed)
    generator.set_weights([random.normal(0, 0.3, weight.shape) for weight in generator.weights])
    reach = (VOLUMES if volume else PLANES).reach_at(step)
    if step < 0:
        export_table(np.arange(256, dtype=np.float32), folder, reach)
    else:
        export_generator(generator, folder, (120.0, 40.0), (110.0, 50.0))
    said = {"parameters": asdict(made), "chosen": {"step": step, "name": "histogram"}}
    card = generator_card("made", reach=reach, training=said)
    return FetchedModel(folder, card, f"{folder.name}"), generator.get_weights()


@pytest.fixture
def networks(request, tmp_path):
    made = []
    for n, name in enumerate(("to_y", "to_x")):
        (tmp_path / name).mkdir()
        made.append(written(tmp_path / name, volume=request.param, seed=n))
    return made


@pytest.mark.parametrize("networks", [False, True], indirect=True)
def test_it_begins_as_what_was_written(networks, tmp_path):
    """And goes on: the first checkpoint is the base, of volumes whichever it was."""
    (to_y, _), (to_x, _) = networks
    base = load_base(to_y, to_x, VOLUMES)
    made = build_networks(VOLUMES)
    begin_with(made, base, VOLUMES)
    volume = open_volume(tissue((13, 52, 50)))
    domain = Domain([Source(volume)], (128.0, 50.0))
    curve = train(made, domain, domain, VOLUMES, tmp_path / "kept")
    assert [each.step for each in curve] == [0, 1]
    for back, (_, weights) in enumerate(networks):
        begun = averaged_generator(tmp_path / "kept", 0, VOLUMES, back=bool(back))
        assert len(begun.inputs[0].shape) == 5
        for own, wanted in zip(begun.get_weights(), inflated(weights, begun), strict=True):
            np.testing.assert_array_equal(own, wanted)
        learnt = averaged_generator(tmp_path / "kept", 1, VOLUMES, back=bool(back))
        both = zip(begun.get_weights(), learnt.get_weights(), strict=True)
        assert any((a != b).any() for a, b in both)
    # Checkpoints are of a training from this base, not of one from nothing.
    anew = build_networks(VOLUMES)
    seen = []
    train(anew, domain, domain, VOLUMES, tmp_path / "kept", seen.append)
    assert seen == [1]


@pytest.mark.parametrize(
    ("given", "asked", "line"),
    [
        ({}, {"width": 4}, "base 'a': expected width 4, depth 1, residual False, found width 2"),
        ({}, {"residual": True}, "expected width 2, depth 1, residual True, found"),
        ({"step": -1}, {}, "base 'a': expected a network that was learnt, found histogram"),
        (
            {"volume": True},
            {"steps": 1},
            "base 'a': expected a network of planes, or steps 0",
        ),
    ],
)
def test_what_it_cannot_go_on_from_is_one_line(tmp_path, given, asked, line):
    (tmp_path / "a").mkdir()
    network, _ = written(tmp_path / "a", **given)
    with pytest.raises(BadInput) as found:
        load_base(network, network, replace(VOLUMES, **asked))
    assert line in str(found.value)
    card = replace(network.card, training={})
    with pytest.raises(BadInput, match="a network that train_style_transfer wrote, found another"):
        load_base(replace(network, card=card), network, VOLUMES)


def test_networks_of_both_directions_are_of_one_kind(tmp_path):
    made = []
    for name, volume in (("a", False), ("b", True)):
        (tmp_path / name).mkdir()
        made.append(written(tmp_path / name, volume=volume)[0])
    with pytest.raises(BadInput, match="base_back: expected a network of the kind of base"):
        load_base(*made, VOLUMES)
