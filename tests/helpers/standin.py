"""A web server on 127.0.0.1 that stands in for mirrors and for the hub, and misbehaves as told."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789" * 4


@dataclass
class StandIn:
    """What is served: files below `root`, at /PATH and, as the hub does it, at /OWNER/NAME/resolve/REVISION/PATH.

    faults: path → what goes wrong at its next requests, one after the other: an HTTP status; "break" (after half of
        what is left), "empty" (no byte), "corrupt", "html", "no range".
    requests: (method, path, Range header) of all requests so far.
    """

    root: Path
    url: str = ""
    faults: dict[str, list[int | str]] = field(default_factory=dict)
    requests: list[tuple[str, str, str]] = field(default_factory=list)

    def asked_for(self, path: str) -> list[str]:
        """Range headers of the GET requests for `path`."""
        return [given for method, asked, given in self.requests if method == "GET" and asked == path]


def _handler(standin: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            owner, resolve, path = self.path.lstrip("/").partition("/resolve/")
            path = path.partition("/")[2] if resolve else owner
            given = self.headers.get("Range", "")
            standin.requests.append((self.command, path, given))
            faults = standin.faults.get(path, [])
            fault = faults.pop(0) if faults and self.command == "GET" else ""
            if self.path.startswith("/api/models/"):
                return self.tell(fault)
            file = standin.root / path
            if isinstance(fault, int) or not file.is_file():
                self.send_response(fault if isinstance(fault, int) else 404)
                self.send_header("Retry-After", "0")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = b"<html>log in</html>" if fault == "html" else file.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()}"'
            if fault == "corrupt":
                content = bytes(255 - byte for byte in content)
            start = 0
            if given and fault != "no range" and self.headers.get("If-Range", etag) == etag:
                start = int(given.removeprefix("bytes=").partition("-")[0])
            self.send_response(206 if start else 200)
            self.send_header("Content-Type", "text/html" if fault == "html" else "application/octet-stream")
            self.send_header("Content-Length", str(len(content) - start))
            self.send_header("ETag", etag)
            self.send_header("X-Repo-Commit", COMMIT)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if self.command == "HEAD":
                return
            content = content[start:]
            content = content[: len(content) // 2] if fault == "break" else b"" if fault == "empty" else content
            self.wfile.write(content)

        def tell(self, fault: int | str) -> None:
            """What the hub's interface says of a repository: its commit, or its files."""
            files = [path for path in sorted(standin.root.rglob("*")) if path.is_file()]
            names = [path.relative_to(standin.root).as_posix() for path in files]
            told: object = {"id": "company/model", "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
            if "/tree/" in self.path:
                told = [
                    {"type": "file", "path": name, "size": path.stat().st_size, "oid": COMMIT}
                    for name, path in zip(names, files)
                ]
            content = json.dumps(told).encode()
            self.send_response(fault if isinstance(fault, int) else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server on 127.0.0.1 until the block ends; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def stand_in(root: Path) -> Iterator[StandIn]:
    """Serve `root` until the block ends."""
    standin = StandIn(root)
    with serving(_handler(standin)) as standin.url:
        yield standin
