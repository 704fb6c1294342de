"""Size models are read as data: values as cellpose wrote them, and nothing is ever run."""

import contextlib
import os
import pickle
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from cellmill.errors import BadInput
from cellmill.models.importing.cellpose_size import read_size_model, size_model_file

VALUES = 16
RANDOM = np.random.default_rng(3)
PARAMETERS = {
    "A": RANDOM.normal(size=VALUES),
    "smean": RANDOM.normal(size=VALUES).astype(np.float32),
    "diam_mean": np.float32(30),
    "ymean": np.float32(0.25),
}
HEADER = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }"


def npy(content: bytes, header: bytes = HEADER) -> bytes:
    """Put bytes behind a header of numpy's."""
    return (
        b"\x93NUMPY\x01\x00" + len(header + b"\n").to_bytes(2, "little") + header + b"\n" + content
    )


def pickled(held: object, protocol: int = 4) -> bytes:
    """Write an object as numpy does, in an array of one."""
    box = np.empty((), object)
    box[()] = held
    return npy(pickle.dumps(box, protocol))


def read(path: Path, data: bytes, values: int = VALUES):
    path.write_bytes(data)
    return read_size_model(path, values, 17.5)


def test_it_is_found_by_the_names_that_cellpose_gives_it(tmp_path):
    assert size_model_file(tmp_path / "cyto3") is None
    for weights, name in (("cyto3", "size_cyto3.npy"), ("my model", "my model_size.npy")):
        (tmp_path / name).write_bytes(b"")
        assert size_model_file(tmp_path / weights) == tmp_path / name


@pytest.mark.parametrize("protocol", range(5))  # numpy writes 3 or 4
@pytest.mark.parametrize("of_numpy_1", [False, True])
def test_values_are_those_that_were_written(tmp_path, protocol, of_numpy_1):
    data = pickled(PARAMETERS, protocol)
    if of_numpy_1 and protocol < 4:  # names have no lengths there
        data = data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    found = read(tmp_path / "size.npy", data)
    assert found.weights == tuple(PARAMETERS["A"])
    assert found.style_mean == tuple(PARAMETERS["smean"].astype(float))
    assert (found.diameter, found.offset, found.shown_diameter) == (30, 0.25, 17.5)
    style = RANDOM.random(VALUES)
    logarithm = PARAMETERS["A"] @ (style - PARAMETERS["smean"]) + np.log(30) + 0.25
    assert found.diameter_of(style) == pytest.approx(max(5, np.exp(logarithm)), rel=1e-12)


@pytest.mark.parametrize(
    "change",
    [
        {"A": PARAMETERS["A"].astype(">f8"), "diam_mean": 30.0, "ymean": 0.25},
        {"A": PARAMETERS["A"].reshape(4, 4).T.reshape(4, 4).T.reshape(-1), "diam_mean": 30},
        {"smean": PARAMETERS["smean"].astype(np.float64), "more": "text"},
    ],
)
def test_other_ways_of_writing_them_are_the_same(tmp_path, change):
    path = tmp_path / "size.npy"
    np.save(path, {**PARAMETERS, **change})
    assert read_size_model(path, VALUES, 17.5) == read(path, pickled(PARAMETERS))


class Runs:
    """Has a pickle call something."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("function", [os.mkdir, eval, np.load, getattr, np.frombuffer])
def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path, protocol, inside, function):
    made = tmp_path / "made"
    argument = f"__import__('os').mkdir({str(made)!r})" if function is eval else str(made)
    held = Runs(function, argument)
    data = pickled({**PARAMETERS, "ymean": held} if inside else held, protocol)
    with pytest.raises(BadInput, match=r"found a pickle that asks for [\w.]+$") as caught:
        read(tmp_path / "size.npy", data)
    assert "\n" not in str(caught.value)
    assert not made.exists()
    with pytest.raises(BadInput):
        read(tmp_path / "size.npy", npy(pickle.dumps(held, protocol)))
    assert not made.exists()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no .npy file"),
        (b"no file of numpy", "no .npy file"),
        (npy(b""), "pickle exhausted before seeing STOP"),
        (npy(b"(S'x'\nios\nsystem\n."), "a pickle with INST"),
        (npy(b"\x80\x02P1\n."), "a pickle with PERSID"),
        (npy(b"\x80\x02\x82\x01."), "a pickle with EXT1"),
        (npy(b"\x80\x02Nr\xff\xff\xff\x7f."), "a pickle with place 2147483647"),
        (npy(b"N."), "a pickle of nonetype"),
        (npy(b"x", HEADER.replace(b"()", b"(3,)")), "an array of '|O', shape (3,)"),
        (npy(b"x", HEADER.replace(b"|O", b"<f8")), "an array of '<f8', shape ()"),
        (npy(b"x", b"__import__('os').getcwd()"), "malformed node"),
        (bytes(1 << 20) + b"x", "more than 1048576 bytes"),
        (pickled([1, 2]), "found list"),
        (pickled({"A": 1}), "found no smean"),
        (pickled({**PARAMETERS, "ymean": "0"}), "expected numbers in ymean, found str"),
        (pickled({**PARAMETERS, "ymean": True}), "expected numbers in ymean, found bool"),
        (pickled({**PARAMETERS, "A": np.ones(8)}), "A of shape (16,), for the style of its netw"),
        (pickled({**PARAMETERS, "A": np.arange(VALUES)}), "an array of 'i8'"),
        (pickled({**PARAMETERS, "A": np.full(VALUES, np.nan)}), "finite numbers in A"),
        (pickled({**PARAMETERS, "diam_mean": -3.0}), "expected diameter more than 0, found -3.0"),
    ],
)
def test_what_is_no_size_model_is_one_line(tmp_path, data, says):
    with pytest.raises(BadInput) as caught:
        read(tmp_path / "size.npy", data)
    assert str(caught.value).startswith(f"size model '{tmp_path / 'size.npy'}': expected ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@hypothesis.given(st.integers(0, 2000), st.integers(0, 255), st.sampled_from([0, 2, 4]))
def test_a_file_with_another_byte_is_read_or_refused(tmp_path_factory, place, byte, protocol):
    data = bytearray(pickled(PARAMETERS, protocol))
    data[place % len(data)] = byte
    path = tmp_path_factory.getbasetemp() / "changed.npy"
    with contextlib.suppress(BadInput):
        assert len(read(path, bytes(data)).weights) == VALUES
