"""What every method of the registry does, the next one too; a toy shows that one line is enough."""

import dataclasses
import json
import random
import subprocess
import sys

import numpy as np
import pytest

from cellmill.arrays.windows import Grid
from cellmill.arrays.workspace import MemoryWorkspace, StoredWorkspace
from cellmill.errors import BadInput
from cellmill.labels.numbering import canonical_labels
from cellmill.labels.tiles import find_objects, number_objects
from cellmill.models.card import ModelCard, known_cards
from cellmill.models.shipped import shipped_models
from cellmill.segmentation import methods
from cellmill.segmentation.interface import NUMBERINGS, Maps
from cellmill.segmentation.methods import (
    METHODS,
    Recipe,
    Source,
    check_card,
    find_method,
    open_tiled,
    recipe_of,
    recipes_of,
    run_tiled,
    why_whole,
)
from cellmill.segmentation.parameters import parameters_of
from tests.segmentation.examples import EXAMPLES

pytestmark = pytest.mark.usefixtures("toy_method")

SHAPES = [(1, 1), (1, 9), (9, 1), (31, 57), (80, 90)]
VOLUMES = [(1, 1, 1), (1, 20, 25), (7, 1, 12), (12, 34, 40)]
CASES = [(name, i) for name, each in EXAMPLES.items() for i in range(len(each.parameters))]
IDS = [f"{name}-{i}" for name, i in CASES]
MESMER = known_cards()["Mesmer"]


def test_every_method_is_tried():
    assert set(METHODS) == set(EXAMPLES)


@pytest.fixture(params=CASES, ids=IDS)
def case(request):
    """A method, one of its parameters, and what gives maps."""
    name, i = request.param
    return find_method(name), EXAMPLES[name].parameters[i], EXAMPLES[name].maps


@pytest.fixture(params=EXAMPLES)
def method(request):
    return find_method(request.param)


def takes(method, shape):
    """Go on only if a method takes what has this shape."""
    if len(shape) == 3 and not method.volumes:
        pytest.skip("it takes images, no volumes")


def takes_tiled(method, shape):
    """Go on only if a method's tiled form takes what has this shape."""
    if method.tiled is None:
        pytest.skip("it has no tiled form")
    if not method.tiled.takes(shape):
        pytest.skip("its tiled form takes images, no volumes")


def recipe_with(method, parameters):
    return Recipe(method, {role.name: Source("head") for role in method.roles}, parameters)


def flat_maps(method, shape, value):
    """Maps without shape: what the method's example gives, or one value for each pixel."""
    if (flat := EXAMPLES[method.name].flat) is not None:
        return Maps.of(**flat(value, shape))
    planes = {}
    for role in method.roles:
        channels = (len(shape) == 3 and role.volume_channels) or role.channels
        last = (channels,) if channels > 1 else ()
        planes[role.name] = np.full((*shape, *last), value, np.float32)
    return Maps.of(**planes)


def tiled(method, parameters, maps, side, workspace=None):
    """Canonical labels of the tiled form, in memory."""
    recipe = recipe_with(method, parameters)
    work, counts = run_tiled(recipe, maps, side, workspace or MemoryWorkspace(), 2)
    assert all(isinstance(count, int) for count in counts.values())
    return numbered(work.labels(2), maps.shape, side)


def numbered(labels, shape, side):
    grid = Grid(shape, side)
    out = np.zeros(shape, np.int32)
    number_objects(labels, find_objects(labels, grid), out, grid)
    return out


# What a method says of itself.


def test_it_is_called_as_the_registry_calls_it(method):
    assert METHODS[method.name]
    assert find_method(method.name) is method
    assert method.summary.endswith(".")
    assert all(role.name.isidentifier() and role.meaning for role in method.roles)


def test_parameters_are_described_checked_and_have_defaults(method):
    default = method.parameters()
    for each in parameters_of(method.parameters):
        assert each.description.endswith("."), each.name
        assert each.type in (int, float, bool, str)
        assert getattr(default, each.name) == each.default
        assert each.range
        if each.type in (int, float):
            assert each.allows(each.default)
            for value in each.tried(each.default) if each.tried else ():
                assert isinstance(value, int | float)
    assert dataclasses.fields(method.parameters)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(default, dataclasses.fields(default)[0].name, 1)


