"""Models come whole, verified and carded, from wherever; a server stands in for DeepCell's."""

import contextlib
import hashlib
import io
import json
import multiprocessing
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import parse_qs

import fsspec
import pytest

from cellmill.errors import BadInput, CellmillError
from cellmill.io.digests import folder_digest
from cellmill.models import card as cards
from cellmill.models import download, fetch
from cellmill.models.card import ModelCard, known_cards
from cellmill.models.fetch import copy_model, fetch_model
from cellmill.models.shipped import shipped_models

TOKEN = "secret-token-of-a-user"
GRAPH = b"graph" * 5000


def model_tar(**members):
    """A .tar.gz as DeepCell's: a folder with a SavedModel, no card."""
    members = members or {"saved_model.pb": GRAPH, "variables/variables.index": b"index"}
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(f"MultiplexSegmentation/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return data.getvalue()


class DataApi(BaseHTTPRequestHandler):
    """DeepCell's data API and its store: POST a key with a token, get a signed URL, GET it."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        state = self.server.state
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        state.posts.append((self.path, dict(self.headers), parse_qs(body)))
        if state.post_answers:
            status, headers, content = state.post_answers.pop(0)
            return self.answer(status, content, headers)
        if self.headers["X-Api-Key"] != TOKEN:
            return self.answer(403, b'{"error": "Invalid token"}')
        if parse_qs(body).get("s3_key") not in [[key] for key in state.assets]:
            return self.answer(404, b"{}")
        key = parse_qs(body)["s3_key"][0]
        url = f"http://127.0.0.1:{self.server.server_port}/{key}?signature=hidden"
        return self.answer(200, json.dumps({"url": url, "size": "1.0 MB"}).encode())

    def do_GET(self):
        state = self.server.state
        state.gets.append((self.path, dict(self.headers)))
        if state.get_answers:
            status, headers, content = state.get_answers.pop(0)
            return self.answer(status, content, headers)
        path, _, query = self.path[1:].partition("?")
        if query != "signature=hidden" and not path.startswith("public/"):
            return self.answer(403, b"<Error>AccessDenied</Error>")
        if path not in state.assets:
            return self.answer(404, b"")
        return self.answer(200, state.assets[path])

    def do_HEAD(self):
        self.answer(404, b"")

    def answer(self, status, content, headers=None):
        headers = {"Content-Length": str(len(content)), **(headers or {})}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        if int(headers["Content-Length"]) != len(content):
            self.close_connection = True

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The stand-in, a fresh cache, and Mesmer's card with the md5 of the stand-in's archive."""
    archive = model_tar()
    asset = known_cards()["Mesmer"].weights.location
    state = SimpleNamespace(
        assets={asset: archive, "public/weights": archive},
        posts=[],
        gets=[],
        post_answers=[],
        get_answers=[],
        archive=archive,
        asset=asset,
    )
    http = ThreadingHTTPServer(("127.0.0.1", 0), DataApi)
    http.state = state
    threading.Thread(target=http.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{http.server_port}"
    monkeypatch.setenv("CELLMILL_DEEPCELL_API", f"{state.url}/api/getData/")
    monkeypatch.setenv("DEEPCELL_ACCESS_TOKEN", TOKEN)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "_FIRST_WAIT_S", 0.01)
    state.digest = f"md5:{hashlib.md5(archive).hexdigest()}"
    yield state
    http.shutdown()
    http.server_close()


def nothing_left(tmp_path):
    cache = tmp_path / "cache/cellmill/models"
    return not [p for p in cache.glob("*") if not p.name.endswith(".lock")]


@pytest.mark.parametrize(
    "name", ["Mesmer", "mesmer", "MultiplexSegmentation", "MultiplexSegmentation-9"]
)
def test_known_name_is_fetched_once_with_the_token(server, name):
    fetched = fetch_model(name, digest=server.digest)
    assert (fetched.folder / "saved_model.pb").read_bytes() == GRAPH
    assert fetched.card == known_cards()["Mesmer"]
    path, headers, body = server.posts[0]
    assert (path, headers["X-Api-Key"]) == ("/api/getData/", TOKEN)
    assert body == {"s3_key": ["models/MultiplexSegmentation-9.tar.gz"]}
    assert "X-Api-Key" not in server.gets[0][1]
    assert fetch_model(name, digest=server.digest).folder == fetched.folder
    assert (len(server.posts), len(server.gets)) == (1, 1)


def test_published_checksum_is_demanded(server, tmp_path):
    with pytest.raises(BadInput, match="a1dfbce2594f927b9112f23a0a1739e0") as error:
        fetch_model("Mesmer")
    assert server.digest.removeprefix("md5:") in str(error.value)
    assert nothing_left(tmp_path)


def test_cached_model_needs_no_token(server, monkeypatch):
    fetch_model("Mesmer", digest=server.digest)
    monkeypatch.delenv("DEEPCELL_ACCESS_TOKEN")
    assert fetch_model("Mesmer", digest=server.digest).card.name == "Mesmer"


@pytest.mark.parametrize("token", [None, "", "  "])
def test_no_token(server, monkeypatch, token):
    monkeypatch.delenv("DEEPCELL_ACCESS_TOKEN")
    if token is not None:
        monkeypatch.setenv("DEEPCELL_ACCESS_TOKEN", token)
    with pytest.raises(BadInput, match=r"DEEPCELL_ACCESS_TOKEN.*found none"):
        fetch_model("Mesmer")
    assert not server.posts


def failing(server, **setting):
    for name, value in setting.items():
        setattr(server, name, value)
    with pytest.raises(CellmillError) as error:
        fetch_model("Mesmer", digest=server.digest)
    text = str(error.value)
    assert "\n" not in text
    assert TOKEN not in text
    assert "signature" not in text
    return error.value


def test_refused_token(server, monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPCELL_ACCESS_TOKEN", "wrong")
    error = failing(server)
    assert isinstance(error, BadInput)
    assert "HTTP 403" in str(error)
    assert len(server.posts) == 1
    assert nothing_left(tmp_path)


def test_no_such_asset(server):
    assert "MultiplexSegmentation-9" in str(failing(server, assets={}))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"url": 3}', b'{"url": "file:///etc"}'])
def test_answer_without_a_url(server, body):
    assert "download address" in str(failing(server, post_answers=[(200, {}, body)]))


def test_redirects_are_not_followed_with_the_token(server):
    elsewhere = {"Location": f"{server.url}/elsewhere"}
    failing(server, post_answers=[(307, elsewhere, b"")])
    assert [path for path, _, _ in server.posts] == ["/api/getData/"]


def test_token_goes_to_https_or_this_machine_only(server, monkeypatch):
    monkeypatch.setenv("CELLMILL_DEEPCELL_API", "http://example.org/api/")
    assert "https" in str(failing(server))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_server_errors_are_tried_again(server, status):
    server.post_answers = [(status, {}, b"")] * 2
    server.get_answers = [(status, {"Retry-After": "0"}, b"")] * 2
    assert fetch_model("Mesmer", digest=server.digest).folder.is_dir()
    assert (len(server.posts), len(server.gets)) == (3, 3)


def test_server_that_stays_down(server, tmp_path):
    assert "HTTP 503" in str(failing(server, get_answers=[(503, {}, b"")] * 9))
    assert nothing_left(tmp_path)


def test_server_that_is_not_there(server, monkeypatch):
    monkeypatch.setenv("CELLMILL_DEEPCELL_API", "http://127.0.0.1:9/")
    assert "no answer from" in str(failing(server))


def test_truncated_download_is_tried_again_then_refused(server, tmp_path):
    half = server.archive[: len(server.archive) // 2]
    short = (200, {"Content-Length": str(len(server.archive))}, half)
    server.get_answers = [short]
    assert fetch_model("Mesmer", digest=server.digest).folder.is_dir()
    assert len(server.gets) == 2


def test_always_truncated(server, tmp_path):
    half = server.archive[: len(server.archive) // 2]
    short = (200, {"Content-Length": str(len(server.archive))}, half)
    assert "truncated after" in str(failing(server, get_answers=[short] * 9))
    assert nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"readme.txt": b"hello"}, "not a model"),
        ({"a/saved_model.pb": b"1", "b/saved_model.pb": b"2"}, "several"),
        ({"../../../escape": b"1", "saved_model.pb": b"2"}, "names below its own folder"),
    ],
)
def test_archives_that_are_no_models(server, tmp_path, members, says):
    archive = model_tar(**members)
    digest = f"md5:{hashlib.md5(archive).hexdigest()}"
    assert says in str(failing(server, assets={server.asset: archive}, digest=digest))
    assert nothing_left(tmp_path)


