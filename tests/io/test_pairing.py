"""Every truth goes to the image it was made of, or to none with a word: never to another."""

import doctest
import itertools
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmill.errors import BadInput
from cellmill.io import compared, pairing, role_words
from cellmill.io.items import find_items
from cellmill.io.listing import Listed
from cellmill.io.pairing import pair


@pytest.fixture
def made(tmp_path):
    """Make empty files, and return what finds pairs among them by names below that folder."""

    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()

        def found(images, truth):
            items = find_items(str(tmp_path / images), str(tmp_path / truth)).items
            return {
                str(Path(i.image).relative_to(tmp_path)): i.truth
                and str(Path(i.truth).relative_to(tmp_path))
                for i in items
            }

        return found

    return make


def test_masks_beside_their_images_are_truth_and_never_segmented(made):
    found = made("x0.tif", "x0_masks.tif", "x1.tif", "x1_masks.tif")
    expected = {"x0.tif": "x0_masks.tif", "x1.tif": "x1_masks.tif"}
    assert found(".", ".") == expected
    assert found(".", "*_masks.tif") == expected
    assert found("*.tif", "*.tif") == expected
    assert found("x?.tif", "*_masks.tif") == expected


def test_a_link_to_the_folder_is_the_folder(made, tmp_path):
    found = made("d/x0.tif", "d/x0_masks.tif", "d/x1.tif", "d/x1_masks.tif")
    (tmp_path / "link").symlink_to("d")
    truths = list(found("d", "link").values())
    assert truths == ["link/x0_masks.tif", "link/x1_masks.tif"]


def test_what_is_marked_like_the_others_without_an_image_is_truth_too(made):
    found = made("x0.tif", "x0_masks.tif", "x1.tif", "x2_masks.tif")
    assert found(".", ".") == {"x0.tif": "x0_masks.tif", "x1.tif": ""}


def test_a_folder_that_is_both_and_marks_nothing_is_refused(made):
    found = made("a.tif", "b.tif")
    with pytest.raises(BadInput, match=r"a\.tif'.*found a file that was given as both"):
        found(".", ".")
    with pytest.raises(BadInput, match="given as both"):
        found("a.tif", "a.tif")
    # The narrower one says what its files are.
    found = made("a_outlined.tif", "b_outlined.tif")
    expected = {"a.tif": "a_outlined.tif", "b.tif": "b_outlined.tif"}
    assert found("*.tif", "*_outlined.tif") == expected
    assert found("?.tif", "*_outlined.tif") == expected


def test_masks_of_another_kind_of_file_beside_their_images(made):
    found = made("x0.tif", "x0_cp_masks.png", "x1.tif", "x1_cp_masks.png")
    assert found(".", ".") == {"x0.tif": "x0_cp_masks.png", "x1.tif": "x1_cp_masks.png"}


def test_folders_tell_plates_apart(made):
    names = [f"p{p}/{f}/{n}.tif" for p in "12" for f in ("images", "masks") for n in "ab"]
    found = made(*names)
    expected = {f"p{p}/images/{n}.tif": f"p{p}/masks/{n}.tif" for p in "12" for n in "ab"}
    assert found("*/images/*.tif", "*/masks/*.tif") == expected
    assert found("**/*.tif", "**/masks/*.tif") == expected
    assert found("**/*.tif", "**/*.tif") == expected
    assert found("p1/images", "*/masks/*.tif") == {
        k: v for k, v in expected.items() if k.startswith("p1")
    }


def test_plates_of_which_only_some_names_are_alike(made):
    images = ["p1/images/a.tif", "p1/images/b.tif", "p2/images/b.tif", "p2/images/c.tif"]
    found = made(*images, *(name.replace("images", "masks") for name in images))
    expected = {name: name.replace("images", "masks") for name in images}
    assert found("*/images/*.tif", "*/masks/*.tif") == expected


