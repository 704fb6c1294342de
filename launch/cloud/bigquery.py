"""The benchmark's table in BigQuery, through Google's own client."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cellmill.benchmark.columns import bigquery_schema
from cellmill.benchmark.tables import table_parquet
from cellmill.errors import BadInput
from launch.cloud.google_errors import said

#: The table's name where none is given.
TABLE = "cellmill_benchmark"
_NAME = re.compile(r"[\w:-]+(\.[A-Za-z_]\w*){1,2}")


@dataclass(frozen=True)
class Destination:
    """A table of BigQuery.

    Attributes:
        project: that it belongs to.
        dataset: that it is in, which must be there.
        table: its name.
    """

    project: str
    dataset: str
    table: str = TABLE

    def __str__(self) -> str:
        return f"{self.project}.{self.dataset}.{self.table}"

    @classmethod
    def of(cls, text: str) -> Destination:
        """Read `project.dataset`, or `project.dataset.table`.

        Raises:
            BadInput: it is neither.
        """
        if not _NAME.fullmatch(text):
            expected = "project.dataset or project.dataset.table"
            raise BadInput("DATASET", expected=expected, found=repr(text))
        return cls(*text.split("."))


def load_rows(
    rows: Sequence[Mapping[str, Any]], destination: Destination, client: Any = None
) -> tuple[int, int]:
    """Append rows to a table, which is made if it is not there; what it has is not loaded twice.

    Args:
        rows: of the benchmark's table.
        destination: the table.
        client: a `google.cloud.bigquery.Client`; by default one with the user's credentials.

    Returns:
        How many rows were loaded, and how many of the conditions were there already.

    Raises:
        CellmillError: the client is not installed, or BigQuery refuses, in one line.
    """
    with _said(destination):
        from google.cloud import bigquery

        client = client or bigquery.Client(project=destination.project)
        schema = [bigquery.SchemaField.from_api_repr(field) for field in bigquery_schema()]
        table = bigquery.Table(str(destination), schema=schema)
        client.create_table(table, exists_ok=True)
        known = _loaded(client, destination, {row["run"] for row in rows})
        new = [row for row in rows if (row["run"], row["condition"]) not in known]
        asked = {(row["run"], row["condition"]) for row in rows}
        if new:
            config = bigquery.LoadJobConfig(
                source_format=bigquery.SourceFormat.PARQUET,
                schema=schema,
                write_disposition=bigquery.WriteDisposition.WRITE_APPEND,
                schema_update_options=[bigquery.SchemaUpdateOption.ALLOW_FIELD_ADDITION],
            )
            file = io.BytesIO(table_parquet(new))
            job = client.load_table_from_file(file, str(destination), job_config=config)
            job.result()
        return len(new), len(asked & known)


def _loaded(client: Any, destination: Destination, runs: set[str]) -> set[tuple[str, str]]:
    """The conditions of these runs that the table has."""
    from google.cloud import bigquery

    query = f"SELECT DISTINCT run, condition FROM `{destination}` WHERE run IN UNNEST(@runs)"
    parameter = bigquery.ArrayQueryParameter("runs", "STRING", sorted(runs))
    config = bigquery.QueryJobConfig(query_parameters=[parameter])
    found = client.query(query, job_config=config).result()
    return {(row["run"], row["condition"]) for row in found}


def _said(destination: Destination) -> contextlib.AbstractContextManager[None]:
    return said(
        str(destination),
        package="google-cloud-bigquery (make bench-load, or pip install 'cellmill[bigquery]')",
        rights="write there and run jobs (roles/bigquery.dataEditor and jobUser)",
        there="a dataset that is there",
    )
