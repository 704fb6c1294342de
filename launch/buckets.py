"""Files of a run in a Google Cloud Storage bucket: inputs go there once, outputs come back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cellmill.errors import BadInput, CellmillError
from cellmill.models.fetch import folder_digest
from cellmill.uris import digest, local_path, scheme_of
from launch.inputs import Item

_ITEM_FILES = (("image", "digest"), ("truth", "truth_digest"))


class Bucket:
    """A place in a bucket, under which a run's files are.

    Args:
        root: ``gs://bucket/folder``.
        project: whose quota pays for requests.
        credentials: the user's own by default.
    """

    def __init__(self, root: str, project: str = "", credentials: Any = None) -> None:
        bucket, _, self.prefix = root.removeprefix("gs://").strip("/").partition("/")
        with _said(root):
            from google.cloud import storage  # type: ignore[attr-defined]

            client = storage.Client(project=project or None, credentials=credentials)
            self.bucket = client.bucket(bucket)

    def upload(self, path: Path, checksum: str) -> str:
        """Bring a file or folder there, unless it is there already; return its URI.

        What is in the bucket goes by checksum: the same bytes are sent once, and a URI never stands
        for other bytes.

        Raises:
            CellmillError: the bucket refuses.
        """
        name = "/".join(p for p in (self.prefix, "inputs", checksum.replace(":", "-")) if p)
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        uri = f"gs://{self.bucket.name}/{name}/{path.name}"
        with _said(uri):
            # The last file of a folder vouches for those before it.
            last = self.bucket.blob(f"{name}/{files[-1].relative_to(path.parent)}")
            if not last.exists():
                for file in files:
                    blob = self.bucket.blob(f"{name}/{file.relative_to(path.parent)}")
                    blob.upload_from_filename(str(file), checksum="crc32c")
        return uri

    def download(self, uri: str, target: Path) -> None:
        """Bring a file, or all files under a URI, to a path.

        Raises:
            CellmillError: there is nothing, or the bucket refuses.
        """
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        with _said(uri):
            found = False
            for blob in self.bucket.client.list_blobs(bucket, prefix=name):
                rest = blob.name.removeprefix(name)
                if rest and not rest.startswith("/"):
                    continue
                place = target / rest.lstrip("/") if rest else target
                if blob.name.endswith("/"):
                    continue
                place.parent.mkdir(parents=True, exist_ok=True)
                blob.download_to_filename(str(place), checksum="crc32c")
                found = True
        if not found:
            raise CellmillError(f"output '{uri}': expected in the bucket, found none")

    def folders(self, prefix: str) -> list[str]:
        """Return the URIs of all files under a URI."""
        bucket, _, name = prefix.removeprefix("gs://").partition("/")
        with _said(prefix):
            listed = self.bucket.client.list_blobs(bucket, prefix=name)
            return [f"gs://{bucket}/{blob.name}" for blob in listed]


def uploaded(arguments: Mapping[str, Any], bucket: Bucket) -> dict[str, Any]:
    """Return a pipeline's arguments with every file of this machine brought to a bucket.

    Args:
        arguments: the arguments; ``batches``, ``items`` and ``hard_background`` hold images, and
            ``model`` and ``base`` may be paths.
        bucket: where they go.
    """
    changed = dict(arguments)
    if "batches" in changed:
        changed["batches"] = [[_item(i, bucket) for i in batch] for batch in changed["batches"]]
    for key in ("items", "hard_background"):
        if key in changed:
            changed[key] = [_item(i, bucket) for i in changed[key]]
    for key in ("model", "base"):
        model = changed.get(key, "")
        path = _on_this_machine(model)
        if path is not None:
            checksum = folder_digest(path) if path.is_dir() else digest(model)
            changed[key] = bucket.upload(path, checksum)
            changed[f"{key}_digest"] = checksum
    return changed


def _item(item: Item, bucket: Bucket) -> Item:
    sent = dict(item)
    for key, checksum in _ITEM_FILES:
        path = _on_this_machine(item[key])
        if path is not None:
            sent[key] = bucket.upload(path, item[checksum])
    return sent


def _on_this_machine(uri: str) -> Path | None:
    if not uri or scheme_of(uri) not in ("", "file"):
        return None
    path = local_path(uri)
    return path if path is not None and path.exists() else None


@contextmanager
def _said(uri: str) -> Iterator[None]:
    """Turn what Google's client raises into one line."""
    try:
        from google.api_core.exceptions import Forbidden, GoogleAPIError, NotFound
        from google.auth.exceptions import GoogleAuthError
    except ImportError as error:
        raise CellmillError("a bucket needs google-cloud-storage (make setup)") from error
    try:
        yield
    except GoogleAuthError as error:
        raise CellmillError(
            f"'{uri}': expected Google Cloud credentials (gcloud auth application-default login), "
            f"found none: {str(error).splitlines()[0]}"
        ) from error
    except Forbidden as error:
        raise CellmillError(
            f"'{uri}': expected the right to read and write there (roles/storage.objectUser), "
            f"found none: {_first(error)}"
        ) from error
    except NotFound as error:
        raise BadInput(
            f"'{uri}'", expected="a bucket that is there", found=_first(error)
        ) from error
    except GoogleAPIError as error:
        raise CellmillError(f"'{uri}': {_first(error)}") from error


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
