"""A hub on loopback: it answers what the real client asks to list, download, create and upload."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_of_the_tests"
LARGE = (".ckpt", ".pt", ".bin", ".safetensors", ".wav", ".png")  # kept as large files, as on the real hub

Files = dict[str, bytes]


@dataclass
class Repository:
    """Branches and tags, each with the commits that it has had, newest last."""

    revisions: dict[str, list[Files]] = field(default_factory=lambda: {"main": [{}]})
    private: bool = False
    gated: bool = False

    def at(self, revision: str) -> Files | None:
        """The files of a branch, a tag or a commit."""
        if revision in self.revisions:
            return self.revisions[revision][-1]
        commits = [files for history in self.revisions.values() for files in history]
        return next((files for files in commits if commit_of(files) == revision), None)


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    range: str | None
    token: str | None


def commit_of(files: Files) -> str:
    """A name for a state of all files."""
    return hashlib.sha1(repr([(path, git_name(files[path])) for path in sorted(files)]).encode()).hexdigest()


def git_name(content: bytes) -> str:
    """What git calls a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def large_name(content: bytes) -> str:
    """What a large file of this content is called."""
    return hashlib.sha256(content).hexdigest()


class Hub(ThreadingHTTPServer):
    """Repositories, what was asked for, and the mishaps that a test wants to happen."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.large: Files = {}  # uploaded, by name
        self.asked: list[Asked] = []
        self.cuts: list[int] = []  # the next downloads of large files end after so many bytes
        self.stall_after: int | None = None  # large files stop after so many bytes, with the connection open
        self.stalled, self.released = threading.Event(), threading.Event()
        self.ranges = True  # whether a download can begin in the middle
        self.logs_in_first = False  # as in a hotel: every request gets a page
        self.failing: dict[str, int] = {}  # the status of all requests whose path begins so

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, name: str, files: Files, *, revision: str = "main") -> Repository:
        """A commit that replaces all files of a branch."""
        repository = self.repositories.setdefault(name, Repository())
        repository.revisions.setdefault(revision, []).append(files)
        return repository

    def downloads(self) -> list[Asked]:
        """The requests for files of repositories."""
        return [asked for asked in self.asked if asked.method == "GET" and "/resolve/" in asked.path]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is part of the tests."""