def _fetch(digest, queue):
    queue.put(str(fetch_model("Mesmer", digest=digest).folder))


def test_concurrent_first_use(server, tmp_path):
    fork = multiprocessing.get_context("fork")
    queue = fork.Queue()
    running = [fork.Process(target=_fetch, args=(server.digest, queue)) for _ in range(4)]
    for process in running:
        process.start()
    folders = {queue.get(timeout=30) for _ in running}
    for process in running:
        process.join()
    assert len(folders) == 1
    places = [p for p in (tmp_path / "cache/cellmill/models").iterdir() if p.is_dir()]
    assert [str(p) for p in places] == list(folders)


@pytest.fixture
def saved_model(tmp_path):
    folder = tmp_path / "my model's"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(GRAPH)
    (folder / "variables" / "variables.index").write_bytes(b"index")
    return folder


def test_local_folder(saved_model, tmp_path):
    with pytest.raises(BadInput, match="a model without a card"):
        fetch_model(str(saved_model))
    card = known_cards()["Mesmer"]
    card.save(tmp_path)
    fetched = fetch_model(str(saved_model), card=str(tmp_path / "model.json"))
    assert fetched.card == card
    copy_model(fetched, tmp_path / "out")
    assert (tmp_path / "out/variables/variables.index").read_bytes() == b"index"
    assert ModelCard.load(tmp_path / "out") == card
    assert not (saved_model / "model.json").exists()
    again = fetch_model((tmp_path / "out").as_uri(), digest=folder_digest(tmp_path / "out"))
    assert again.card == card
    (tmp_path / "out/saved_model.pb").write_bytes(b"changed")
    with pytest.raises(BadInput, match="sha256"):
        fetch_model(str(tmp_path / "out"), digest=folder_digest(saved_model))


