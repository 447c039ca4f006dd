"""A small web server for a study: the page and its pictures, and votes into SQLite. Standard library only.

    GET  /, /images/NAME.webp
    POST /api/start   {study, rater}        -> {finished, votes}      what is known of the rater
    POST /api/vote    {study, rater, vote}  -> {revision}             200: it is on disk; 409: a later one is there
    POST /api/finish  {study, rater}        -> {}                     200: final; 409: answers are missing
    Errors: {error}; 400 not understood, 403 the rater has finished, 404.

A request must say that it is JSON, which a page of another origin may not do unasked. What the server hands out is the
page and the pictures the key names, nothing else in the folder.
"""

import errno
import json
import os
import sqlite3
import sys
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import AF_INET6
from socketserver import TCPServer
from typing import Any

from seesr.errors import SeesrError
from seesr.study.design import DATABASE, PUBLIC, read_study
from seesr.study.votes import RaterFinished, VoteDatabase, VoteError, check_rater, parse_vote

_LONGEST = 65_536  # bytes of a request
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class StudyServer(ThreadingHTTPServer):
    """Serves one study; `url` is where. `serve_forever` runs it, `server_close` ends it."""

    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = os.name == "posix"  # elsewhere it would let two servers share a port

    def __init__(self, folder: Path, host: str = "127.0.0.1", port: int = 8000) -> None:
        """Open a study for raters.

        Args:
            folder: made by `make_study`.
            host, port: address to listen at; port 0 takes a free one.

        Raises:
            SeesrError: no study there, its page is missing, a damaged database, or an address that cannot be had.
        """
        self.study = read_study(folder)
        page = folder / PUBLIC / "index.html"
        try:
            text = page.read_text(encoding="utf-8")
        except OSError as error:
            raise SeesrError(f"{page}: cannot be read ({error.strerror}); make the study again") from error
        self.page = text.replace('data-served="false"', 'data-served="true"', 1).encode()
        self.pictures = {
            f"/images/{name}.webp": folder / PUBLIC / "images" / f"{name}.webp" for name in self.study.pictures
        }
        missing = [path for path in self.pictures.values() if not path.is_file()]
        if missing:
            raise SeesrError(f"{missing[0]}: this picture of the study is gone; restore it or make the study again")
        if ":" in host:
            self.address_family = AF_INET6
        self.votes = VoteDatabase(folder / DATABASE, self.study)  # a failing __init__ closes it by server_close
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise SeesrError(f"port {port} of {host} is in use; choose another `port`") from error
            raise SeesrError(
                f"cannot listen at {host}, port {port} ({error.strerror}); check `host` and `port`"
            ) from error
        except OverflowError as error:
            raise SeesrError(f"`port` cannot be {port}; it must be from 0 to 65535") from error

    @property
    def url(self) -> str:
        """Address to open in a browser on this machine."""
        host, port = str(self.server_address[0]), self.server_address[1]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    def server_bind(self) -> None:
        """Bind without the look-up of this machine's name that the standard one makes."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def server_close(self) -> None:
        """Stop the server; votes are safe however it ends."""
        super().server_close()
        self.votes.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that hangs up is no error of the server's; all else is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: StudyServer
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds until an idle connection is closed

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path in ("/", "/index.html"):
            return self._send(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8", "no-cache")
        if path in self.server.pictures:
            content = self.server.pictures[path].read_bytes()
            return self._send(HTTPStatus.OK, content, "image/webp", "private, max-age=31536000, immutable")
        self._reply(HTTPStatus.NOT_FOUND, {"error": "there is nothing here"})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        answer = {"/api/start": self._start, "/api/vote": self._vote, "/api/finish": self._finish}.get(self.path)
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _LONGEST:
            self.close_connection = True  # what is left of it must not be taken for a request
            return self._reply(
                HTTPStatus.BAD_REQUEST, {"error": f"a request has a length, of at most {_LONGEST} bytes"}
            )
        body = self.rfile.read(int(length))
        if answer is None:
            return self._reply(HTTPStatus.NOT_FOUND, {"error": "there is nothing here"})
        try:
            if self.headers.get_content_type() != "application/json":
                raise VoteError("a request must be of type application/json")
            content = json.loads(body)
            if not isinstance(content, dict) or content.get("study") != self.server.study.id:
                raise VoteError("this page belongs to another study; load it again")
            self._reply(*answer(check_rater(content.get("rater")), content))
        except RaterFinished:
            self._reply(HTTPStatus.FORBIDDEN, {"error": "You have finished; your answers are final."})
        except ValueError as error:  # VoteError, or no JSON
            self._reply(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        except sqlite3.Error as error:
            print(f"seesr: a vote could not be kept ({error}); the page will send it again", file=sys.stderr)
            self.close_connection = True
            self._reply(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "Answers cannot be kept at the moment."})

    def _start(self, rater: str, content: dict[str, Any]) -> tuple[HTTPStatus, dict[str, Any]]:
        ballot = self.server.votes.start(rater)
        return HTTPStatus.OK, {"finished": ballot.finished, "votes": [asdict(vote) for vote in ballot.votes.values()]}

    def _vote(self, rater: str, content: dict[str, Any]) -> tuple[HTTPStatus, dict[str, Any]]:
        vote = parse_vote(self.server.study, content.get("vote"))
        kept = self.server.votes.vote(rater, vote)
        same = kept.choice == vote.choice and kept.revision == vote.revision
        return HTTPStatus.OK if same else HTTPStatus.CONFLICT, {"revision": kept.revision}

    def _finish(self, rater: str, content: dict[str, Any]) -> tuple[HTTPStatus, dict[str, Any]]:
        missing = self.server.votes.finish(rater, self.server.study.length)
        if missing:
            return HTTPStatus.CONFLICT, {"error": f"{missing} answers have not arrived yet; load the page again"}
        return HTTPStatus.OK, {}

    def _reply(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        self._send(status, json.dumps(content).encode(), "application/json", "no-store")

    def _send(self, status: HTTPStatus, content: bytes, kind: str, cache: str) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", cache)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def version_string(self) -> str:
        return "study"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: votes are in the database."""
