"""The Cellpose 4 image's own check at its build: the package can be imported, as stages do."""

from cellmill.models.importing.cellpose4 import import_cellpose

import_cellpose()
