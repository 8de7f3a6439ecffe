"""A file host such as sponsors and solvers would use."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from verifier.artifacts import digests


class FileHost:
    """Serves published files at http://127.0.0.1:PORT/<digest> and counts the requests by name.

    `redirects` maps a name to the URI to which requests are redirected.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.asked: dict[str, int] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.lstrip("/")
                outer.asked[name] = outer.asked.get(name, 0) + 1
                if name in outer.redirects:
                    self.send_response(302)
                    self.send_header("Location", outer.redirects[name])
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                body = outer.files.get(name)
                self.send_response(200 if body is not None else 404)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.authority = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def publish(self, data: bytes) -> str:
        """Publish a file; returns its URI."""
        uri = self.uri(data)
        self.files[uri.rpartition("/")[2]] = data
        return uri

    def uri(self, data: bytes) -> str:
        """The URI of a file, published or not."""
        return f"http://{self.authority}/{digests.digest(data).hex()}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
