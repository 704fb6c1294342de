"""A model as every task of a run sees it."""

from __future__ import annotations

from pathlib import Path

from cellmill.errors import BadInput
from cellmill.io.uris import local_path
from cellmill.models.importing.bringing import named_model, own_files_model
from cellmill.models.importing.frameworks import is_one_s_own
from cellmill.models.importing.interface import Framework
from cellmill.models.published import fetch_files, is_published_name, published
from launch.images.environments import environment


def model_of(text: str) -> str:
    """What tasks are told for a model that a user names.

    A network that another framework publishes (`cellpose:cyto3`), or that is given by that
    framework's own files, is brought in here, in that framework's own environment, and is its
    folder from then on: tasks have other environments.

    Args:
        text: a name, path or URI; may be empty.

    Returns:
        A path as any folder sees it; a name of ours, a URI or nothing as it is.

    Raises:
        BadInput: there is no such network.
        CellmillError: it cannot be fetched or brought in.
    """
    if is_published_name(text):
        return str(named_model(text, _python_of))
    path = local_path(text) if text else None
    if path is not None and is_one_s_own(path):
        return str(own_files_model(path, _python_of))
    return absolute(text)


def weights_of(text: str) -> str:
    """A framework's own file as a task is told of it, for one that takes no model.

    Args:
        text: path or URI; or the name of a network that Cellpose publishes, whose file is fetched
            here. May be empty.

    Raises:
        BadInput: there is no such file or network.
        CellmillError: it cannot be fetched.
    """
    expected = "cellpose:cyto3 and the like, or Cellpose's own file of weights"
    if is_published_name(text):
        wanted = published(text)
        if wanted.framework != "cellpose3":
            raise BadInput("BASE", expected=expected, found=text)
        return str(fetch_files(wanted))
    path = local_path(text) if text else None
    if path is not None and not (path.is_file() and is_one_s_own(path)):
        raise BadInput("BASE", expected=expected, found=text)
    return absolute(text)


def absolute(uri: str) -> str:
    """A path as every task sees it, from any folder; a name, a URI or nothing as it is."""
    return str(Path(uri).absolute()) if uri and Path(uri).exists() else uri


def _python_of(framework: Framework) -> Path:
    return environment(framework.image)
