"""Files of a run in a Google Cloud Storage bucket: inputs go there once, outputs come back."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellmill.errors import CellmillError
from cellmill.io.digests import folder_digest
from cellmill.io.uris import digest, local_path, scheme_of
from cellmill.style_transfer.places import each_place, moved
from launch.cloud.google_errors import said
from launch.runs.inputs import Item
from launch.runs.settings import READ_LISTS, READ_PLACES

_ITEM_FILES = (("image", "digest"), ("truth", "truth_digest"))


class Bucket:
    """A place in a bucket, under which a run's files are.

    Args:
        root: `gs://bucket/folder`.
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
        arguments: the arguments; `batches`, `items` and `hard_background` hold images; `model`,
            `base`, `base_back`, `reference_model`, `prior`, `task_network`, volumes, and the model
            of each of `segmenters` and `conditions` may be paths.
        bucket: where they go.
    """
    changed = dict(arguments)
    # Many conditions share a model.
    model = functools.cache(lambda uri: _model(uri, bucket))
    if "batches" in changed:
        changed["batches"] = [[_item(i, bucket) for i in batch] for batch in changed["batches"]]
    for key in ("items", "hard_background"):
        if key in changed:
            changed[key] = [_item(i, bucket) for i in changed[key]]
    models = ("model", "base", "base_back", "reference_model", "prior", "task_network")
    for key in models:
        if sent := model(changed.get(key, "")):
            changed[key], changed[f"{key}_digest"] = sent

    def sent_to(place: str) -> str:
        return (model(place) or (place,))[0]

    for key in READ_PLACES:
        if changed.get(key):
            changed[key] = moved(changed[key], sent_to)
    for key in READ_LISTS:
        if changed.get(key):
            changed[key] = each_place(changed[key], sent_to, key.upper())
    for key in ("segmenters", "conditions", "reference_conditions"):
        if key in changed:
            changed[key] = [_segmenter(each, model(each["model"])) for each in changed[key]]
    return changed


def _model(uri: str, bucket: Bucket) -> tuple[str, str] | None:
    """Where a model or a volume of this machine lies in a bucket, and its digest; else none."""
    path = _on_this_machine(uri)
    if path is None:
        return None
    checksum = folder_digest(path) if path.is_dir() else digest(uri)
    return bucket.upload(path, checksum), checksum


def _segmenter(segmenter: Item, sent: tuple[str, str] | None) -> Item:
    return {**segmenter, "model": sent[0], "digest": sent[1]} if sent else dict(segmenter)


def _item(item: Item, bucket: Bucket) -> Item:
    sent = dict(item)
    for key, checksum in _ITEM_FILES:
        path = _on_this_machine(item[key])
        # What has no digest could not be read, and is left for the stage that skips it.
        if path is not None and item[checksum]:
            sent[key] = bucket.upload(path, item[checksum])
    return sent


def _on_this_machine(uri: str) -> Path | None:
    if not uri or scheme_of(uri) not in ("", "file"):
        return None
    path = local_path(uri)
    return path if path is not None and path.exists() else None


def _said(uri: str) -> contextlib.AbstractContextManager[None]:
    return said(
        uri,
        package="google-cloud-storage (make setup)",
        rights="read and write there (roles/storage.objectUser)",
        there="a bucket that is there",
    )
