"""What rented machines cost: the table agrees with its sources; what it lacks is unknown."""

import json

import pytest

from cellmill.contract import recording
from cellmill.reporting.costs import Rented, dollars, hourly, prices, run_cost
from cellmill.reporting.image_summary import ImageSummary
from cellmill.reporting.summary import Summary, render_summary, summary_json
from cellmill.reporting.timing import stage_totals
from pipelines.accelerators import ACCELERATORS

REGIONS = ("us-central1", "europe-west4")
T4 = Rented("europe-west4", "n1-standard-8", "NVIDIA_TESLA_T4", 1)
SPOT_L4 = Rented("us-central1", "g2-standard-8", "NVIDIA_L4", 1, spot=True)
#: What the parts of the machines that the source quotes come to, by hand.
PARTS = {
    "n1-highmem-16": {"n1 vCPU": 16, "n1 GiB": 104},
    "n1-highcpu-96": {"n1 vCPU": 96, "n1 GiB": 86.4},
}


@pytest.mark.parametrize("machine", prices()["quoted"])
@pytest.mark.parametrize("region", REGIONS)
def test_units_come_to_what_the_source_quotes(machine, region):
    table = prices()
    parts = PARTS.get(machine) or table["machines"][machine]
    for kind in (0, 1):
        total = sum(number * table["units"][unit][region][kind] for unit, number in parts.items())
        assert total == pytest.approx(table["quoted"][machine][region][kind], abs=2e-8)


def test_vertex_ais_fee_gives_the_price_that_it_quotes():
    ((machine, quoted),) = prices()["quoted_vertex"].items()
    for region, price in quoted.items():
        assert hourly(Rented(region, machine)) == pytest.approx(price, abs=1e-9)


def test_every_price_says_where_it_is_from():
    for source in prices()["sources"].values():
        assert source["url"].startswith("https://")
        assert source["date"]


@pytest.mark.parametrize("kind", list(ACCELERATORS.values()), ids=lambda k: k.name)
@pytest.mark.parametrize("region", REGIONS)
def test_each_accelerators_first_machine_has_a_price_and_spot_is_cheaper(kind, region):
    full = hourly(Rented(region, kind.machine, kind.name, 1))
    spot = hourly(Rented(region, kind.machine, kind.name, 1, spot=True))
    assert 0 < spot < full


@pytest.mark.parametrize(
    "machine",
    [
        Rented("mars-north1", "n1-standard-8"),
        Rented("us-central1", "z9-standard-8"),
        Rented("us-central1", "n1-standard-8", "NVIDIA_L4", 1),
        Rented("us-central1", "g2-standard-8", "NVIDIA_L4", 2),
        Rented("", ""),
    ],
)
def test_what_the_table_lacks_is_unknown(machine):
    assert hourly(machine) is None


@pytest.mark.parametrize("machine", [T4, SPOT_L4, Rented("us-central1", "e2-standard-4")])
def test_a_machine_is_told_as_text_and_read_again(machine):
    assert Rented.of(str(machine)) == machine


@pytest.mark.parametrize("text", ["", "a machine", "us/x/NVIDIA:/", "///"])
def test_other_text_is_no_machine(text):
    assert Rented.of(text) is None


def on(record, machine):
    return {**record, "machine": {**record["machine"], "rented": str(machine)}}


def test_seconds_are_priced_by_machine_over_batches(make_record):
    records = [on(make_record("predict", ["a"]), T4), on(make_record("predict", ["b"]), SPOT_L4)]
    totals = stage_totals(
        [*records, on(make_record("measure", ["a"]), "us-central1/e2-standard-4//")]
    )
    assert stage_totals(totals) == totals
    cost = run_cost(totals, 0.5)
    walls = [record["totals"]["wall_s"] for record in records]
    predict = (hourly(T4) * walls[0] + hourly(SPOT_L4) * walls[1]) / 3600
    assert cost.stages[0].usd == pytest.approx(predict)
    assert cost.usd == pytest.approx(sum(stage.usd for stage in cost.stages))
    assert cost.per_gigapixel(cost.usd) == pytest.approx(2 * cost.usd)
    assert prices()["date"] in cost.note


def test_the_summary_says_what_a_run_cost_and_why_it_does_not_know(make_record):
    records = [on(make_record("predict", ["a"]), T4)]
    images = [ImageSummary("a", pixels=2_000_000)]
    known = Summary(images, stage_totals(records))
    said = json.loads(summary_json(known))["cost"]
    assert said["gigapixels"] == 0.002
    assert said["stages"]["predict"]["usd_per_gigapixel"] == said["usd_per_gigapixel"]
    assert said["usd_per_gigapixel"] == pytest.approx(said["usd"] / 0.002, rel=1e-4)
    page = render_summary(known)
    assert "Per gigapixel" in page
    assert dollars(known.cost.usd) in page
    mine = Summary(images, stage_totals([make_record("predict", ["a"])]))
    assert json.loads(summary_json(mine))["cost"]["usd"] is None
    assert "the machines are not known to be rented ones" in render_summary(mine)
    assert "Per gigapixel" not in render_summary(mine)
    elsewhere = Summary(images, stage_totals([on(records[0], "mars-north1/n1-standard-8//")]))
    assert "no price is known of n1-standard-8 in mars-north1" in render_summary(elsewhere)


def test_a_record_says_what_the_launcher_told(monkeypatch):
    monkeypatch.setenv(recording.MACHINE_VARIABLE, str(T4))
    assert Rented.of(recording.machine()["rented"]) == T4
    monkeypatch.delenv(recording.MACHINE_VARIABLE)
    assert recording.machine()["rented"] == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.00001, "< $0.0001"), (0.0123, "$0.0123"), (12.345, "$12.35"), (0, "$0.0000")],
)
def test_dollars(value, text):
    assert dollars(value) == text