@contextmanager
def serve() -> Iterator[Hub]:
    """Serve until the block ends; after that nobody listens."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        hub.released.set()
        hub.shutdown()
        hub.server_close()
        thread.join()


class RefusedError(Exception):
    """A request that the hub does not grant, with its name for the reason."""

    def __init__(self, status: int, code: str, message: str):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class Handler(BaseHTTPRequestHandler):
    """The routes."""

    protocol_version = "HTTP/1.1"
    server: Hub
    token: str | None = None

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def do_PUT(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def log_message(self, format: str, *values: Any) -> None:
        """Silence."""

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        self.server.asked.append(Asked(self.command, path, self.headers.get("Range"), self.token))
        try:
            if self.server.logs_in_first:
                return self.send_file(b"<html>Welcome</html>", "page")
            for beginning, status in self.server.failing.items():
                if path.startswith(beginning):
                    raise RefusedError(status, "", "The hub is having a rest")
            if self.token not in (None, TOKEN):
                raise RefusedError(401, "", "Invalid credentials in Authorization header")
            self.route([part for part in path.split("/") if part], body)
        except RefusedError as error:
            self.say({"error": error.message}, status=error.status, code=error.code)

    def route(self, parts: list[str], body: bytes) -> None:
        match parts:
            case ["api", "models", owner, name, *what] if self.command == "GET":
                self.show(f"{owner}/{name}", what)
            case ["api", "repos", "create"]:
                self.create(json.loads(body))
            case ["api", "validate-yaml"]:
                self.validate(json.loads(body)["content"])
            case ["api", "models", _, _, "preupload", _]:
                self.preupload(json.loads(body)["files"])
            case ["api", "models", owner, name, "commit", revision]:
                self.commit(f"{owner}/{name}", revision, [json.loads(line) for line in body.splitlines()])
            case [_, _, "info", "lfs", "objects", "batch"]:
                self.batch(json.loads(body)["objects"])
            case ["large", name] if self.command == "PUT":
                self.server.large[name] = body
                self.say({})
            case ["large", name]:
                self.send_file(self.server.large[name], name)
            case [owner, name, "resolve", revision, *rest]:
                self.resolve(f"{owner}/{name}", revision, "/".join(rest))
            case _:
                raise RefusedError(404, "", "no such route")

    def found(self, name: str, revision: str) -> tuple[Repository, Files]:
        """A repository and its files."""
        repository = self.server.repositories.get(name)
        if repository is None or (repository.private and not self.token):
            raise RefusedError(401, "RepoNotFound", "Repository not found")
        files = repository.at(revision)
        if files is None:
            raise RefusedError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repository, files

    def show(self, name: str, what: list[str]) -> None:
        repository, files = self.found(name, what[1] if what else "main")
        if what[:1] == ["tree"]:
            self.say([self.entry(path, content) for path, content in files.items()])
        else:
            siblings = [{"rfilename": path} for path in files]
            self.say({"id": name, "sha": commit_of(files), "private": repository.private, "siblings": siblings})

    def entry(self, path: str, content: bytes) -> dict[str, Any]:
        entry = {"type": "file", "path": path, "size": len(content), "oid": git_name(content)}
        if path.endswith(LARGE):
            entry["lfs"] = {"oid": large_name(content), "size": len(content), "pointerSize": 130}
        return entry

    def resolve(self, name: str, revision: str, path: str) -> None:
        repository, files = self.found(name, revision)
        if repository.gated and not self.token:
            raise RefusedError(401, "GatedRepo", f"Access to model {name} is restricted")
        if path not in files:
            raise RefusedError(404, "EntryNotFound", "Entry not found")
        content = files[path]
        if path.endswith(LARGE):
            self.send_elsewhere(content, commit_of(files))
        else:
            self.send_file(content, git_name(content))

    def send_elsewhere(self, content: bytes, commit: str) -> None:
        """Large files lie with another host, which must not see the token."""
        self.server.large[large_name(content)] = content
        self.send_response(302)
        self.send_header("Location", f"http://localhost:{self.server.server_port}/large/{large_name(content)}")
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("X-Linked-ETag", f'"{large_name(content)}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send_file(self, content: bytes, name: str) -> None:
        wanted = self.headers.get("Range") if self.server.ranges else None
        start = int((wanted or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        rest = content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(rest)))
        self.send_header("ETag", f'"{name}"')
        self.end_headers()
        if self.command == "HEAD":
            return
        if name in self.server.large and self.server.cuts:
            self.wfile.write(rest[: self.server.cuts.pop(0)])
            self.close_connection = True
        elif name in self.server.large and self.server.stall_after is not None:
            self.wfile.write(rest[: self.server.stall_after])
            self.server.stalled.set()
            self.server.released.wait(60)
            self.close_connection = True
        else:
            self.wfile.write(rest)

    def create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        if not self.token:
            raise RefusedError(401, "", "Invalid username or password.")
        if wanted["organization"] == "somebody":
            raise RefusedError(403, "", "You don't have the rights to create a model under the namespace somebody")
        exists = name in self.server.repositories
        if not exists:
            private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
            self.server.repositories[name] = Repository(private=private)
        self.say({"url": f"{self.server.address}/{name}"}, status=409 if exists else 200)

    def validate(self, card: str) -> None:
        data = yaml.safe_load(card.split("---")[1])
        errors = [] if data.get("license") else [{"message": '"license" is required'}]
        self.say({"errors": errors, "warnings": []}, status=400 if errors else 200)

    def preupload(self, files: list[dict[str, Any]]) -> None:
        modes = [("lfs" if file["path"].endswith(LARGE) else "regular") for file in files]
        told = zip(files, modes, strict=True)
        self.say({"files": [{"path": file["path"], "uploadMode": mode, "shouldIgnore": False} for file, mode in told]})

    def batch(self, objects: list[dict[str, Any]]) -> None:
        for wanted in objects:
            if wanted["oid"] not in self.server.large:
                wanted["actions"] = {"upload": {"href": f"{self.server.address}/large/{wanted['oid']}"}}
        self.say({"transfer": "basic", "objects": objects})

    def commit(self, name: str, revision: str, lines: list[dict[str, Any]]) -> None:
        repository, files = self.found(name, revision)
        after = dict(files)
        for value, key in ((line["value"], line["key"]) for line in lines):
            if key == "file":
                after[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                after[value["path"]] = self.server.large[value["oid"]]
            elif key == "deletedFile":
                del after[value["path"]]
        repository.revisions[revision].append(after)
        sha = commit_of(after)
        self.say({"commitUrl": f"{self.server.address}/{name}/commit/{sha}", "commitOid": sha})

    def say(self, content: Any, *, status: int = 200, code: str = "") -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        if status >= 400:
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", content.get("error", ""))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)
