"""Results in the forms of other programs, from batches that other stages made."""

import pytest

from cellmill.arrays.batch import Batch
from cellmill.contract import Dataset, Record
from cellmill.errors import BadInput
from cellmill.exports.programs import PROGRAMS
from cellmill.stages.export_results import export_results


def exported(measured, tmp_path, **how):
    labels, tables = measured
    out = Dataset(tmp_path / "exports")
    images = Dataset(tmp_path / "images")
    export_results(images, labels, tables, out, Record(tmp_path / "record.json"), **how)
    return Batch.open(out.path)


def test_each_image_gets_the_forms_that_are_named(measured, tmp_path):
    mine = {name: program for name, program in PROGRAMS.items() if not program.series}
    batch = exported(measured, tmp_path, formats=",".join(mine))
    assert [e.status for e in batch.entries] == ["ok", "ok", "skipped"]
    for entry in batch.entries[:2]:
        assert set(entry.files) == {program.suffix for program in mine.values()}
        assert all(batch.file(entry, suffix).exists() for suffix in entry.files)


def test_without_a_name_nothing_is_written(measured, tmp_path):
    batch = exported(measured, tmp_path)
    assert [dict(e.files) for e in batch.entries] == [{}, {}, {}]


def test_a_form_that_is_none_is_refused_before_anything_is_written(measured, tmp_path):
    with pytest.raises(BadInput, match=r"parameter formats: expected of geojson, .*, found csv"):
        exported(measured, tmp_path, formats="csv")
    assert not (tmp_path / "exports").exists()
