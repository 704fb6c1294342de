"""What `cellmill neuroglancer` serves is what the state names, and nothing else."""

import contextlib
import json
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest

from cellmill.commands.neuroglancer import main, server_of
from cellmill.contract.cli import main as command_line
from cellmill.style_transfer.volumes import Volume, open_volume
from cellmill.style_transfer.writing import create_levels, levels_like
from tests.style_transfer import stored_volumes as stored

VALUES = stored.some_values((12, 40, 36))
LIKE = Volume("a", VALUES, (3, 5, 9), (30.0, 5.0, 4.0))


def written(place):
    arrays = create_levels(str(place), LIKE, 16, levels_like(LIKE, 2))
    for array in arrays:
        array.write(VALUES[tuple(slice(0, n) for n in array.shape)]).result()
    return str(place)


@contextlib.contextmanager
def serving(said):
    server, state = server_of(said)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def asked(address, **headers):
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as answer:
        return answer.status, dict(answer.headers), answer.read()


@pytest.mark.parametrize(("source", "made"), [("x", "y.zarr"), ("x.zarr", "y")])
def test_both_volumes_are_read_where_the_state_says(tmp_path, source, made):
    said = {"source": written(tmp_path / source), "volume": written(tmp_path / made)}
    with serving(said) as (state, _):
        assert [layer["name"] for layer in state["layers"]] == ["source", "transferred"]
        source, made = (layer["source"] for layer in state["layers"])
        for address in (source, made["url"]):
            for scale in (0, 1):
                volume = open_volume(address, scale=scale)
                part = tuple(slice(0, n) for n in volume.shape)
                np.testing.assert_array_equal(volume[...], VALUES[part])
        assert state["position"] == [9 + 18, 5 + 20, 3 + 6]


def test_pages_of_other_addresses_may_read_it_and_parts_of_files(tmp_path):
    said = {"source": written(tmp_path / "x"), "volume": written(tmp_path / "y")}
    whole = (tmp_path / "x" / "info").read_bytes()
    with serving(said) as (_, address):
        status, headers, content = asked(f"{address}/source/info")
        assert (status, headers["Access-Control-Allow-Origin"]) == (200, "*")
        assert content == whole
        for part, wanted in (("3-7", whole[3:8]), ("5-", whole[5:]), ("-4", whole[-4:])):
            status, headers, content = asked(f"{address}/source/info", Range=f"bytes={part}")
            assert (status, content) == (206, wanted)
            assert headers["Content-Range"].endswith(f"/{len(whole)}")
        with pytest.raises(urllib.error.HTTPError, match="416"):
            asked(f"{address}/source/info", Range="bytes=99999-")


def test_nothing_else_is_served(tmp_path):
    said = {"source": written(tmp_path / "x"), "volume": written(tmp_path / "y")}
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "x" / "link").symlink_to(tmp_path / "secret")
    names = ("", "source", "source/../secret", "source/%2e%2e/secret", "source/link", "secret")
    with serving(said) as (_, address):
        for name in (*names, "transferred/nothing", f"source/{tmp_path / 'secret'}"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                asked(f"{address}/{name}")


def test_what_neuroglancer_does_not_read_is_left_out(tmp_path):
    stack = stored.stack(tmp_path / "a.tif", VALUES)
    with serving({"source": stack, "volume": written(tmp_path / "y")}) as (state, _):
        assert [layer["name"] for layer in state["layers"]] == ["transferred"]


def test_what_cannot_be_shown_is_one_line(tmp_path, capsys):
    (tmp_path / "volume.json").write_text("{}")
    taken, _ = server_of({"source": written(tmp_path / "x"), "volume": written(tmp_path / "y")})
    with taken:
        port = taken.server_address[1]
        said = json.dumps({"source": str(tmp_path / "x"), "volume": str(tmp_path / "y")})
        (tmp_path / "good.json").write_text(said)
        for arguments, line in (
            ([str(tmp_path / "none")], "expected the folder of a transferred volume"),
            ([str(tmp_path)], "expected volume.json, found KeyError('volume')"),
            ([str(tmp_path / "good.json"), "--port", str(port)], "port: expected one that is free"),
        ):
            assert command_line(["n", *arguments], {"n": main}) == 2
            said = capsys.readouterr().err
            assert line in said
            assert said.count("\n") == 1
