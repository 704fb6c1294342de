"""What is compared is said in words, as a shell splits them."""

import pytest

from cellmill.errors import BadInput
from cellmill.models.fetch import copy_model, fetch_model
from launch.run import main
from launch.runs.segmenters import at_hand, segmenters_of, split_reference
from launch.runs.tables import with_reference


def test_names_paths_and_uris_with_names_of_their_own(tmp_path):
    for place in ("one/model", "two/model", "with space"):
        (tmp_path / place).mkdir(parents=True)
    given = f"'{tmp_path}/with space' {tmp_path}/one/model {tmp_path}/two/model s3://b/m Mesmer"
    found = segmenters_of(given)
    assert [each["name"] for each in found] == [
        f"{tmp_path.name}/with space",
        "one/model",
        "two/model",
        "b/m",
        "Mesmer",
    ]
    assert found[0]["model"] == f"{tmp_path}/with space"
    assert all(each["digest"] == "" for each in found)
    archive = tmp_path / "model.zip"
    archive.write_bytes(b"zip")
    (file,) = segmenters_of(str(archive))
    assert file["name"] == "model.zip"
    assert file["digest"].startswith("sha256:")


def test_nothing_said_is_what_is_at_hand():
    assert [each["name"] for each in segmenters_of("")] == at_hand()
    assert {"cellmill-nuclei", "voronoi_otsu"} <= {*at_hand()}
    for name in at_hand():
        assert fetch_model(name).card.name == name


@pytest.mark.parametrize("text", ["a a", "'open"])
def test_what_is_no_list_is_refused(text):
    with pytest.raises(BadInput, match="SEGMENTERS: expected"):
        segmenters_of(text)


def test_deepcells_own_package_is_parted_from_the_others():
    assert split_reference("a 'b c' deepcell_reference") == ("a 'b c'", "Mesmer")
    assert split_reference("'deepcell_reference:my folder' a") == ("a", "my folder")
    assert split_reference("a b") == ("a b", "")
    assert split_reference("") == ("", "")


@pytest.mark.parametrize(
    "text", ["deepcell_reference", "a deepcell_reference deepcell_reference:b", "'deepcell_ref"]
)
def test_it_is_there_once_and_beside_others(text):
    with pytest.raises(BadInput, match="SEGMENTERS: expected"):
        split_reference(text)


def test_a_comparison_with_it_is_a_pipeline_of_its_own():
    given = {"segmenters": "a deepcell_reference:b", "channels": "0"}
    name, settings = with_reference("segmenter_comparison", given)
    assert name == "reference_comparison"
    assert settings == {"segmenters": "a", "channels": "0", "reference_model": "b"}
    without = {"segmenters": "a"}
    assert with_reference("segmenter_comparison", without) == ("segmenter_comparison", without)
    assert with_reference("training", {}) == ("training", {})


@pytest.mark.pipeline
def test_make_compare_runs_every_segmenter_through_the_stages(tmp_path, capsys):
    other = tmp_path / "mine"
    copy_model(fetch_model("voronoi_otsu"), other)
    arguments = ["--segmenters", f"voronoi_otsu {other}", "--output", str(tmp_path / "run")]
    assert main(["segmenter_comparison", *arguments]) == 0
    said = capsys.readouterr().out
    first, second = (line for line in said.splitlines() if "AP " in line)
    assert (first.split(":")[0].strip(), second.split(":")[0].strip()) == ("voronoi_otsu", "mine")
    # The same card gives the same scores.
    assert first.split(":")[1].rsplit(",", 1)[0] == second.split(":")[1].rsplit(",", 1)[0]
    for suffix in ("html", "csv", "json"):
        assert (tmp_path / "run" / f"comparison.{suffix}").stat().st_size > 100
