"""Images are named and paired with their truth the same way by hand as by the launcher."""

import pytest

from cellmill.errors import BadInput
from cellmill.io.items import parse_items


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_items(tmp_path):
    touch(tmp_path, *(f"{folder}/{name}" for folder in "pq" for name in ("1.tif", "2.ome.tif")))
    found = parse_items([str(tmp_path / "p"), {"image": "q/1.tif", "name": "x"}])
    assert [i.name for i in found] == ["1", "2", "x"]
    assert [i.name for i in parse_items([f"{tmp_path}/*/1.tif"])] == ["p_1", "q_1"]
    more = parse_items([f"{tmp_path}/*/1.tif", {"image": "z.tif", "name": "q_1"}])
    assert more[2].name == "q_1"
    assert len({i.name for i in more}) == 3


def test_folders_and_globs_with_truth(tmp_path):
    touch(tmp_path, "images/a.tif", "images/b.tif", "masks/a_mask.png", "d/x.tif", "d/x_masks.tif")
    root = str(tmp_path)
    found = parse_items(
        [
            {"image": f"{root}/images", "truth": f"{root}/masks/*"},
            {"image": f"{root}/d", "truth": f"{root}/d"},
            {"image": f"{root}/one.tif", "truth": f"{root}/other.tif"},
        ]
    )
    assert [(i.image, i.truth, i.name, i.pairing) for i in found] == [
        (f"{root}/images/a.tif", f"{root}/masks/a_mask.png", "a", "the file name without '_mask'"),
        (f"{root}/images/b.tif", "", "b", ""),
        (f"{root}/d/x.tif", f"{root}/d/x_masks.tif", "x", "the file name without '_masks'"),
        (f"{root}/one.tif", f"{root}/other.tif", "one", "as given"),
    ]
    with pytest.raises(BadInput, match="no name and no digest for what stands for several"):
        parse_items([{"image": f"{root}/images", "truth": f"{root}/masks", "name": "x"}])


def test_a_file_is_never_both(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    path = str(tmp_path / "a.tif")
    for items in (
        [{"image": path, "truth": path}],
        [{"image": path, "truth": str(tmp_path / "link" / "a.tif")}],
        [{"image": path}, {"image": str(tmp_path / "b.tif"), "truth": path}],
    ):
        with pytest.raises(BadInput, match=r"a\.tif'.*expected a file that is no image"):
            parse_items(items)


def test_what_is_not_there_is_an_item_for_who_opens_it(tmp_path):
    (tmp_path / "lost.tif").symlink_to("/nowhere.tif")
    touch(tmp_path, "ok.tif")
    assert [i.name for i in parse_items([str(tmp_path)])] == ["lost", "ok"]
    assert [i.name for i in parse_items([str(tmp_path / "none.tif")])] == ["none"]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "items: expected at least one image"),
        ([3], "expected paths, or objects"),
        ([{"truth": "a"}], "expected paths, or objects"),
        ([{"image": "a", "colour": "red"}], "expected paths, or objects"),
        ([{"image": "a", "truth": None}], "expected paths, or objects"),
        ([{"image": "a", "name": "x"}, {"image": "b", "name": "X"}], "two: 'a' and 'b'"),
        ([{"image": "a", "name": "x/y"}], "image name 'x/y'"),
        ([{"image": "a", "name": "Manifest"}], "image name 'Manifest': expected another"),
        ([""], "no name of a file"),
    ],
)
def test_items_that_are_none(items, message):
    with pytest.raises(BadInput) as error:
        parse_items(items)
    assert message in str(error.value)