def test_only_the_models_files_are_copied(saved_model, tmp_path):
    known_cards()["Mesmer"].save(saved_model)
    (saved_model / "notes.txt").write_text("private")
    copy_model(fetch_model(str(saved_model)), tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "model.json",
        "saved_model.pb",
        "variables",
    ]


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
def test_local_archive(saved_model, tmp_path, monkeypatch, suffix):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    known_cards()["Mesmer"].save(saved_model)
    path = tmp_path / f"an archive{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in saved_model.rglob("*"):
                archive.write(file, f"m/{file.relative_to(saved_model)}")
    else:
        with tarfile.open(path, "w:gz") as archive:
            archive.add(saved_model, "m")
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    fetched = fetch_model(str(path), digest=f"sha256:{sha}")
    assert fetched.card.name == "Mesmer"
    assert fetch_model(str(path)).folder == fetched.folder
    with pytest.raises(BadInput, match="expected sha256"):
        fetch_model(str(path), digest="sha256:" + "0" * 64)


def test_web_archive(server, tmp_path):
    known_cards()["Mesmer"].save(tmp_path)
    card = str(tmp_path / "model.json")
    fetched = fetch_model(f"{server.url}/public/weights", card=card)
    assert (fetched.folder / "saved_model.pb").read_bytes() == GRAPH
    with pytest.raises(BadInput, match="HTTP 403") as error:
        fetch_model(f"{server.url}/private?signature=stale", card=card)
    assert "stale" not in str(error.value)


def test_remote_folder(saved_model, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    known_cards()["Mesmer"].save(saved_model)
    store = fsspec.filesystem("memory")
    store.put(str(saved_model), "/bucket/model", recursive=True)
    with contextlib.closing(SimpleNamespace(close=lambda: store.rm("/bucket", recursive=True))):
        fetched = fetch_model("memory://bucket/model")
        assert (fetched.folder / "variables/variables.index").read_bytes() == b"index"
        assert fetched.card.name == "Mesmer"
        with pytest.raises(BadInput, match=r"saved_model\.pb"):
            fetch_model("memory://bucket/nothing")
        # A card alone is a model too, if it needs no network.
        alone = tmp_path / "alone"
        for name in ("voronoi_otsu", "Mesmer"):
            (alone / name).mkdir(parents=True)
            known_cards()[name].save(alone / name)
        store.put(str(alone), "/bucket/alone", recursive=True)
        fetched = fetch_model("memory://bucket/alone/voronoi_otsu")
        assert fetched.card == known_cards()["voronoi_otsu"]
        with pytest.raises(BadInput, match=r"saved_model\.pb"):
            fetch_model("memory://bucket/alone/Mesmer")


@pytest.mark.parametrize("source", ["nowhere/at/all", "Mesmre", "x.tar.gz"])
def test_nothing_there(source):
    with pytest.raises(BadInput, match="Mesmer"):
        fetch_model(source)


def test_wrong_digest_text(tmp_path, server):
    with pytest.raises(BadInput, match="hexadecimal"):
        fetch_model("Mesmer", digest="sha256:xyz")


@pytest.mark.parametrize("name", fetch.DEFAULT_NAMES)
def test_the_default_model_segments_nuclei(name):
    fetched = fetch_model(name)
    assert fetched.card.name == next(iter(shipped_models()))
    assert fetched.card.compartments == ("nuclear",)


@pytest.mark.parametrize("name", shipped_models())
def test_shipped_models_are_had_by_name_and_small(name):
    fetched = fetch_model(name.upper())
    assert (fetched.card.name, fetched.folder) == (name, shipped_models()[name])
    assert cards.ModelCard.load(fetched.folder) == fetched.card
    assert fetched.card.accuracy
    assert fetched.card.training["images"]
    size = sum(p.stat().st_size for p in fetched.folder.rglob("*") if p.is_file())
    assert size <= 4_000_000
