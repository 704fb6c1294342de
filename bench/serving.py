"""How fast a server answers under load, on loopback: p50, p99, errors, images a second.

`python -m bench.serving [--model cellmill-nuclei] [--side 256] [--requests 200] [--clients 1,4,16]`
`python -m bench.serving --boxes 64 [--requests 40] [--clients 1,4]`

The server is a process of its own, as it runs in its image. Clients keep their connections and send
the next image as soon as the last one is answered, as binary tensors (V2). Every answer is held
against the first of its image. With `--boxes` a style-transfer network of random weights is served,
planes across three axes, and asked for boxes of that side.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import requests

from cellmill.arrays.files import write_text
from cellmill.errors import CellmillError
from cellmill.style_transfer.network import (
    build_generator,
    export_generator,
    generator_card,
    reach_of,
)
from launch import ROOT

_IMAGES = 4
_HEADER = "Inference-Header-Content-Length"


def main(argv: Sequence[str] | None = None) -> int:
    """Print one row a number of clients."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="cellmill-nuclei", help="name, path or URI of a model")
    parser.add_argument("--side", type=int, default=256, help="of an image, pixels")
    parser.add_argument("--boxes", type=int, default=0, help="side of boxes of style transfer")
    parser.add_argument("--requests", type=int, default=200, help="for each number of clients")
    parser.add_argument("--clients", default="1,4,16", help="at once, with commas between")
    given = parser.parse_args(argv)
    rows = []
    with contextlib.ExitStack() as stack:
        model, images = given.model, _images(given.side)
        if given.boxes:
            model = _generator(Path(stack.enter_context(tempfile.TemporaryDirectory())))
            images = _boxes(given.boxes)
        url = stack.enter_context(_server(model))
        name = _model_of(url)
        bodies = [_body(image) for image in images]
        target = f"{url}/v2/models/{name}/infer"
        expected = [_ask(requests.Session(), target, body)[1] for body in bodies]
        for clients in map(int, given.clients.split(",")):
            rows.append(_measure(target, bodies, expected, clients, given.requests))
            print("  ".join(f"{key} {value:g}" for key, value in rows[-1].items()), flush=True)
    place = ROOT / "outputs" / "bench" / "serving.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    about = {"model": name, "side": given.boxes or given.side, "rows": rows}
    write_text(place, json.dumps(about, indent=1) + "\n")
    return 0


def _measure(
    target: str, bodies: Sequence[bytes], expected: Sequence[bytes], clients: int, count: int
) -> dict[str, float]:
    """Ask for all images once, by so many clients; seconds are a client's."""

    def client(first: int) -> list[tuple[float, bool]]:
        found = []
        with requests.Session() as session:
            for number in range(first, count, clients):
                which = number % len(bodies)
                begun = time.perf_counter()
                status, answer = _ask(session, target, bodies[which])
                spent = time.perf_counter() - begun
                found.append((spent, status == 200 and answer == expected[which]))
        return found

    begun = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        found = [row for rows in pool.map(client, range(clients)) for row in rows]
    wall = time.perf_counter() - begun
    seconds = np.array([spent for spent, _ in found])
    return {
        "clients": clients,
        "requests": len(found),
        "errors": sum(not good for _, good in found),
        "p50_ms": round(float(np.percentile(seconds, 50)) * 1e3, 1),
        "p99_ms": round(float(np.percentile(seconds, 99)) * 1e3, 1),
        "images_per_second": round(len(found) / wall, 2),
    }


def _ask(session: requests.Session, target: str, body: bytes) -> tuple[int, bytes]:
    """Send a body; give the status and the bytes of the answer's tensors."""
    length = body.index(b"}\n") + 1
    answer = session.post(target, data=body, headers={_HEADER: f"{length + 1}"}, timeout=600)
    start = int(answer.headers.get(_HEADER, "0"))
    return answer.status_code, answer.content[start:]


def _images(side: int) -> Iterator[np.ndarray]:
    """Discs and noise, uint16."""
    y, x = np.indices((side, side))
    for seed in range(_IMAGES):
        random = np.random.default_rng(seed)
        image = random.normal(200, 10, (side, side))
        for cy, cx in random.uniform(0, side, (side * side // 2500 + 1, 2)):
            image += 3000 / (1 + np.exp(np.minimum(np.hypot(y - cy, x - cx) - 9, 50)))
        yield np.clip(image, 0, 65535).astype(np.uint16)


def _boxes(side: int) -> Iterator[np.ndarray]:
    """Noise, uint8."""
    for seed in range(_IMAGES):
        yield np.random.default_rng(seed).integers(0, 256, (side, side, side), np.uint8)


def _generator(folder: Path) -> str:
    """Write a style-transfer network of random weights."""
    levels = (128.0, 74.0)
    export_generator(build_generator(residual=False), folder, levels, levels)
    generator_card("random", reach=reach_of(2)).save(folder)
    return str(folder)


def _body(image: np.ndarray) -> bytes:
    kind = f"{image.dtype}".upper()
    tensor: dict[str, Any] = {"name": "image", "datatype": kind, "shape": list(image.shape)}
    tensor["parameters"] = {"binary_data_size": image.nbytes}
    parameters = {"binary_data_output": True, **({"mpp": 0.65} if image.ndim == 2 else {})}
    text = json.dumps({"inputs": [tensor], "parameters": parameters})
    return text.encode() + b"\n" + image.tobytes()


def _model_of(url: str) -> str:
    page = requests.get(f"{url}/metrics", timeout=60).text
    found = re.search(r'cellmill_model_info\{.*?name="([^"]+)"', page)
    if not found:
        raise CellmillError("server: expected to say which model it serves, found nothing")
    return found[1]


@contextlib.contextmanager
def _server(model: str) -> Iterator[str]:
    """A server on a free port; yields its address once it is ready."""
    command = [sys.executable, "-m", "serving", "--model", model, "--host", "127.0.0.1"]
    process = subprocess.Popen(
        [*command, "--port", "0"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r" at (http://\S+)", line)
        if not found:
            raise CellmillError(line.strip() or "server: expected to start, found that it ended")
        yield found[1]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


if __name__ == "__main__":
    raise SystemExit(main())
