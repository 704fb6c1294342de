"""Run by deepcell's own Python: object metrics of a stack of label images, as JSON.

Usage: python deepcell_oracle.py STACKS.npz RESULTS.json; the stacks are `truth` and `predicted`.
"""

import json
import math
import sys

import numpy as np
from deepcell.metrics import Metrics, ObjectMetrics


def main(stacks: str, results: str) -> None:
    arrays = np.load(stacks)
    found = []
    for truth, predicted in zip(arrays["truth"], arrays["predicted"]):  # noqa: B905
        values = ObjectMetrics(truth, predicted).to_dict()
        table = Metrics("cellmill").calc_object_stats(truth[None], predicted[None], progbar=False)
        rounded = table.iloc[0].to_dict()
        for name, value in values.items():
            assert name not in rounded or np.allclose(value, rounded[name], equal_nan=True), name
        found.append({k: None if math.isnan(v) else float(v) for k, v in values.items()})
    with open(results, "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
