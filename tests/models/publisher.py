"""A server that publishes files on loopback, goes on where a download was cut off, and can cut."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace


class _Publisher(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        state = self.server.state
        asked = self.headers.get("Range", "")
        state.asked.append((self.path, asked))
        content = state.files.get(self.path)
        if content is None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        begin = 0
        if asked and self.headers.get("If-Range") == state.tag:
            begin = int(asked.removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if begin else 200)
        if begin:
            told = f"bytes {begin}-{len(content) - 1}/{len(content)}"
            self.send_header("Content-Range", state.ranges.pop(0) if state.ranges else told)
        self.send_header("ETag", state.tag)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        sent = state.cuts.pop(0) if state.cuts else len(content)
        self.wfile.write(content[begin : begin + sent])
        self.close_connection = sent < len(content) - begin

    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def publisher(files):
    """Serve `{path: bytes}`: gives its address, what was asked, and how many bytes to cut after."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Publisher)
    http.state = SimpleNamespace(
        files=files,
        asked=[],
        cuts=[],
        ranges=[],
        tag='"one"',
        url=f"http://127.0.0.1:{http.server_port}",
    )
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield http.state
    finally:
        http.shutdown()
        http.server_close()