def wrong_values():
    """Of each parameter of each method, values that it may not have, and what is expected."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "toy", "tests.segmentation.toy")
        for name in EXAMPLES:
            for each in parameters_of(find_method(name).parameters):
                wrong = {
                    str: [7, "none of these", None],
                    bool: [2, "yes"],
                    int: [0.5, "x", True, None, float("nan")],
                    float: ["x", True, None, float("nan"), float("inf")],
                }[each.type]
                wrong += [each.least - 1] if each.least is not None else []
                wrong += [each.most + 1] if each.most is not None else []
                wrong += [each.above] if each.above is not None else []
                yield from ((name, each.name, value) for value in wrong)


@pytest.mark.parametrize(("name", "parameter", "value"), [*wrong_values()])
def test_a_value_out_of_range_is_refused_in_one_line(name, parameter, value):
    with pytest.raises(BadInput) as error:
        find_method(name).parameters(**{parameter: value})
    assert str(error.value).startswith(f"{parameter}: expected ")
    plain = {"method": name, **plain_heads(find_method(name)), parameter: value}
    with pytest.raises(BadInput) as error:
        recipe_of(plain, {"head": 9}, "postprocessing.cells")
    assert str(error.value).startswith(f"postprocessing.cells.{parameter}: expected ")
    assert "\n" not in str(error.value)


def plain_heads(method):
    return {f"{role.name}_head": "head" for role in method.roles}


def test_unknown_names_are_refused_with_those_that_there_are(method):
    plain = {"method": method.name, **plain_heads(method)}
    with pytest.raises(BadInput) as error:
        recipe_of({**plain, "tresholt": 1}, {"head": 9}, "here")
    known = [each.name for each in parameters_of(method.parameters)]
    assert str(error.value).startswith("here: expected only ")
    assert all(name in str(error.value) for name in known)
    assert str(error.value).endswith("found 'tresholt'")
    for role in method.roles:
        with pytest.raises(BadInput, match=rf"^here.{role.name}_head: expected one of \['head'"):
            recipe_of({**plain, f"{role.name}_head": "else"}, {"head": 9}, "here")
        last = 9 - max(role.channels, 1)
        with pytest.raises(BadInput, match=rf"^here.{role.name}_channel: expected 0 to {last}"):
            recipe_of({**plain, f"{role.name}_channel": 9}, {"head": 9}, "here")


def test_a_recipe_goes_to_a_card_and_back(case):
    method, parameters, _ = case
    recipe = Recipe(method, {r.name: Source("head", 1) for r in method.roles}, parameters)
    plain = json.loads(json.dumps(recipe.plain()))
    assert plain["method"] == method.name
    assert recipe_of(plain, {"head": 64}) == recipe


def test_listing_methods_and_checking_cards_imports_no_kernels():
    code = (
        "import sys\n"
        "from cellmill.models.card import known_cards\n"
        "from cellmill.segmentation import methods\n"
        "from cellmill.segmentation.parameters import parameters_of\n"
        "for name in methods.METHODS:\n"
        "    assert parameters_of(methods.find_method(name).parameters)\n"
        "for card in known_cards().values():\n"
        "    methods.check_card(card)\n"
        "found = {'numba', 'scipy', 'tensorstore', 'cv2'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# What a method does, in memory.


@pytest.mark.parametrize("shape", [*SHAPES, *VOLUMES], ids=str)
def test_labels_are_int32_canonical_and_the_same_each_time(case, shape):
    method, parameters, maps_of = case
    takes(method, shape)
    given = maps_of(1, shape)
    before = {role: array.copy() for role, array in given.items()}
    labels = method.segment(Maps.of(**given), parameters, "canonical")
    assert labels.dtype == np.int32
    assert labels.shape == shape
    np.testing.assert_array_equal(canonical_labels(labels), labels)
    assert labels.max() > 3 or np.prod(shape) < 31 * 57
    again = method.segment(Maps.of(**given), parameters, "canonical")
    np.testing.assert_array_equal(again, labels)
    for role, array in given.items():
        np.testing.assert_array_equal(array, before[role])


@pytest.mark.parametrize("shape", [(60, 70), (9, 31, 33)], ids=str)
def test_the_reference_s_numbers_are_of_the_same_objects(case, shape):
    method, parameters, maps_of = case
    takes(method, shape)
    maps = Maps.of(**maps_of(2, shape))
    canonical, reference = (method.segment(maps, parameters, each) for each in NUMBERINGS)
    np.testing.assert_array_equal(canonical_labels(reference), canonical)
    assert len(np.unique(reference)) == reference.max() + (reference == 0).any()


@pytest.mark.parametrize("shape", [(40, 50), (8, 25, 28)], ids=str)
@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4"])
def test_the_type_of_the_maps_does_not_matter_where_values_are_kept(case, dtype, shape):
    method, parameters, maps_of = case
    takes(method, shape)
    given = {r: a.astype(np.float16).astype(np.float32) for r, a in maps_of(3, shape).items()}
    expected = method.segment(Maps.of(**given), parameters, "canonical")
    other = {role: array.astype(dtype) for role, array in given.items()}
    found = method.segment(Maps.of(**other), parameters, "canonical")
    if dtype == np.float64:  # computed as float64: ties may fall otherwise, objects do not
        assert abs(int(found.max()) - int(expected.max())) <= 1
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", [(40, 50), (8, 25, 28)], ids=str)
def test_how_the_maps_lie_in_memory_does_not_matter(case, shape):
    method, parameters, maps_of = case
    takes(method, shape)
    given = maps_of(4, shape)
    expected = method.segment(Maps.of(**given), parameters, "canonical")
    strided = {role: np.repeat(a[..., None], 3, axis=-1)[..., 1] for role, a in given.items()}
    turned = {role: np.asfortranarray(array) for role, array in given.items()}
    for each in (strided, turned):
        for array in each.values():
            array.flags.writeable = False
        found = method.segment(Maps.of(**each), parameters, "canonical")
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", [(0, 0), (0, 7), (7, 0), (0, 5, 6), (4, 0, 6)], ids=str)
def test_nothing_gives_nothing(case, shape):
    method, parameters, _ = case
    takes(method, shape)
    labels = method.segment(flat_maps(method, shape, 0), parameters, "canonical")
    assert (labels.shape, labels.dtype) == (shape, np.int32)


@pytest.mark.parametrize("shape", [(20, 30), (7, 15, 20)], ids=str)
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_maps_without_shape_have_no_object_or_one(case, value, shape):
    method, parameters, _ = case
    takes(method, shape)
    flat = flat_maps(method, shape, value)
    labels = method.segment(flat, parameters, "canonical")
    assert labels.max() <= (value > 0)
    form = method.tiled
    if form and form.takes(shape) and why_whole(recipe_with(method, parameters)) is None:
        np.testing.assert_array_equal(tiled(method, parameters, flat, 7), labels)


@pytest.mark.parametrize("shape", [(40, 50), (9, 30, 34)], ids=str)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_in_one_line(case, bad, shape):
    method, parameters, maps_of = case
    takes(method, shape)
    for role in method.roles:
        given = {name: array.copy() for name, array in maps_of(5, shape).items()}
        given[role.name][(5, 17, 31)[-len(shape) :]] = bad
        maps = Maps.of(**given)
        with pytest.raises(BadInput, match=rf"{role.name} map: expected finite") as error:
            method.segment(maps, parameters, "canonical")
        assert "\n" not in str(error.value)
        if method.tiled and method.tiled.takes(shape):
            with pytest.raises(BadInput, match=rf"{role.name} map: expected finite"):
                tiled(method, parameters, maps, 16)


def test_volumes_are_taken_or_refused_in_one_line(case):
    method, parameters, maps_of = case
    maps = Maps.of(**maps_of(6, (9, 30, 34)))
    if not method.volumes:
        with pytest.raises(BadInput, match=rf"method '{method.name}': expected an image \(Y, X\)"):
            method.check_maps(maps)
        return
    labels = method.segment(maps, parameters, "canonical")
    assert (labels.dtype, labels.shape) == (np.int32, maps.shape)
    assert labels.max() > 1
    np.testing.assert_array_equal(canonical_labels(labels), labels)
    form = method.tiled
    if form and not form.takes(maps.shape) and why_whole(recipe_with(method, parameters)) is None:
        with pytest.raises(BadInput, match=r"tile by tile: expected \(Y, X\), found \(9, 30, 34\)"):
            tiled(method, parameters, maps, 16)


# Tile by tile.


@pytest.mark.parametrize("side", [7, 20])
def test_blocks_give_what_memory_gives(case, side):
    method, parameters, maps_of = case
    shapes = (13, 30, 33), (22, 9, 30), (1, 20, 25)
    takes_tiled(method, shapes[0])
    mpp = (2.0, 0.7, 0.5)
    for seed, shape in enumerate(shapes):
        maps = dataclasses.replace(Maps.of(**maps_of(seed, shape)), mpp=mpp if seed else None)
        expected = method.segment(maps, parameters, "canonical")
        np.testing.assert_array_equal(tiled(method, parameters, maps, side), expected)


@pytest.mark.parametrize("side", [7, 16, 33, 64, 200])
def test_tiles_give_what_memory_gives(case, side):
    method, parameters, maps_of = case
    if method.tiled is None or not method.tiled.exact:
        pytest.skip("its tiled form is not exact")
    for seed, shape in ((7, (97, 131)), (8, (33, 57)), (9, (1, 40))):
        maps = Maps.of(**maps_of(seed, shape))
        expected = method.segment(maps, parameters, "canonical")
        np.testing.assert_array_equal(tiled(method, parameters, maps, side), expected)


#: Several tiles of the least side that a workspace stores, of an image and of a volume.
STORED = [pytest.param((300, 560), 256, id="image"), pytest.param((66, 30, 70), 64, id="volume")]


@pytest.mark.parametrize(("shape", "side"), STORED)
def test_tiles_of_any_order_and_process_killed_and_gone_on_with(case, tmp_path, shape, side):
    method, parameters, maps_of = case
    takes_tiled(method, shape)
    maps = Maps.of(**maps_of(10, shape))
    recipe = recipe_with(method, parameters)
    expected = tiled(method, parameters, maps, side)
    assert expected.max() > 30

    def opened(create=False):
        """The segmentation as a process of its own opens it."""
        workspace = StoredWorkspace(str(tmp_path / "work"), "w" * 64, side=side, create=create)
        return open_tiled(recipe, maps, side, workspace)

    opened(create=True).prepare()
    tiles = [*range(len(Grid(shape, side)))]
    random.Random(3).shuffle(tiles)
    for k in range(3):
        opened().work(tiles[k::3], 1)
        # A task that is tried again finds its tiles done; the first is begun again as well.
        opened().work(tiles[k::3], 2)
    opened(create=True).prepare()
    opened().settle(1)
    work = opened()
    work.settle(2)
    np.testing.assert_array_equal(numbered(work.labels(1), shape, 50), expected)


@pytest.mark.parametrize(("shape", "side"), STORED)
def test_tiles_that_are_lost_are_made_again(case, tmp_path, shape, side):
    method, parameters, maps_of = case
    takes_tiled(method, shape)
    maps = Maps.of(**maps_of(11, shape))
    recipe = recipe_with(method, parameters)
    expected = tiled(method, parameters, maps, side)

    def opened(create=False):
        workspace = StoredWorkspace(str(tmp_path / "work"), "w" * 64, side=side, create=create)
        return open_tiled(recipe, maps, side, workspace)

    tiles = range(len(Grid(shape, side)))
    opened(create=True).prepare()
    opened().work(tiles)
    opened().settle()
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    # Of a method that keeps no arrays the marks are all that there is.
    shards = [path for path in kept if "c" in path.parts[-5:-1]]
    files = shards or [path for path in kept if "marks" in path.parts]
    random.Random(4).choice(files).unlink()
    shard = random.Random(5).choice([p for p in files if p.exists()])
    shard.write_bytes(shard.read_bytes()[:40])
    with pytest.raises(BadInput, match=f"{tmp_path}.* shard c/" if shards else f"{tmp_path}/"):
        numbered(opened().labels(), shape, 50)
    opened().work(tiles)
    work = opened()
    work.settle()
    np.testing.assert_array_equal(numbered(work.labels(), shape, 50), expected)


def test_heads_of_a_stride_give_labels_at_the_image_s_own_scale(case):
    method, parameters, maps_of = case
    coarse = [role.name for role in method.roles if role.strided]
    if not coarse:
        pytest.skip("it reads a value for each pixel")
    for shape, stride in (((61, 70), 2), ((64, 33), 4)):
        given = dict(maps_of(12, shape))
        for role in coarse:
            given[role] = given[role][::stride, ::stride]
        names = {role: role for role in given}
        maps = Maps(given, names, shape, strides=dict.fromkeys(coarse, stride))
        labels = method.segment(maps, parameters, "canonical")
        assert labels.shape == shape
        assert labels.max() > 1
        if method.tiled and method.tiled.exact:
            np.testing.assert_array_equal(tiled(method, parameters, maps, 16), labels)
            np.testing.assert_array_equal(tiled(method, parameters, maps, 7), labels)


def test_tiles_within_a_budget(method):
    if method.tiled is None:
        pytest.skip("it has no tiled form")
    sides = [method.tiled.side_within(memory) for memory in (64, 256, 1024, 8192)]
    assert sides == sorted(sides)
    assert all(side % 256 == 0 for side in sides)
    assert 2 * method.tiled.bytes_for(method.tiled.side_within(1024)) <= 1024 << 20
    for shape in ((64, 1500, 1500), (900, 900, 900)):
        if method.tiled.takes(shape):
            sides = [method.tiled.side_within(memory, shape) for memory in (64, 256, 1024, 8192)]
            assert sides == sorted(sides)
            assert all(side % 64 == 0 for side in sides)
            grid = Grid(shape, method.tiled.side_within(1024, shape))
            assert 2 * method.tiled.bytes_of(grid) <= 1024 << 20


# Tuning.


def test_a_sweep_gives_what_each_of_its_points_gives(case):
    method, parameters, maps_of = case
    if method.sweep is None:
        pytest.skip("each point is segmented by itself")
    maps = Maps.of(**maps_of(11, (50, 60)))
    tuned = [each for each in parameters_of(method.parameters) if each.tried]
    points = [parameters]
    for each in tuned:
        for value in each.tried(getattr(parameters, each.name)):
            if each.allows(value):
                points.append(dataclasses.replace(parameters, **{each.name: value}))
    found = {}

    def keep(labels, places):
        found.update(dict.fromkeys(places, labels))

    method.sweep.run(maps, points, keep, 2)
    assert sorted(found) == [*range(len(points))]
    for place, point in enumerate(points):
        expected = method.segment(maps, point, "canonical")
        np.testing.assert_array_equal(canonical_labels(found[place]), expected)
    assert method.sweep.shared_bytes(points) >= 0


# Cards.


@pytest.mark.parametrize(
    "card",
    [*known_cards().values(), *(ModelCard.load(folder) for folder in shipped_models().values())],
    ids=lambda card: card.name,
)
def test_what_ships_names_methods_and_parameters_that_there_are(card):
    check_card(card)
    for kind, recipe in recipes_of(card, card.compartments).items():
        given = card.postprocessing[kind]
        assert given.items() <= recipe.plain().items()
        assert recipe.method.name == given["method"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"method": "magic"}, "nuclear.method: expected one of deep_watershed, "),
        ({"method": True}, "nuclear.method: expected one of deep_watershed, "),
        ({"radius": 0}, "nuclear.radius: expected at least 1, found 0"),
        ({"radius": 2.5}, "nuclear.radius: expected a whole number, found 2.5"),
        ({"maxima_treshold": 0.1}, "nuclear: expected only maxima_head, maxima_channel, "),
        ({"interior_head": "x"}, "nuclear.interior_head: expected one of ['whole_cell_inner_d"),
        ({"interior_channel": 3}, "nuclear.interior_channel: expected 0 to 2, found 3"),
        ({"maxima_threshold": 0}, "nuclear.maxima_threshold: expected more than 0 for h_maxima"),
    ],
)
def test_a_card_that_says_what_there_is_not_is_one_line(change, says):
    plain = {**MESMER.postprocessing["nuclear"], **change}
    with pytest.raises(BadInput) as error:
        check_card(MESMER.with_postprocessing({"nuclear": plain}))
    assert str(error.value).startswith(f"model card 'Mesmer', postprocessing.{says}")
    assert "\n" not in str(error.value)


def test_another_method_takes_the_card_s_place_with_its_own_defaults():
    (recipe,) = recipes_of(MESMER, ("nuclear",), method="toy").values()
    assert recipe.parameters == find_method("toy").parameters()
    assert recipe.sources == {"signal": Source("image", 0)}
    given = {"signal_head": "nuclear_pixelwise", "signal_channel": 1, "level": 0.25}
    (recipe,) = recipes_of(MESMER, ("nuclear",), method="toy", parameters=given).values()
    assert recipe.sources == {"signal": Source("nuclear_pixelwise", 1)}
    assert recipe.parameters.level == 0.25
    own = recipes_of(MESMER, ("nuclear",))["nuclear"]
    assert recipes_of(MESMER, ("nuclear",), method="deep_watershed")["nuclear"] == own


@pytest.mark.parametrize("strided", [True, False])
def test_a_role_says_whether_a_head_of_a_stride_may_play_it(strided):
    fine, coarse = MESMER.head("nuclear_inner_distance"), MESMER.head("nuclear_pixelwise")
    heads = (fine, dataclasses.replace(coarse, stride=2))
    said = {"method": "toy" if strided else "deep_watershed"}
    said |= (
        {"signal_head": coarse.name, "signal_channel": 1}
        if strided
        else {"maxima_head": fine.name, "interior_head": coarse.name}
    )
    card = dataclasses.replace(
        MESMER, heads=heads, postprocessing={"nuclear": said}, default_compartment="nuclear"
    )
    if not strided:
        with pytest.raises(BadInput) as error:
            check_card(card)
        place = "model card 'Mesmer', postprocessing.nuclear.interior_head"
        assert str(error.value) == (
            f"{place}: expected a head of stride 1, found 'nuclear_pixelwise' of stride 2"
        )
        return
    (recipe,) = recipes_of(card, ("nuclear",)).values()
    given = {coarse.name: np.zeros((5, 6, 3), np.float32)}
    assert recipe.maps(given).shape == (10, 12)
    assert recipe.maps(given, shape=(9, 11)).shape == (9, 11)
    assert recipe.maps({**given, "image": np.zeros((10, 11, 2))}).shape == (10, 11)
    assert recipe.maps(given).strides == {"signal": 2}
    with pytest.raises(BadInput, match=r"expected one shape, \(12, 12\), found 'nuclear_pixelw"):
        recipe.maps(given, shape=(12, 12))


def test_parameters_in_the_card_s_place_leave_the_others():
    both = recipes_of(MESMER, MESMER.compartments, parameters={"radius": 5})
    for kind, recipe in both.items():
        own = recipes_of(MESMER, (kind,))[kind]
        assert recipe == own.with_parameters(radius=5)


# Heads.


def heads(**changes):
    made = {head.name: np.zeros((8, 9, head.channels), np.float32) for head in MESMER.heads}
    return {name: head for name, head in {**made, **changes}.items() if head is not None}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (heads(nuclear_pixelwise=None), "predictions: expected a head 'nuclear_pixelwise'"),
        ({}, "predictions: expected a head 'nuclear_inner_distance', found no heads"),
        (
            heads(nuclear_pixelwise=np.zeros((8, 9, 1))),
            "'nuclear_pixelwise': expected a channel 1, found 1 channels",
        ),
        (heads(nuclear_pixelwise=np.zeros((8, 9))), r"expected \(Y, X, C\)"),
        (
            heads(nuclear_pixelwise=np.zeros((8, 10, 3))),
            r"expected one shape, \(8, 9\), found 'nuclear_pixelwise' \(8, 10\)",
        ),
        (
            heads(nuclear_inner_distance=np.full((8, 9, 1), np.nan)),
            "'nuclear_inner_distance', channel 0: expected finite.*72 NaN",
        ),
    ],
)
def test_predictions_that_do_not_fit_have_their_line(given, message):
    with pytest.raises(BadInput, match=message):
        methods.segment(MESMER, given, "nuclear")
