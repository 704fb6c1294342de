"""Servers as they are run: processes of their own on a free port of this machine."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import requests

from launch import ROOT

WAIT_S = 300


class Server:
    """`python -m serving` with some flags; `with` starts and ends it."""

    def __init__(self, *flags, environ=None):
        self.flags, self.environ = flags, environ or {}
        self.process, self.url = None, ""

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(WAIT_S)
        self.process.stderr.close()

    def start(self, port=0):
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "serving",
                "--host",
                "127.0.0.1",
                "--port",
                f"{port}",
                *self.flags,
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT), **self.environ},
            stderr=subprocess.PIPE,
            text=True,
        )
        # It says so once the network is loaded.
        line = self.process.stderr.readline()
        said = re.search(r"serving .* at (http://\S+)", line)
        assert said, line
        self.url = said[1]

    @property
    def port(self):
        return int(self.url.rsplit(":", 1)[1])

    def get(self, path):
        return requests.get(self.url + path, timeout=WAIT_S)

    def post(self, path, body, **headers):
        if isinstance(body, bytes):
            return requests.post(self.url + path, data=body, headers=headers, timeout=WAIT_S)
        return requests.post(self.url + path, json=body, headers=headers, timeout=WAIT_S)


def wait_until(true, seconds=WAIT_S):
    """Wait for something; nothing is told of how long it takes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(requests.RequestException):
            if true():
                return
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


def discs(shape=(160, 200), seed=0, count=12):
    """An image of bright discs, uint16, and noise."""
    random = np.random.default_rng(seed)
    y, x = np.indices(shape)
    image = random.normal(200, 10, shape)
    for cy, cx in random.uniform(10, np.array(shape) - 10, (count, 2)):
        image += 3000 / (1 + np.exp(np.minimum(np.hypot(y - cy, x - cx) - 9, 50)))
    return np.clip(image, 0, 65535).astype(np.uint16)
