"""Fails unless two runs have the same label arrays: `same_labels.py RUN RUN`."""

import sys
from pathlib import Path

import numpy as np
import tifffile


def main(first: Path, second: Path) -> int:
    """Compare every `labels.tif` of two runs; return 0 where all are the same."""
    names = sorted(p.relative_to(first) for p in first.rglob("labels.tif"))
    others = sorted(p.relative_to(second) for p in second.rglob("labels.tif"))
    if not names or names != others:
        print(f"label images differ: {names} and {others}", file=sys.stderr)
        return 1
    for name in names:
        one, other = tifffile.imread(first / name), tifffile.imread(second / name)
        if one.dtype != other.dtype or not np.array_equal(one, other):
            print(f"{name}: the labels differ", file=sys.stderr)
            return 1
        print(f"{name}: {one.shape} {one.dtype}, {one.max()} objects, the same")
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
