"""One row a cell: where it is, its shape, its intensities on the original pixels.

`measure_labels` and `measure_compartments` (in `measuring`) give a table, `write_csv` and
`write_parquet` (in `files`) write it; `table` says what every column holds. The sums behind it, in
`regions`, `intensities` and `background`, add up over the tiles of an image.
"""

from cellmill.measurement.files import write_csv, write_parquet
from cellmill.measurement.measuring import (
    BACKGROUND_RING,
    measure_compartments,
    measure_labels,
)
from cellmill.measurement.table import CHANNEL_COLUMNS, COLUMNS
from cellmill.measurement.volumes import VOLUME_COLUMNS

__all__ = [
    "BACKGROUND_RING",
    "CHANNEL_COLUMNS",
    "COLUMNS",
    "VOLUME_COLUMNS",
    "measure_compartments",
    "measure_labels",
    "write_csv",
    "write_parquet",
]
