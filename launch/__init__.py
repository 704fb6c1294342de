"""Launching: compile pipelines, run them here or in a cloud, collect what they make.

The modules of this folder are what a person calls; its rooms are what they call.
"""

import contextlib
import os
from pathlib import Path

#: The clone's root.
ROOT = Path(__file__).resolve().parent.parent

# Three quarters of kfp's import are its client for Kubeflow, which `import kfp` brings along unless
# this is set; who submits imports `kfp.client`. Environments of images have no kfp.
_ALONE = "_KFP_RUNTIME"
if _ALONE not in os.environ:
    os.environ[_ALONE] = "true"
    with contextlib.suppress(ImportError):
        import kfp  # noqa: F401
    del os.environ[_ALONE]
