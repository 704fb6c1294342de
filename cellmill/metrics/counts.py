"""Counts that add up over tiles and images, and the one rule for ratios of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, fields
from typing import Any, TypeVar

from cellmill.errors import BadInput

Counts = TypeVar("Counts")


def setting(meaning: str) -> Any:
    """Declare a dataclass field that holds a setting: equal in all that is added up."""
    return field(metadata={"kind": "setting", "meaning": meaning})


def count(meaning: str) -> Any:
    """Declare a dataclass field that holds a sum: added up over tiles or images."""
    return field(metadata={"kind": "count", "meaning": meaning})


def add_counts(parts: Iterable[Counts]) -> Counts:
    """Add records of one dataclass, made of `setting` and `count` fields, up field by field.

    Raises:
        BadInput: there is nothing to add, or settings differ.
    """
    records = list(parts)
    if not records:
        raise BadInput("the results to pool", expected="at least one", found="none")
    first = records[0]
    added = {}
    for each in fields(first):  # type: ignore[arg-type]
        values = [getattr(record, each.name) for record in records]
        if each.metadata["kind"] == "setting":
            for value in values:
                if value != values[0]:
                    raise BadInput(
                        f"the results to pool, {each.name}",
                        expected=f"{values[0]} in all of them",
                        found=f"{value}",
                    )
            added[each.name] = values[0]
        else:
            added[each.name] = sum(values[1:], start=values[0])
    return type(first)(**added)


def counts_from(kind: type[Counts], values: Mapping[str, Any]) -> Counts:
    """Read a record's fields back from a mapping that may hold more."""
    return kind(**{each.name: values[each.name] for each in fields(kind)})  # type: ignore[arg-type]


def ratio(part: float, whole: float, *, both_empty: bool) -> float:
    """Divide; where there is nothing to divide by, say whether that was right.

    A ratio over nothing is 1.0 when truth and prediction are both empty (the prediction is right),
    else 0.0. Every score from 0 to 1 in `cellmill.metrics` follows this rule; means over matched
    pairs are None without a pair.

    Example:
        >>> ratio(3, 4, both_empty=False), ratio(0, 0, both_empty=True)
        (0.75, 1.0)
        >>> ratio(0, 0, both_empty=False)
        0.0
    """
    if whole:
        return float(part / whole)
    return 1.0 if both_empty else 0.0


def f_score(precision: float, recall: float) -> float:
    """Take the harmonic mean of precision and recall; 0 where both are 0."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
