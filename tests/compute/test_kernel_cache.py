"""Compiled kernels are found again by what they are made of, wherever their source lies."""

import importlib.util
import sys
from concurrent.futures import ThreadPoolExecutor

import numba
import pytest

from cellmill.compute import kernel_cache
from cellmill.compute.kernel_cache import key_of

CONSTANTS = "ONE = 1\nMANY = (1, (2.5, 'x'))\n"
CALLED = "from cellmill.compute.kernels import kernel\n@kernel\ndef double(x):\n    return 2 * x\n"
SOURCE = """
from cellmill.compute.kernels import kernel
from kept_constants import MANY, ONE
from kept_called import double

@kernel
def work(x):
    return double(x) + ONE
"""


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """Makes a clone with a kernel, its constants and what it calls, and gives the kernel."""
    monkeypatch.setattr(kernel_cache, "_folder", lambda: str(tmp_path / "kernels"))
    (tmp_path / "kernels").mkdir()
    made = []

    def make(constants=CONSTANTS, called=CALLED, source=SOURCE):
        folder = tmp_path / f"clone {len(made)}"
        folder.mkdir()
        made.append(folder)
        texts = {"kept_constants": constants, "kept_called": called, "kept_kernels": source}
        for name, text in texts.items():
            path = folder / f"{name}.py"
            path.write_text(text)
            spec = importlib.util.spec_from_file_location(name, path)
            monkeypatch.setitem(sys.modules, name, importlib.util.module_from_spec(spec))
            spec.loader.exec_module(sys.modules[name])
        return sys.modules["kept_kernels"].work

    return make


def test_another_clone_of_the_same_sources_does_not_compile_again(clone, tmp_path):
    first, second = clone(), clone()
    assert first(20) == second(20) == 41
    assert not first.stats.cache_hits
    assert second.stats.cache_hits
    assert not second.stats.cache_misses
    assert not list(tmp_path.glob("clone*/__pycache__/*.nb?"))


def test_whatever_goes_into_a_kernel_is_in_its_key(clone):
    key = key_of(clone().py_func)
    assert key_of(clone().py_func) == key
    others = [
        {"constants": CONSTANTS.replace("ONE = 1", "ONE = 2")},
        {"constants": CONSTANTS.replace("ONE = 1", "ONE = 1.0")},
        {"constants": CONSTANTS.replace("2.5", "2.25")},
        {"called": CALLED.replace("2 * x", "3 * x")},
        {"source": SOURCE + "\n"},
    ]
    keys = {key_of(clone(**other).py_func) for other in others}
    assert len(keys | {key}) == len(others) + 1


def test_a_changed_constant_of_another_file_counts(clone):
    assert clone()(20) == 41
    assert clone(constants=CONSTANTS.replace("ONE = 1", "ONE = 5"))(20) == 45


def test_types_that_are_compiled_at_once_keep_their_own_code(clone):
    clones = [clone() for _ in range(4)]
    given = [20, 20.5, 20j, True]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda kernel, value: kernel(value), clones, given))
    again = clone()
    assert [again(value) for value in given] == [41, 42.0, 1 + 40j, 3]
    assert sum(again.stats.cache_hits.values()) == 4


def test_where_the_folder_cannot_be_written_numba_takes_its_own(clone, tmp_path, monkeypatch):
    monkeypatch.setattr(kernel_cache, "_folder", lambda: "")
    work = clone()
    assert work(20) == 41
    assert list(tmp_path.glob("clone*/__pycache__/*.nbi"))


def test_a_folder_that_numba_is_told_of_comes_first(clone, tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "told"))
    clone()(20)
    assert list((tmp_path / "told").glob("*/*.nbi"))
    assert not list((tmp_path / "kernels").glob("*.nbi"))


def test_what_nobody_has_written_for_long_goes(tmp_path):
    for name in ("old.1.nbc", "old.nbi", "new.nbi", "other.txt"):
        (tmp_path / name).write_text("")
    now = (tmp_path / "new.nbi").stat().st_mtime
    kernel_cache._drop_old(tmp_path, now + 60)
    assert len(list(tmp_path.iterdir())) == 4
    kernel_cache._drop_old(tmp_path, now + 91 * 86400)
    assert [path.name for path in tmp_path.iterdir()] == ["other.txt"]
