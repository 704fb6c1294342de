"""What lies in `inside/` runs in napari's environment, started by `test_plugin.py`."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("napari") else ["inside"]
