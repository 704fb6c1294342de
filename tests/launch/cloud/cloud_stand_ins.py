"""Stand-ins of clouds that keep state: a bucket, Vertex AI and Kubeflow Pipelines, over HTTP."""

import base64
import contextlib
import hashlib
import json
import re
import threading
import urllib.parse
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cellmill.errors import CellmillError


@dataclass
class Refusal:
    """An answer that a stand-in gives once in the place of its own."""

    status: int
    message: str
    reason: str = ""


@dataclass
class StandIn:
    """A server of this machine; its requests are kept."""

    requests: list = field(default_factory=list)
    refusals: list = field(default_factory=list)
    #: sent with every answer
    headers: dict = field(default_factory=dict)

    def __enter__(self):
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body are sent apart: else the body waits for the head's receipt.
            disable_nagle_algorithm = True

            def handle_any(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                url = urllib.parse.urlsplit(self.path)
                query = dict(urllib.parse.parse_qsl(url.query))
                stand_in.requests.append((self.command, url.path, query, body))
                changing = self.command == "POST"
                if changing and stand_in.refusals:
                    refusal = stand_in.refusals.pop(0)
                    answer = refusal.status, stand_in.refuse(refusal)
                else:
                    answer = stand_in.answer(self.command, url.path, query, body, self.headers)
                # Some answers have headers of their own; a HEAD's length is that of what it hides.
                status, content, *more = answer
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                kind = (
                    "application/octet-stream" if isinstance(content, bytes) else "application/json"
                )
                self.send_header("Content-Type", kind)
                for name, value in {
                    "Content-Length": str(len(data)),
                    **stand_in.headers,
                    **(more[0] if more else {}),
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                # Who has heard enough hangs up.
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(data)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def refuse(self, refusal):
        return {
            "error": {
                "code": refusal.status,
                "message": refusal.message,
                "status": refusal.reason,
            }
        }

    def sent(self, method, ending):
        return [r for r in self.requests if r[0] == method and re.search(ending, r[1])]


def part(data, headers):
    """The bytes that a request's Range asks for, all of them without one."""
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("Range") or "")
    if not asked:
        return 200, data
    last = int(asked[2]) if asked[2] else len(data) - 1
    return 206, data[int(asked[1]) : last + 1]


@dataclass
class S3(StandIn):
    """Amazon S3, path style: objects by key, read and listed."""

    objects: dict = field(default_factory=dict)

    def answer(self, method, path, query, body, headers):
        _, bucket, *rest = urllib.parse.unquote(path).split("/", 2)
        key = f"{bucket}/{rest[0]}" if rest and rest[0] else ""
        if not key:
            return 200, self.listed(bucket, query).encode()
        if key not in self.objects:
            return 404, b""
        data = self.objects[key]
        tag = {"ETag": f'"{hashlib.md5(data).hexdigest()}"'}
        if method == "HEAD":
            return 200, b"", {**tag, "Content-Length": len(data)}
        return *part(data, headers), tag

    def listed(self, bucket, query):
        prefix = f"{bucket}/{query.get('prefix', '')}"
        rows, folders = [], set()
        for key in sorted(k for k in self.objects if k.startswith(prefix)):
            inner = key[len(prefix) :]
            if query.get("delimiter") and "/" in inner:
                folders.add(key[len(bucket) + 1 : len(prefix)] + inner.split("/")[0] + "/")
                continue
            etag = hashlib.md5(self.objects[key]).hexdigest()
            rows.append(
                f"<Contents><Key>{key[len(bucket) + 1 :]}</Key><ETag>&quot;{etag}&quot;</ETag>"
                f"<LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                f"<Size>{len(self.objects[key])}</Size></Contents>"
            )
        rows += [f"<CommonPrefixes><Prefix>{f}</Prefix></CommonPrefixes>" for f in sorted(folders)]
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{bucket}</Name><KeyCount>{len(rows)}</KeyCount>"
            f"<IsTruncated>false</IsTruncated>{''.join(rows)}</ListBucketResult>"
        )


