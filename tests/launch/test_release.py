"""A release: every file pinned by digest, found right by the linter, loaded by kfp, checksummed."""

import hashlib

import pytest
import yaml
from kfp.components import load_component_from_file

from cellmill.version import __version__
from launch import release
from launch.compiling.compiled import component_names, pipeline_names
from launch.compiling.lint_ir import lint

IMAGES = ("imaging", "tensorflow", "stardist", "cellpose3", "cellpose4")
DIGESTS = {name: f"sha256:{str(number) * 64}" for number, name in enumerate(IMAGES, 1)}


def lock(path, names=tuple(DIGESTS)):
    rows = {
        name: {
            "repository": f"r.example/p/cellmill-{name}",
            "tag": __version__,
            "digest": DIGESTS[name],
        }
        for name in names
    }
    path.write_text(yaml.safe_dump(rows))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("release")
    given = ["--lock", str(lock(place / "lock.yaml")), "--output", str(place / "made")]
    assert release.main(given) == 0
    return place / "made"


def released():
    return [name for name in component_names() if name != "deepcell_reference"]


def released_pipelines():
    return [
        name
        for name in pipeline_names()
        if name not in ("reference_benchmark", "reference_comparison")
    ]


def test_every_component_and_pipeline_is_there_but_what_may_not_be_handed_on(folder):
    assert sorted(p.name for p in (folder / "components").iterdir()) == released()
    assert sorted(p.name for p in (folder / "pipelines").iterdir()) == released_pipelines()


def test_images_are_pinned_and_the_linter_finds_nothing(folder):
    files = sorted(folder.rglob("*.yaml"))
    assert len(files) == len(released()) + len(released_pipelines())
    for path in files:
        text = path.read_text()
        assert list(lint(text, release=True)) == []
        assert "localhost/" not in text
        assert "@sha256:" in text


def test_kfp_loads_every_component(folder):
    for name in released():
        loaded = load_component_from_file(str(folder / "components" / name / "component.yaml"))
        assert loaded.name.replace("-", "_") == name


def test_checksums_are_of_every_file(folder):
    lines = (folder / release.SUMS).read_text().splitlines()
    sums = dict(reversed(line.split("  ")) for line in lines)
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert sums.keys() == files - {release.SUMS}
    for name, digest in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_the_catalogue_says_all_of_each_component(folder):
    page = (folder / release.CATALOGUE).read_text()
    sections = {s.split("]")[0]: s for s in page.split("\n### [")[1:]}
    assert sorted(sections) == released()
    for name, section in sections.items():
        about = yaml.safe_load((folder / "components" / name / "component.yaml").read_text())
        spec = about["components"][f"comp-{name.replace('_', '-')}"]
        for side in ("inputDefinitions", "outputDefinitions"):
            for kind in ("artifacts", "parameters"):
                for key in spec.get(side, {}).get(kind, {}):
                    assert f"`{key}`" in section
        assert "@sha256:" in section
        assert f"| example | `task = {name}(" in section
    assert "1 NVIDIA_TESLA_T4" in sections["predict"]
    assert (
        "Hardware, in the pipelines here: 8 processors"
        in (folder / "components/predict/README.md").read_text()
    )


def test_without_pushed_images_there_is_none(tmp_path, capsys):
    missing = ["--lock", str(tmp_path / "none.yaml"), "--output", str(tmp_path / "made")]
    assert release.main(missing) == 2
    assert "make push REGISTRY=" in capsys.readouterr().err
    partly = [
        "--lock",
        str(lock(tmp_path / "part.yaml", [name for name in IMAGES if name != "tensorflow"])),
    ]
    assert release.main([*partly, "--output", str(tmp_path / "made")]) == 2
    assert "image 'tensorflow'" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()
