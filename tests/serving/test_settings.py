"""Settings come from flags and variables, and places that clients name from what is allowed."""

import dataclasses
import os

import pytest

from cellmill.errors import BadInput, CellmillError
from serving.places import check_place
from serving.refusals import NotAllowed, TooLarge, refusal_of
from serving.settings import TEXTS, Settings, settings_of


def test_a_flag_goes_before_a_variable_and_that_before_vertex_ais():
    environ = {"AIP_HTTP_PORT": "1", "CELLMILL_SERVING_PORT": "2", "AIP_PREDICT_ROUTE": "/p"}
    assert settings_of([], {}).port == 8080
    assert settings_of([], {"AIP_HTTP_PORT": "1"}).port == 1
    assert settings_of([], environ).port == 2
    assert settings_of(["--port", "3"], environ).port == 3
    assert settings_of([], environ).predict_route == "/p"


def test_every_setting_says_what_it_means():
    assert [each.name for each in dataclasses.fields(Settings)] == [*TEXTS]


@pytest.mark.parametrize(
    ("endpoint", "limit", "seconds"),
    [("", 256 << 20, 600), ("shared", 1_500_000, 60), ("dedicated", 10_000_000, 3600)],
)
def test_an_endpoint_has_its_limits(endpoint, limit, seconds):
    settings = settings_of(["--endpoint", endpoint], {})
    assert (settings.limit, settings.patience) == (limit, seconds)
    assert settings_of(["--endpoint", endpoint, "--most-bytes", "9"], {}).limit == 9


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--port", "x"], "--port: expected a whole number, found 'x'"),
        (["--port", "65536"], "port: expected 0 to 65535"),
        (["--device", "tpu"], "--device: expected one of auto, cpu, gpu, found 'tpu'"),
        (["--trust-model", "yes"], "--trust-model: expected one of true, false"),
        (["--batch-size", "0"], "batch_size: expected at least 1"),
        (["--health-route", "h"], "health_route: expected a path"),
        (["--colour", "red"], "unrecognized arguments"),
    ],
)
def test_a_wrong_setting_is_one_line(flags, line):
    with pytest.raises(CellmillError, match=line):
        settings_of(flags, {})


def test_places_are_those_below_what_is_allowed(tmp_path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    os.symlink(outside, inside / "link")
    allowed = f"{inside} gs://bucket/data/"
    for uri in (str(inside / "x.zarr"), f"file://{inside}/x", f"precomputed://{inside}/x"):
        check_place(uri, allowed, "SOURCES")
    check_place("precomputed://gs://bucket/data/x", allowed, "SOURCES")
    for uri in (
        str(outside),
        f"{inside}-more/x",
        f"{inside}/../outside",
        f"{inside}/link/x",
        "gs://bucket/database/x",
        "gs://bucket/data/../other",
        "gs://bucket/data/%2e%2e/other",
        "https://bucket/data/x",
        "dvid://gs://bucket/data/x",
    ):
        with pytest.raises(NotAllowed, match="place: expected below one of"):
            check_place(uri, allowed, "SOURCES")
    with pytest.raises(NotAllowed, match="SOURCES is empty"):
        check_place("gs://bucket/data/x", "", "SOURCES")


def test_who_is_to_blame_decides_the_status():
    assert refusal_of(BadInput("a", expected="b", found="c")) == (400, "a: expected b, found c")
    assert refusal_of(TooLarge("a", expected="b", found="c"))[0] == 413
    assert refusal_of(MemoryError())[0] == 503
    assert refusal_of(ValueError("a fault")) is None