@dataclass
class Accounts(StandIn):
    """Google's token endpoint: who signs as a service account gets a token."""

    token: str = "the-machines-own"

    def answer(self, method, path, query, body, headers):
        return 200, {"access_token": self.token, "expires_in": 3600, "token_type": "Bearer"}

    def key(self):
        """A service account's key file, whose tokens come from here."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        private = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return {
            "type": "service_account",
            "project_id": "some-project",
            "private_key": private.decode(),
            "client_email": "runner@some-project.iam.gserviceaccount.com",
            "token_uri": f"{self.url}/token",
        }


@dataclass
class SecretManager(StandIn):
    """Google's Secret Manager: values by version's name, for who has the right token."""

    secrets: dict = field(default_factory=dict)
    token: str = "the-machines-own"

    def answer(self, method, path, query, body, headers):
        if headers.get("Authorization") != f"Bearer {self.token}":
            return 403, self.refuse(Refusal(403, "denied", "PERMISSION_DENIED"))
        name = path.removeprefix("/v1/").removesuffix(":access")
        if name not in self.secrets:
            return 404, self.refuse(Refusal(404, "not found", "NOT_FOUND"))
        return 200, {
            "name": name,
            "payload": {"data": base64.b64encode(self.secrets[name]).decode()},
        }


@dataclass
class Bucket(StandIn):
    """Google Cloud Storage: objects by (bucket, name)."""

    objects: dict = field(default_factory=dict)

    def answer(self, method, path, query, body, headers):
        if path.startswith("/upload/"):
            bucket = path.split("/")[5]
            kind = headers["Content-Type"]
            boundary = re.search(r'boundary="?([^";]+)', kind)[1].encode()
            _, about, data, _ = body.split(b"--" + boundary)
            meta = json.loads(about.split(b"\r\n\r\n", 1)[1])
            data = data.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
            self.objects[bucket, meta["name"]] = data
            return 200, self.about(bucket, meta["name"])
        found = re.fullmatch(r"(?:/download)?/storage/v1/b/([^/]+)(?:/o(?:/(.+))?)?", path)
        bucket, name = found[1], urllib.parse.unquote(found[2] or "")
        if name:
            if (bucket, name) not in self.objects:
                return 404, self.refuse(Refusal(404, f"No such object: {bucket}/{name}"))
            if query.get("alt") == "media":
                return *part(self.objects[bucket, name], headers), {"x-goog-generation": "1"}
            return 200, self.about(bucket, name)
        if path.endswith("/o"):
            prefix = query.get("prefix", "")
            names = sorted(n for b, n in self.objects if b == bucket and n.startswith(prefix))
            return 200, {"kind": "storage#objects", "items": [self.about(bucket, n) for n in names]}
        return 200, {"kind": "storage#bucket", "name": bucket, "projectNumber": "123"}

    def about(self, bucket, name):
        data = self.objects[bucket, name]
        from google_crc32c import value

        return {
            "kind": "storage#object",
            "name": name,
            "bucket": bucket,
            "size": str(len(data)),
            "generation": "1",
            "crc32c": base64.b64encode(value(data).to_bytes(4, "big")).decode(),
            "md5Hash": base64.b64encode(hashlib.md5(data).digest()).decode(),
        }

    def put_folder(self, folder, uri):
        bucket, _, prefix = uri.removeprefix("gs://").partition("/")
        files = [folder] if folder.is_file() else [p for p in folder.rglob("*") if p.is_file()]
        for file in files:
            rest = "" if file == folder else f"/{file.relative_to(folder)}"
            self.objects[bucket, prefix + rest] = file.read_bytes()


@dataclass
class Vertex(StandIn):
    """Vertex AI's pipelineJobs: a job goes through the states at each look."""

    states: tuple = ("PENDING", "RUNNING", "RUNNING", "SUCCEEDED")
    #: task name, output name → URIs, shown once the job has succeeded.
    outputs: dict = field(default_factory=dict)
    why: str = ""
    jobs: dict = field(default_factory=dict)
    looks: dict = field(default_factory=dict)

    def answer(self, method, path, query, body, headers):
        if method == "POST":
            name = f"{path.removeprefix('/v1/')}/{query['pipelineJobId']}"
            if name in self.jobs:
                return 409, self.refuse(Refusal(409, f"{name} exists", "ALREADY_EXISTS"))
            self.jobs[name] = json.loads(body) | {"name": name}
            self.looks[name] = 0
            return 200, self.jobs[name] | {"state": "PIPELINE_STATE_PENDING"}
        name = path.removeprefix("/v1/")
        if name not in self.jobs:
            return 404, self.refuse(Refusal(404, f"{name} not found", "NOT_FOUND"))
        state = self.states[min(self.looks[name], len(self.states) - 1)]
        self.looks[name] += 1
        job = self.jobs[name] | {"state": f"PIPELINE_STATE_{state}"}
        if state == "SUCCEEDED":
            job["jobDetail"] = {
                "taskDetails": [
                    {
                        "taskName": task,
                        "state": "SUCCEEDED",
                        "outputs": {output: {"artifacts": [{"uri": uri}]}},
                    }
                    for (task, output), uris in self.outputs.items()
                    for uri in uris
                ]
            }
        if state == "FAILED":
            job["error"] = {"code": 9, "message": "the DAG failed"}
            job["jobDetail"] = {
                "taskDetails": [
                    {"taskName": "predict", "state": "FAILED", "error": {"message": self.why}}
                ]
            }
        return 200, job


@dataclass
class Kubeflow(StandIn):
    """Kubeflow Pipelines' v2beta1: experiments and runs."""

    states: tuple = ("PENDING", "RUNNING", "SUCCEEDED")
    why: str = ""
    experiments: dict = field(default_factory=dict)
    runs: dict = field(default_factory=dict)
    looks: dict = field(default_factory=dict)
    #: called with a run's id when it succeeds
    succeeded: object = None

    def refuse(self, refusal):
        return {"error": refusal.message, "code": refusal.status, "message": refusal.message}

    def answer(self, method, path, query, body, headers):
        kind = path.removeprefix("/apis/v2beta1/")
        if kind == "healthz":
            return 200, {"multi_user": False}
        if method == "POST":
            made = json.loads(body)
            if kind == "experiments":
                made["experiment_id"] = f"e{len(self.experiments)}"
                self.experiments[made["experiment_id"]] = made
            elif kind == "runs":
                made["run_id"] = f"r{len(self.runs)}"
                made["state"] = "PENDING"
                self.runs[made["run_id"]] = made
                self.looks[made["run_id"]] = 0
            else:
                raise CellmillError(f"the stand-in does not know {path}")
            return 200, made
        if kind == "experiments":
            return 200, {"experiments": list(self.experiments.values())}
        run_id = kind.removeprefix("runs/")
        if run_id not in self.runs:
            return 404, self.refuse(Refusal(404, f"{run_id} not found"))
        state = self.states[min(self.looks[run_id], len(self.states) - 1)]
        self.looks[run_id] += 1
        run = self.runs[run_id] | {"state": state}
        if state == "FAILED":
            run["error"] = {"message": "the DAG failed"}
            task = {"display_name": "predict", "state": "FAILED", "error": {"message": self.why}}
            run["run_details"] = {"task_details": [task]}
        if state == "SUCCEEDED" and self.succeeded:
            self.succeeded(run_id)
        return 200, run
