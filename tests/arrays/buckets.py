"""Buckets that TensorStore writes to: conditional writes, versions, deletion, over HTTP."""

import functools
import hashlib
import threading
import urllib.parse
import uuid
from dataclasses import dataclass, field

from tests.launch.cloud import cloud_stand_ins as stand_ins


@dataclass
class S3(stand_ins.S3):
    """Amazon S3: objects are written and removed, on condition where one is given."""

    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, method, path, query, body, headers):
        _, bucket, *rest = urllib.parse.unquote(path).split("/", 2)
        if not rest or not rest[0]:
            return super().answer(method, path, query, body, headers)
        key = f"{bucket}/{rest[0]}"
        with self.lock:
            data = self.objects.get(key)
            tag = "" if data is None else f'"{hashlib.md5(data).hexdigest()}"'
            if method == "PUT":
                if headers.get("If-None-Match") == "*" and data is not None:
                    return 412, b""
                if headers.get("If-Match", tag) != tag:
                    return 412, b""
                self.objects[key] = body
                return 200, b"", {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}
            if method == "DELETE":
                self.objects.pop(key, None)
                return 204, b""
            if data is None:
                return 404, b""
            if headers.get("If-Match", tag) != tag:
                return 412, b""
            if headers.get("If-None-Match") == tag:
                return 304, b"", {"ETag": tag}
            if method == "HEAD":
                return 200, b"", {"ETag": tag, "Content-Length": len(data)}
            return answered(data, headers, {"ETag": tag})


@dataclass
class Bucket(stand_ins.Bucket):
    """Google Cloud Storage: each write of an object is a generation of it."""

    generations: dict = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, method, path, query, body, headers):
        with self.lock:
            if path.startswith("/upload/") and query.get("uploadType") == "media":
                return self.written((path.split("/")[5], query["name"]), query, body)
            parts = path.split("/o/", 1)
            if len(parts) == 1:
                return super().answer(method, path, query, body, headers)
            key = parts[0].rsplit("/", 1)[1], urllib.parse.unquote(parts[1])
            if key not in self.objects:
                return 404, self.refuse(stand_ins.Refusal(404, f"No such object: {key}"))
            generation = str(self.generations.setdefault(key, 1))
            if query.get("ifGenerationMatch", generation) != generation:
                return 412, b""
            if method == "DELETE":
                del self.objects[key]
                return 204, b""
            if query.get("ifGenerationNotMatch") == generation:
                return 304, b""
            if query.get("alt") == "media":
                return answered(self.objects[key], headers, {"x-goog-generation": generation})
            return 200, self.about(*key)

    def written(self, key, query, body):
        there = self.generations.get(key, 0) if key in self.objects else 0
        if int(query.get("ifGenerationMatch", there)) != there:
            return 412, b""
        self.objects[key] = body
        self.generations[key] = self.generations.get(key, 0) + 1
        return 200, self.about(*key)

    def about(self, bucket, name):
        generation = self.generations.setdefault((bucket, name), 1)
        return super().about(bucket, name) | {"generation": str(generation)}


def answered(data, headers, about):
    """All of an object, or the part that a Range asks for."""
    status, found = stand_ins.part(data, headers)
    if status == 206:
        first = int(headers["Range"].removeprefix("bytes=").split("-")[0])
        about["Content-Range"] = f"bytes {first}-{first + len(found) - 1}/{len(data)}"
    return status, found, about


@functools.cache
def server_of(scheme):
    """A store that serves as long as this process: TensorStore keeps to the first that it meets."""
    return {"gs": Bucket, "s3": S3}[scheme]().__enter__()


def bucket_of(scheme, monkeypatch):
    """The URI of a place in a bucket where nothing is, and the bucket's server."""
    server = server_of(scheme)
    settings = {
        "gs": {
            "TENSORSTORE_GCS_HTTP_URL": server.url,
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token",
        },
        "s3": {
            "AWS_ENDPOINT_URL_S3": server.url,
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "key",
            "AWS_DEFAULT_REGION": "eu-central-1",
        },
    }
    for name, value in settings[scheme].items():
        monkeypatch.setenv(name, value)
    return f"{scheme}://some-bucket/{uuid.uuid4()}", server