def test_a_truth_of_another_plate_is_no_truth(made):
    found = made("p1/images/a.tif", "p2/images/a.tif", "p2/masks/a.tif", "p3/masks/b.tif")
    assert found("*/images/*.tif", "*/masks/*.tif") == {
        "p1/images/a.tif": "",
        "p2/images/a.tif": "p2/masks/a.tif",
    }


def test_long_names_that_differ_at_their_end(made):
    long = "treatment_control_replicate_one_objective_20x_" * 4
    found = made(*(f"images/{long}field_{k}.tif" for k in "12"), f"masks/{long}field_2.tif")
    assert found("images", "masks") == {
        f"images/{long}field_1.tif": "",
        f"images/{long}field_2.tif": f"masks/{long}field_2.tif",
    }


def test_compound_suffixes(made):
    found = made("images/a.tif", "images/a.ome.tif", "masks/a.tif")
    assert found("images", "masks") == {"images/a.ome.tif": "", "images/a.tif": "masks/a.tif"}
    found = made("more/a.png", "images/a.tif")
    with pytest.raises(BadInput) as error:
        found("images", "more/*.png")
    for name in ("more/a.png", "images/a.tif", "images/a.ome.tif"):
        assert name in str(error.value)
    found = made("cp/a.ome_cp_masks.png", "cp/a_cp_masks.png", "o/images/a.ome.tif")
    assert found("o/images/*", "cp/a_*") == {"o/images/a.ome.tif": "cp/a_cp_masks.png"}
    assert found("o/images", "cp/a.ome_*") == {"o/images/a.ome.tif": "cp/a.ome_cp_masks.png"}
    found = made("whole/a.tif.labels.png", "whole/a.ome.tif.labels.png")
    assert found("images", "whole") == {
        "images/a.tif": "whole/a.tif.labels.png",
        "images/a.ome.tif": "whole/a.ome.tif.labels.png",
    }


def test_two_truths_of_one_image_are_refused_naming_both(made):
    found = made("images/a.tif", "images/b.tif", "masks/a.tif", "masks/a_mask.tif", "masks/b.tif")
    with pytest.raises(BadInput) as error:
        found("images", "masks")
    assert "images/a.tif': expected one truth, found 2" in str(error.value)
    assert "masks/a.tif'" in str(error.value)
    assert "masks/a_mask.tif'" in str(error.value)


def test_two_images_of_one_truth_are_refused_naming_both(made):
    found = made("images/a.tif", "images/a_img.tif", "masks/a-masks.tif", "masks/c.tif")
    assert found("images", "masks/a-masks.tif")["images/a.tif"] == "masks/a-masks.tif"
    found = made("more/a_raw.tif", "more/a_img.tif")
    with pytest.raises(BadInput) as error:
        found("more", "masks/a*")
    for name in ("masks/a-masks.tif", "more/a_raw.tif", "more/a_img.tif"):
        assert name in str(error.value)


@pytest.mark.parametrize("one", ["NFC", "NFD"])
def test_letters_with_accents_meet_however_they_are_written(made, one):
    other = {"NFC": "NFD", "NFD": "NFC"}[one]
    names = ["Zellkörper_ä", "é_2"]
    images = [unicodedata.normalize(one, f"images/{name}.tif") for name in names]
    truths = [unicodedata.normalize(other, f"masks/{name}_mask.tif") for name in names]
    assert made(*images, *truths)("images", "masks") == dict(zip(images, truths, strict=True))


def test_case_counts_only_where_it_tells_files_apart(made):
    found = made("images/A1.tif", "images/b2.TIF", "masks/a1_Mask.tif", "masks/B2.tif")
    assert found("images", "masks") == {
        "images/A1.tif": "masks/a1_Mask.tif",
        "images/b2.TIF": "masks/B2.tif",
    }
    found = made("two/x.tif", "two/X.tif", "labels/x_label.tif", "labels/X_label.tif")
    assert found("two", "labels") == {
        "two/x.tif": "labels/x_label.tif",
        "two/X.tif": "labels/X_label.tif",
    }


