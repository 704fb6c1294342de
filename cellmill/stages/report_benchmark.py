"""The stage that turns a benchmark's tables into figures, guidelines and a page."""

from __future__ import annotations

import json
from pathlib import Path

from cellmill.arrays.files import open_staged, write_text
from cellmill.benchmark.columns import bigquery_schema
from cellmill.benchmark.page import Report, benchmark_json, render_benchmark
from cellmill.benchmark.tables import merged, read_table, table_csv, table_parquet
from cellmill.contract import HTML, Artifact, Input, Metrics, Output, Record, Table, stage
from cellmill.errors import BadInput


@stage(image="imaging", family="benchmarking")
def report_benchmark(
    tables: Input[list[Table]],
    benchmark: Output[HTML],
    table: Output[Table],
    parquet: Output[Artifact],
    schema: Output[Artifact],
    plots: Output[Artifact],
    numbers: Output[Metrics],
    record: Output[Record],
    baseline: Input[Table] | None = None,
    others: Input[Table] | None = None,
    prices: dict = {},
) -> None:
    """Turn a benchmark's tables into means, fits, figures, guidelines and a page.

    Tables of several runs and machines count together; a condition that is in
    several of them counts once.

    Args:
        tables: Tables as tabulate_benchmark or this stage writes them, CSV or Parquet.
        benchmark: The page, whole in itself: each guideline beside its figure.
        table: All rows, as CSV.
        parquet: All rows, as Parquet; each column's metadata says what it means.
        schema: The table's schema, as BigQuery's schema files are.
        plots: Folder with every figure as PNG and SVG.
        numbers: Means, fits and sentences as JSON; its metadata are the headlines.
        record: What was done, with times and versions.
        baseline: A stored table, CSV or Parquet, in comparison with which regressions are named.
        others: A table that counts with them, as this stage writes it.
        prices: US dollars an hour by a machine's name as the table has it, a JSON object; before
            the table of prices that cellmill brings.
    """
    for name, price in prices.items():
        if isinstance(price, bool) or not isinstance(price, (int, float)) or not 0 <= price < 1e6:
            raise BadInput(
                f"prices, '{name}'", expected="US dollars an hour, 0 or more", found=repr(price)
            )
    with record.step("read"):
        given = [*([others] if others else []), *tables]
        rows = merged([read_table(each.path) for each in given])
        before = read_table(baseline.path) if baseline else []
    if not rows:
        raise BadInput("benchmark tables", expected="at least one row", found="none")
    with record.step("report"):
        report = Report.of(rows, before, prices)
    with record.step("write"):
        write_text(benchmark.path, render_benchmark(report))
        write_text(table.path, table_csv(rows))
        _write_bytes(parquet.path, table_parquet(rows))
        write_text(schema.path, json.dumps(bigquery_schema(), indent=1, ensure_ascii=False) + "\n")
        write_text(numbers.path, benchmark_json(report))
        plots.path.mkdir(parents=True, exist_ok=True)
        for figure in report.figures:
            write_text(plots.path / f"{figure.name}.svg", figure.drawing.svg())
            _write_bytes(plots.path / f"{figure.name}.png", figure.drawing.png())
    carried = sum(each.carried for each in report.guidelines)
    numbers.metadata.update(conditions=len(report.results.measured), guidelines=carried)
    if report.compared:
        numbers.metadata["regressions"] = len(report.compared.regressions)


def _write_bytes(path: Path, data: bytes) -> None:
    with open_staged(path) as file:
        file.write(data)
