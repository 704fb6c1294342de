"""What a build of an image is given of the machine."""

from __future__ import annotations

from launch.images.building import copy_wheels


def test_wheels_that_the_lock_pins_are_copied_from_folders(tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    for name in ("torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl", "torch-2.12.0-cp311-none-any.whl",
                 "my_package-1.0-py3-none-any.whl", "other-1.0-py3-none-any.whl"):  # fmt: skip
        (here / name).write_bytes(b"wheel")
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        "torch==2.13.0+cpu \\\n    --hash=sha256:00\nmy-package==1.0 ; python_version > '3'\n"
    )
    copy_wheels(
        ["https://example.org/whl", str(tmp_path / "none"), str(here)], lock, tmp_path / "to"
    )
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == [
        "my_package-1.0-py3-none-any.whl",
        "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl",
    ]


def test_without_places_the_folder_is_there_and_empty(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text("torch==2.13.0+cpu\n")
    copy_wheels([], lock, tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []
