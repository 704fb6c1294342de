"""Tables go into BigQuery through Google's client, to a server of this machine."""

import io
import json
import re
from dataclasses import dataclass, field

import pyarrow.parquet
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from cellmill.benchmark.columns import NAMES, bigquery_schema
from cellmill.errors import BadInput, CellmillError
from launch import load_benchmarks
from launch.cloud.bigquery import Destination, load_rows
from tests.benchmark.tables import LAWS, sweep
from tests.launch.cloud.cloud_stand_ins import Refusal, StandIn

API = "/bigquery/v2/projects/p"


@dataclass
class BigQuery(StandIn):
    """Tables of dataset `d` with their rows; load jobs of Parquet, and the one query we make."""

    tables: dict = field(default_factory=dict)
    rows: dict = field(default_factory=dict)
    jobs: dict = field(default_factory=dict)
    begun: dict = field(default_factory=dict)

    def answer(self, method, path, query, body, headers):
        if path == f"{API}/datasets/d/tables" and method == "POST":
            table = json.loads(body)
            name = table["tableReference"]["tableId"]
            if name in self.tables:
                return 409, {"error": {"code": 409, "message": "Already Exists"}}
            self.tables[name], self.rows[name] = table["schema"]["fields"], []
            return 200, table
        if path == f"{API}/datasets/d/tables/cellmill_benchmark":
            place = {"projectId": "p", "datasetId": "d", "tableId": "cellmill_benchmark"}
            fields = self.tables["cellmill_benchmark"]
            return 200, {"tableReference": place, "schema": {"fields": fields}}
        if path.startswith("/upload"):
            return self.uploaded(method, query, body)
        if path == f"{API}/jobs":
            return 200, self.job(json.loads(body))
        if found := re.fullmatch(f"{API}/jobs/(.+)", path):
            return 200, self.jobs[found[1]]
        if found := re.fullmatch(f"{API}/queries/(.+)", path):
            return 200, self.results(self.jobs[found[1]])
        return 404, {"error": {"code": 404, "message": f"Not found: {path}"}}

    def job(self, job):
        job["status"] = {"state": "DONE"}
        self.jobs[job["jobReference"]["jobId"]] = job
        return job

    def uploaded(self, method, query, body):
        """A resumable upload: a load job's description, then its Parquet."""
        if method == "POST":
            assert query["uploadType"] == "resumable"
            name = str(len(self.begun))
            self.begun[name] = json.loads(body)
            return 200, {}, {"Location": f"{self.url}/upload/{name}?name={name}"}
        job = self.begun[query["name"]]
        load = job["configuration"]["load"]
        assert load["sourceFormat"] == "PARQUET"
        assert load["writeDisposition"] == "WRITE_APPEND"
        table = pyarrow.parquet.read_table(io.BytesIO(body))
        fields = self.tables[load["destinationTable"]["tableId"]]
        assert table.column_names == [each["name"] for each in fields]
        for each in fields:
            assert each["mode"] == "NULLABLE" or not table[each["name"]].null_count
        self.rows[load["destinationTable"]["tableId"]] += table.to_pylist()
        return 200, self.job(job)

    def results(self, job):
        asked = job["configuration"]["query"]
        assert re.search(r"FROM `p\.d\.cellmill_benchmark` WHERE run IN", asked["query"])
        wanted = asked["queryParameters"][0]["parameterValue"]["arrayValues"]
        runs = {each["value"] for each in wanted}
        found = {
            (r["run"], r["condition"]) for r in self.rows["cellmill_benchmark"] if r["run"] in runs
        }
        fields = [{"name": n, "type": "STRING"} for n in ("run", "condition")]
        return {
            "jobComplete": True,
            "jobReference": job["jobReference"],
            "schema": {"fields": fields},
            "totalRows": str(len(found)),
            "rows": [{"f": [{"v": v} for v in pair]} for pair in sorted(found)],
        }


def client(server):
    return bigquery.Client(
        project="p",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": server.url},
    )


def test_rows_go_into_a_table_of_our_schema_once():
    first, second = sweep(LAWS, run="first"), sweep(LAWS, run="second")
    destination = Destination.of("p.d")
    with BigQuery() as server:
        assert load_rows(first, destination, client(server)) == (len(first), 0)
        assert load_rows([*first, *second], destination, client(server)) == (len(second), 4)
        assert load_rows(second, destination, client(server)) == (0, 4)
        loaded = server.rows["cellmill_benchmark"]
        assert len(loaded) == len(first) + len(second)
        assert list(loaded[0]) == list(NAMES)
        assert {row["run"] for row in loaded} == {"first", "second"}
        (sent,) = (json.loads(r[3])["schema"]["fields"] for r in server.requests[:1])
        assert sent == bigquery_schema()


def test_what_is_refused_is_one_line():
    with BigQuery() as server:
        server.refusals.append(Refusal(403, "Access Denied: Dataset p:d"))
        with pytest.raises(CellmillError, match=r"expected the right to write there") as error:
            load_rows(sweep(LAWS), Destination.of("p.d"), client(server))
        assert "\n" not in str(error.value)
        with pytest.raises(BadInput, match="expected a dataset that is there"):
            load_rows(sweep(LAWS), Destination.of("p.other"), client(server))


@pytest.mark.parametrize("text", ["", "p", "p.d.t.x", "p.d; DROP", "p.d.t`", "p..t"])
def test_what_is_no_table_is_refused(text, capsys):
    with pytest.raises(BadInput, match="DATASET: expected"):
        Destination.of(text)
    assert load_benchmarks.main(["--dataset", text, "--records", "x"]) == 2
    assert "DATASET: expected project.dataset" in capsys.readouterr().err