@pytest.mark.parametrize(
    ("image", "truth"),
    [
        ("i/{}_img.tif", "t/{}_masks.tif"),
        ("i/{}.tif", "t/{}_seg.npy"),
        ("i/img_{}.tif", "t/mask_{}.tif"),
        ("i/img{}2d.tif", "t/mask{}2d.tif"),
        ("i/{}.tif", "t/{}_nuclei_masks.png"),
        ("i/{}_raw.tif", "t/{}_GT.tif"),
        ("i/{}.tif", "t/{}-labelled.tif"),
        ("i/{}.tif", "t/{}_Simple Segmentation.tif"),
        ("i/{}.tif", "t/{}Labels.tif"),
        ("imagesTr/{}.tif", "labelsTr/{}.tif"),
        ("i/{}/image.tif", "t/{}/labels.tif"),
        ("i/{}/images/x.tif", "i/{}/masks/x.tif"),
        ("i/{}.tif", "out/{}/labels.tif"),
        ("i/{}_w1.tif", "t/{}_w1 outlined.tif"),
        ("{}/01/t000.tif", "{}/01_GT/SEG/man_seg000.tif"),
        ("train/images/{}.qptiff", "train/ground truth/{}.tif"),
        ("i/{}.ome.zarr", "t/{}.ome.zarr"),
        ("i/{}/images/x.tif", "t/{}_x_masks.tif"),
        ("i/{}_x.tif", "t/{}/masks/x.tif"),
    ],
)
def test_the_ways_in_which_people_name_truths(tmp_path, image, truth):
    names = ["1", "2", "10", "A01"]
    for name, template in itertools.product(names, (image, truth)):
        path = tmp_path / template.format(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if path.suffix == ".zarr" else path.touch()
    found = find_items(str(tmp_path / image.format("*")), str(tmp_path / truth.format("*"))).items
    assert {i.image: i.truth for i in found} == {
        str(tmp_path / image.format(n)): str(tmp_path / truth.format(n)) for n in names
    }
    assert all(item.pairing for item in found)


def test_one_truth_belongs_to_one_image_whatever_its_name(made):
    found = made("i/a.tif", "t/b.tif")
    assert found("i", "t") == {"i/a.tif": "t/b.tif"}
    found = made("i/b.tif", "t/c.tif")
    with pytest.raises(BadInput, match=r"c\.tif': expected the name of an image"):
        found("i", "t/c.tif")


def test_a_store_is_paired_as_a_disk_is(store):
    for name in ("p1/images/a", "p1/masks/a", "p2/images/a", "p2/masks/a"):
        store.pipe(f"/bucket/plate/{name}.tif", b"x")
    root = "memory://bucket/plate"
    for found in (
        find_items(f"{root}/*/images/*.tif", f"{root}/*/masks/*.tif"),
        find_items(f"{root}/**/*.tif", f"{root}/**/*.tif"),
    ):
        assert {i.image: i.truth for i in found.items} == {
            f"memory:///bucket/plate/p{p}/images/a.tif": f"memory:///bucket/plate/p{p}/masks/a.tif"
            for p in "12"
        }


def test_the_pairing_is_said_in_a_few_lines(made, tmp_path):
    made(*(f"i/{k}.tif" for k in range(7)), *(f"t/{k}_masks.png" for k in range(2, 9)), "i/n.txt")
    found = find_items(str(tmp_path / "i"), str(tmp_path / "t"))
    assert list(found.notes()) == [
        "note: beside the image files, left aside: 1 other ('n.txt')",
        "truth of 5 images, by the file name without '_masks': "
        "2.tif ← 2_masks.png, 3.tif ← 3_masks.png, 4.tif ← 4_masks.png, …",
        "truth: none for 2 images: 0.tif, 1.tif",
        "truth: 2 files of no image, not used: 7_masks.png, 8_masks.png",
    ]
    assert {item.pairing for item in found.items} == {"", "the file name without '_masks'"}


def test_masks_among_the_images_are_remarked(made, tmp_path):
    made("x0.tif", "x0_masks.tif", "other/a.tif")
    (line,) = [n for n in find_items(str(tmp_path)).notes() if "named like" in n]
    assert "'x0_masks.tif' is named like the truth of 'x0.tif'" in line


BASES = st.sampled_from(
    ["a", "b", "A01", "a.b", "f_1", "f_10", "x y", "ä", "imx", "gtx", "1", "01"]
)
PLATES = st.sampled_from([(), ("p1",), ("p2",), ("p1", "q"), ("q",)])
IMAGE_STYLES = st.sampled_from(["{}.tif", "{}.ome.tif", "{}_img.tif", "img_{}.tif", "{}.qptiff"])
TRUTH_STYLES = st.sampled_from(
    ["{}.tif", "{}.ome.tif", "{}_mask.tif", "{}_cp_masks.png", "mask_{}.tif", "{}-GT.npy", "{}.png"]
)
FORMS = st.sampled_from(["NFC", "NFD"])


@settings(max_examples=400, deadline=None)
@given(
    subjects=st.lists(
        st.tuples(PLATES, BASES, IMAGE_STYLES, TRUTH_STYLES, FORMS, FORMS, st.booleans()),
        min_size=1,
        max_size=9,
        unique_by=lambda s: s[:2],
    ),
    image_folder=st.sampled_from(["images", "raw", "tissue"]),
    truth_folder=st.sampled_from(["masks", "labels", "GT", "tissue masks"]),
    order=st.randoms(use_true_random=False),
)
def test_no_truth_goes_to_an_image_that_it_was_not_made_of(
    subjects, image_folder, truth_folder, order
):
    images, truths, right = [], [], {}
    for plate, base, image_style, truth_style, image_form, truth_form, has_truth in subjects:
        image = unicodedata.normalize(image_form, image_style.format(base))
        image = Listed("/".join(("/d", *plate, image_folder, image)), (*plate,))
        images.append(image)
        right[image.uri] = ""
        if has_truth:
            truth = unicodedata.normalize(truth_form, truth_style.format(base))
            truth = Listed("/".join(("/d", *plate, truth_folder, truth)), (*plate,))
            truths.append(truth)
            right[image.uri] = truth.uri
    order.shuffle(images)
    order.shuffle(truths)
    found = pair(images, truths)
    if len(images) > 1 or any(right.values()):
        assert {
            f.uri: found.pairs[f.uri].truth if f.uri in found.pairs else "" for f in images
        } == (right)
    assert not found.unused


@settings(max_examples=300, deadline=None)
@given(
    names=st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "a_b"]),
            st.sampled_from(["", "_img", "_mask", "_masks", "_seg", ".ome", "_mask_img"]),
            st.sampled_from([".tif", ".tiff", ".ome.tif"]),
        ).map("".join),
        min_size=2,
        max_size=8,
        unique=True,
    ),
    cut=st.integers(0, 8),
)
def test_no_file_is_both_and_nothing_depends_on_the_order(names, cut):
    files = [Listed(f"/d/{name}") for name in names]

    def outcome(images, truths):
        try:
            found = pair(images, truths)
        except BadInput:
            return None
        kept = {file.uri for file in found.images}
        used = [each.truth for each in found.pairs.values()]
        assert not kept & {*used, *found.unused}
        assert len(set(used)) == len(used)
        return kept, {k: v.truth for k, v in found.pairs.items()}, set(found.unused)

    for images, truths in ((files, files), (files, files[cut:]), (files[:cut], files[cut:])):
        if images and truths:
            assert outcome(images, truths) == outcome(images[::-1], truths[::-1])


@pytest.mark.parametrize("checked", [compared, pairing, role_words])
def test_the_examples_are_true(checked):
    assert doctest.testmod(checked).failed == 0
