"""What Google's clients raise, as one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cellmill.errors import BadInput, CellmillError


@contextmanager
def said(what: str, *, package: str, rights: str, there: str) -> Iterator[None]:
    """Turn what Google's client raises within the block into one line.

    Args:
        what: it is about, a URI or a name.
        package: the client, and how to get it.
        rights: that are needed, with their roles.
        there: what must be there.

    Raises:
        BadInput: it is not there.
        CellmillError: the client is not installed, there are no credentials or rights, or it
            refuses.
    """
    try:
        from google.api_core.exceptions import Forbidden, GoogleAPIError, NotFound
        from google.auth.exceptions import GoogleAuthError
    except ImportError as error:
        raise CellmillError(f"'{what}' needs {package}") from error
    try:
        yield
    except ImportError as error:
        raise CellmillError(f"'{what}' needs {package}") from error
    except GoogleAuthError as error:
        raise CellmillError(
            f"'{what}': expected Google Cloud credentials (gcloud auth application-default login), "
            f"found none: {str(error).splitlines()[0]}"
        ) from error
    except Forbidden as error:
        raise CellmillError(
            f"'{what}': expected the right to {rights}, found none: {_first(error)}"
        ) from error
    except NotFound as error:
        raise BadInput(f"'{what}'", expected=there, found=_first(error)) from error
    except GoogleAPIError as error:
        raise CellmillError(f"'{what}': {_first(error)}") from error


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
