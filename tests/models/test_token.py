"""The DeepCell token: from the environment or a secret, read under the account of the machine."""

import hashlib
import io
import json
import logging
import tarfile

import pytest

from cellmill.contract.cli import main
from cellmill.errors import BadInput, CellmillError
from cellmill.models.token import access_token
from tests.launch.cloud import cloud_stand_ins as stand_ins

NAME = "projects/some-project/secrets/deepcell/versions/3"
TOKEN = "deepcell-token-nobody-may-see"


@pytest.fixture(scope="module")
def account(tmp_path_factory):
    """A service account, and the file that says who it is."""
    with stand_ins.Accounts() as server:
        path = tmp_path_factory.mktemp("account") / "key.json"
        path.write_text(json.dumps(server.key()))
        yield path


@pytest.fixture
def manager(monkeypatch, account):
    """Secret Manager, and a machine that runs as an account that may read it."""
    monkeypatch.delenv("DEEPCELL_ACCESS_TOKEN", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account))
    with stand_ins.SecretManager() as server:
        monkeypatch.setenv("CELLMILL_SECRET_MANAGER", server.url)
        monkeypatch.setenv("DEEPCELL_TOKEN_SECRET", NAME)
        server.secrets[NAME] = f"{TOKEN}\n".encode()
        yield server


def environment(server, **more):
    return {"DEEPCELL_TOKEN_SECRET": NAME, "CELLMILL_SECRET_MANAGER": server.url, **more}


def test_the_machine_reads_the_secret_as_whom_it_runs(manager):
    assert access_token("a model", environment(manager)) == TOKEN
    ((method, path, _, _),) = manager.requests
    assert (method, path) == ("GET", f"/v1/{NAME}:access")


def test_a_token_in_the_environment_needs_no_secret(manager):
    found = access_token("a model", environment(manager, DEEPCELL_ACCESS_TOKEN="mine"))
    assert found == "mine"
    assert not manager.requests


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        (b"", "expected your access token in DEEPCELL_ACCESS_TOKEN"),
        (b"\xff\xfe", "expected text, found no text"),
        (b"two\nlines", "characters no token has"),
    ],
)
def test_a_secret_that_is_no_token_is_refused_unseen(manager, secret, says):
    manager.secrets[NAME] = secret
    with pytest.raises(BadInput, match=says) as caught:
        access_token("a model", environment(manager))
    assert "lines" not in str(caught.value)


def test_what_secret_manager_refuses_is_one_line_with_the_role(manager):
    with pytest.raises(BadInput, match="an enabled version of a secret, found HTTP 404"):
        access_token("x", environment(manager, DEEPCELL_TOKEN_SECRET=NAME.replace("3", "4")))
    manager.token = "another"
    with pytest.raises(BadInput, match=r"roles/secretmanager\.secretAccessor") as caught:
        access_token("x", environment(manager))
    assert "\n" not in str(caught.value)


def test_what_cannot_be_asked_is_one_line(manager, monkeypatch):
    with pytest.raises(CellmillError, match="expected an answer from Secret Manager") as caught:
        access_token("x", environment(manager, CELLMILL_SECRET_MANAGER="http://127.0.0.1:1"))
    assert "\n" not in str(caught.value)
    with pytest.raises(BadInput, match="expected an https address"):
        access_token("x", environment(manager, CELLMILL_SECRET_MANAGER="http://example.org"))
    with pytest.raises(BadInput, match="versions") as caught:
        access_token("x", environment(manager, DEEPCELL_TOKEN_SECRET=TOKEN))
    assert TOKEN not in str(caught.value), "a token where its secret's name should be"


class DeepCell(stand_ins.StandIn):
    """DeepCell's data API: it gives a model to who has the token."""

    model = b""

    def answer(self, method, path, query, body, headers):
        if method == "POST":
            if headers.get("X-Api-Key") != TOKEN:
                return 403, {}
            return 200, {"url": f"{self.url}/model.tar.gz"}
        return 200, self.model


def test_a_model_is_fetched_by_the_secret_and_the_token_is_written_nowhere(
    manager, tmp_path, monkeypatch, caplog, capfd
):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        info = tarfile.TarInfo("M/saved_model.pb")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"\x08\x81\x01\x08\x01"))
    checksum = f"md5:{hashlib.md5(data.getvalue()).hexdigest()}"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    caplog.set_level(logging.DEBUG)
    folder = tmp_path / "outputs"
    with DeepCell() as server:
        server.model = data.getvalue()
        monkeypatch.setenv("CELLMILL_DEEPCELL_API", f"{server.url}/api/")
        arguments = ["--source", "Mesmer", "--model", str(folder / "model")]
        arguments += ["--record", str(folder / "record")]
        assert main(["fetch_model", *arguments, "--digest", checksum]) == 0
        manager.secrets[NAME] = b"refused-token-nobody-may-see"
        assert main(["fetch_model", *arguments, "--digest", "md5:" + "0" * 32]) == 2
    said = capfd.readouterr()
    assert "HTTP 403" in said.err
    written = [p.read_bytes() for p in folder.rglob("*") if p.is_file()]
    assert len(written) == 3, "graph, card and record"
    everything = b"".join(written) + f"{said}{caplog.text}".encode()
    assert b"nobody-may-see" not in everything
    cached = [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]
    assert not any(b"nobody-may-see" in p.read_bytes() for p in cached)
