"""As much of the hub's HTTP interface as an upload touches: repositories, checks before an upload, LFS, commits."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import yaml
from standin import COMMIT, serving

TOKEN = "hf_that_may_write"


@dataclass
class Hub:
    """repos: id → its files. private: ids. faults: beginning of a path → HTTP status to answer with."""

    url: str = ""
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    faults: dict[str, int] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    """Large files by SHA-256, as they came."""


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, told: object, status: int = 200) -> None:
            content = b"" if self.command == "HEAD" else json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if status == 404:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.end_headers()
            self.wfile.write(content)

        def do_HEAD(self) -> None:
            self.answer({}, 200 if self.path == "/" else 404)

        def do_GET(self) -> None:
            self.answer({"error": "Entry not found"}, 404)

        def do_PUT(self) -> None:
            content = self.body()
            name = self.path.removeprefix("/lfs/")
            if hashlib.sha256(content).hexdigest() != name:
                return self.answer({"error": "not that file"}, 400)
            hub.stored[name] = content
            self.answer({})

        def do_POST(self) -> None:
            content = self.body()
            fault = next((status for path, status in hub.faults.items() if self.path.startswith(path)), 0)
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return self.answer({"error": "Invalid username or password."}, 401)
            if fault:
                return self.answer({"error": "told to fail"}, fault)
            if self.path == "/api/repos/create":
                return self.create(json.loads(content))
            if self.path == "/api/validate-yaml":
                return self.validate(json.loads(content)["content"])
            if self.path.endswith(".git/info/lfs/objects/batch"):
                return self.batch(json.loads(content))
            place, _, action = self.path.removeprefix("/api/models/").rpartition("/")  # …/preupload/main
            repo, _, action = place.rpartition("/")
            if repo not in hub.repos:
                return self.answer({"error": "Repository not found"}, 404)
            if action == "preupload":
                names = [file["path"] for file in json.loads(content)["files"]]
                modes = {name: "lfs" if name.endswith(".safetensors") else "regular" for name in names}
                files = [{"path": name, "uploadMode": mode, "shouldIgnore": False} for name, mode in modes.items()]
                return self.answer({"files": files})
            assert action == "commit", self.path
            self.commit(repo, [json.loads(line) for line in content.splitlines()])

        def create(self, wanted: dict[str, Any]) -> None:
            repo = f"{wanted['organization']}/{wanted['name']}"
            if wanted.get("visibility") == "private":
                hub.private.add(repo)
            known = repo in hub.repos
            hub.repos.setdefault(repo, {})
            self.answer({"url": f"{hub.url}/{repo}"}, 409 if known else 200)

        def validate(self, card: str) -> None:
            """As the hub does: the front matter has to be YAML, and "other" needs a name and a link."""
            told = yaml.safe_load(card.split("---\n")[1]) if card.startswith("---\n") else {}
            wrong = told.get("license") == "other" and not {"license_name", "license_link"} <= told.keys()
            errors = [{"message": "license_name is missing"}] if wrong else []
            self.answer({"errors": errors, "warnings": []}, 400 if errors else 200)

        def batch(self, wanted: dict[str, Any]) -> None:
            objects = [
                {**file, "actions": {"upload": {"href": f"{hub.url}/lfs/{file['oid']}"}}} for file in wanted["objects"]
            ]
            self.answer({"transfer": "basic", "objects": objects})

        def commit(self, repo: str, lines: list[dict[str, Any]]) -> None:
            files = {}
            for line in lines:
                if line["key"] == "file":
                    files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                elif line["key"] == "lfsFile":
                    files[line["value"]["path"]] = hub.stored[line["value"]["oid"]]
            hub.repos[repo] |= files
            self.answer({"commitUrl": f"{hub.url}/{repo}/commit/{COMMIT}", "commitOid": COMMIT})

        def body(self) -> bytes:
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


@contextmanager
def hub_stand_in() -> Iterator[Hub]:
    """A hub on 127.0.0.1 until the block ends."""
    hub = Hub()
    with serving(_handler(hub)) as hub.url:
        yield hub
