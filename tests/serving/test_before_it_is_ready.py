"""While the network is loading a server says so, and that one may ask again."""

import asyncio

import httpx
import pytest

from serving.app import State, application
from serving.metrics import Metrics
from serving.settings import Settings

LATER = [
    ("POST", "/v2/models/any/infer"),
    ("POST", "/predict"),
    ("GET", "/v2/models/any"),
    ("GET", "/v2/models/any/ready"),
]


def asked(method, path):
    """What an application answers whose network is not there yet."""
    transport = httpx.ASGITransport(application(Settings(), State(), Metrics()))

    async def main():
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.request(method, path)

    return asyncio.run(main())


@pytest.mark.parametrize(("method", "path"), LATER)
def test_what_needs_the_network_may_be_asked_again(method, path):
    answer = asked(method, path)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json() == {"error": "model: expected loaded, found still loading"}


def test_it_lives_and_is_not_ready():
    assert asked("GET", "/v2/health/live").json() == {"live": True}
    for path in ("/v2/health/ready", "/health"):
        assert asked("GET", path).status_code == 503
