"""An image's environment is made once, whole, from its lock; a changed lock makes another."""

import base64
import hashlib
import subprocess
import sys
import threading
import zipfile

import pytest

from cellmill.errors import BadInput, CellmillError
from launch.images import environments


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(environments, "IMAGES", tmp_path / "images")


def wheel(folder, version):
    """Make a wheel of one module and return the line of a lock that asks for it."""
    path = folder / f"tinything-{version}-py3-none-any.whl"
    files = {
        "tinything.py": f"version = '{version}'\n",
        f"tinything-{version}.dist-info/METADATA": (
            f"Metadata-Version: 2.1\nName: tinything\nVersion: {version}\n"
        ),
        f"tinything-{version}.dist-info/WHEEL": (
            "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    rows = []
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
            sha = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
            rows.append(f"{name},sha256={sha.decode()},{len(text)}")
        rows.append(f"tinything-{version}.dist-info/RECORD,,")
        archive.writestr(f"tinything-{version}.dist-info/RECORD", "\n".join(rows) + "\n")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"tinything @ {path.as_uri()} --hash=sha256:{digest}\n"


def lock(tmp_path, version="1.0", name="tiny"):
    path = tmp_path / "images" / name / "requirements.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(wheel(tmp_path, version))
    return path


def version_in(python):
    code = "import tinything; print(tinything.version)"
    return subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.strip()


def test_it_is_made_once(tmp_path, capsys):
    lock(tmp_path)
    first = environments.environment("tiny")
    assert version_in(first) == "1.0"
    assert "setting up the tiny environment" in capsys.readouterr().err
    assert environments.environment("tiny") == first
    assert capsys.readouterr().err == ""


def test_a_changed_lock_makes_another_and_leaves_the_first(tmp_path):
    lock(tmp_path)
    first = environments.environment("tiny")
    lock(tmp_path, "2.0")
    second = environments.environment("tiny")
    assert (version_in(first), version_in(second)) == ("1.0", "2.0")


def test_an_interrupted_set_up_is_begun_anew(tmp_path):
    lock(tmp_path)
    python = environments.environment("tiny")
    folder = python.parent.parent
    (folder / "complete").unlink()
    for module in folder.rglob("tinything.py"):
        module.unlink()
    assert environments.environment("tiny") == python
    assert version_in(python) == "1.0"


def test_concurrent_first_uses_make_it_once(tmp_path, capsys):
    lock(tmp_path)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(environments.environment("tiny")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 4
    assert version_in(found[0]) == "1.0"
    assert capsys.readouterr().err.count("setting up") == 1


def test_a_package_of_other_bytes_is_refused(tmp_path):
    path = lock(tmp_path)
    path.write_text(path.read_text().replace("sha256:", "sha256:0")[:-2] + "\n")
    with pytest.raises(CellmillError, match=r"uv pip sync failed") as caught:
        environments.environment("tiny")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").rglob("complete"))


def test_wheels_that_no_index_has_are_found_where_pip_is_told(tmp_path, monkeypatch):
    path = lock(tmp_path)
    digest = path.read_text().rpartition("--hash=")[2]
    path.write_text(f"tinything==1.0 --hash={digest}")
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_FIND_LINKS", f"{tmp_path / 'empty'} {tmp_path}")
    (tmp_path / "empty").mkdir()
    assert version_in(environments.environment("tiny")) == "1.0"


def test_a_container_reference_names_an_environment(tmp_path):
    lock(tmp_path)
    for reference in (
        "localhost/cellmill-tiny:0.1.0",
        "europe-docker.example/p/cellmill-tiny@sha256:12",
        "cellmill-tiny",
    ):
        assert environments.image_name(reference) == "tiny"
    with pytest.raises(BadInput, match=r"python:3\.11"):
        environments.image_name("python:3.11")


def test_a_python_that_is_not_there_is_said():
    with pytest.raises(CellmillError, match=r"Python 2\.1: expected on this machine"):
        environments.find_python("2.1")


def test_the_own_python_is_found():
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert environments.find_python(version) == environments.find_python("")
