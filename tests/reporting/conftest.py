"""Images of round cells, and what a report is made of."""

import numpy as np
import pytest

from cellmill.measurement import measure_compartments, measure_labels
from cellmill.metrics import evaluate
from cellmill.reporting.subject import Subject


def disks(shape=(120, 160), step=20, radius=7, seed=0, jitter=2):
    """Draw labelled disks on a grid, each a little off its place."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    y, x = np.mgrid[: shape[0], : shape[1]]
    count = 0
    for row in range(step // 2, shape[0], step):
        for column in range(step // 2, shape[1], step):
            dy, dx = rng.integers(-jitter, jitter + 1, 2) if jitter else (0, 0)
            count += 1
            labels[(y - row - dy) ** 2 + (x - column - dx) ** 2 <= radius**2] = count
    return labels


def record(stage, names, wall=0.25):
    return {
        "stage": stage,
        "version": "0.1.0",
        "image": "localhost/cellmill-imaging:0.1.0",
        "libraries": {"numpy": "2.2.6"},
        "parameters": {"mpp": 0.5, "title": "</script><script>alert(1)</script>"},
        "images": [
            {
                "name": name,
                "status": "ok",
                "error": "",
                "wall_s": wall,
                "cpu_s": wall,
                "steps": [{"name": "read", "wall_s": wall / 2, "cpu_s": wall / 2}],
            }
            for name in names
        ],
        "steps": [],
        "totals": {
            "wall_s": wall * len(names) + 1,
            "cpu_s": 2.0,
            "peak_rss_bytes": 200 << 20,
            "bytes_read": 1 << 20,
            "bytes_written": 1 << 19,
        },
        "machine": {"cpus": 2, "memory_bytes": 8 << 30, "cpu_model": "x", "python": "3.11"},
        "gpu": None,
        "notes": {},
    }


def subject_of(name="sample", truth=True, both=False, channels=("DAPI",), mpp=(0.5, 0.5), **more):
    """Make what a report is about: disks, measured and scored by the real things."""
    cells = disks()
    rng = np.random.default_rng(1)
    image = rng.poisson(40, (*cells.shape, len(channels))).astype(np.uint16)
    image[..., 0] += (cells > 0) * np.uint16(400)
    labels = {"whole_cell": cells, "nuclear": disks(radius=4)} if both else {"nuclear": cells}
    true = {name: disks(seed=5, radius=7) for name in labels} if truth else {}
    given = {"mpp": mpp, "channel_names": list(channels)}
    if both:
        table = measure_compartments(labels, image, **given)
    else:
        table = measure_labels(cells, image, compartment="nuclear", **given)
    kinds = np.array(table["compartment"].to_pylist())
    measurements = {
        c: {
            key: table[key].to_numpy()[kinds == c]
            for key in table.column_names
            if key != "compartment"
        }
        for c in labels
    }
    values = {
        "name": name,
        "image": image,
        "channel_names": channels,
        "segmentation_channels": list(range(min(2, len(channels)))),
        "labels": labels,
        "measurements": measurements,
        "truth": true,
        "scores": {c: evaluate(true[c], labels[c]) for c in true},
        "mpp": mpp,
        "mpp_source": "OME-XML" if mpp else "unknown",
        "source": "/data/sample.tif",
        "model": "cellmill-nuclei 0.1.0",
        "records": [record("predict", [name]), record("measure", [name], 0.1)],
    }
    return Subject(**{**values, **more})


@pytest.fixture(scope="session")
def make_subject():
    return subject_of


@pytest.fixture(scope="session")
def make_disks():
    return disks


@pytest.fixture(scope="session")
def make_record():
    return record
