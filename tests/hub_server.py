"""A small server that speaks the hub's HTTP protocol, and misbehaves on demand.

It answers model information, and HEAD and GET of files with ETag, commit header, redirects to a
storage path of its own, and ranges. The real huggingface_hub client downloads from it.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

INFO = re.compile(r"^/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?$")
RESOLVE = re.compile(r"^/([^/]+/[^/]+)/resolve/([^/]+)/(.+)$")
STORAGE = re.compile(r"^/storage/([0-9a-f]{64})$")
BLOCK = 2**16


@dataclass
class Repository:
    """One repository at one commit.

    Attributes:
        commit: 40 hex digits, what "main" points to.
        files: bytes by name; those of 1 kB and more are kept in storage, as large files are.
        token: needed to read it, None for a public one.
    """

    commit: str
    files: dict[str, bytes]
    token: str | None = None


@dataclass
class Hub:
    """What the server has, how it misbehaves, and what it was asked.

    Attributes:
        repositories: by "OWNER/NAME".
        drop_after: bytes of a body after which the connection is cut, once.
        hang_after: bytes of a body after which nothing more is sent.
        pause_s: seconds between two blocks of a body.
        html: whether everything is answered with a web page.
        swapped: bodies that are sent in place of the file of that name.
        sizes: sizes that are listed in place of a file's own.
        log: (method, path, Range header) of every request.
        leaked: whether a token was sent to the storage.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    drop_after: int | None = None
    hang_after: int | None = None
    pause_s: float = 0.0
    html: bool = False
    swapped: dict[str, bytes] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    log: list[tuple[str, str, str | None]] = field(default_factory=list)
    leaked: bool = False
    url: str = ""
    storage_url: str = ""
    hanging: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def bodies_asked(self) -> list[tuple[str, str | None]]:
        """Path and range of every body of a file that was asked for."""
        return [(path, wanted) for method, path, wanted in self.log
                if method == "GET" and not path.startswith("/api/")]


def is_large(data: bytes) -> bool:
    """Whether a file lies in storage, with its SHA-256 as its tag."""
    return len(data) >= 1000


def sha256(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers from the hub's ``Hub``."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self._answer(with_body=False)

    def do_GET(self) -> None:
        """Answer with a body."""
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.log.append((self.command, path, self.headers.get("Range")))
        if self.hub.html:
            page = b"<html><body>Please log in to this network.</body></html>"
            return self._send(200, page, {"Content-Type": "text/html"}, with_body)
        if match := STORAGE.match(path):
            return self._storage(match[1], with_body)
        if match := INFO.match(path):
            return self._info(match[1], match[2] or "main", with_body)
        if match := RESOLVE.match(path):
            return self._resolve(*match.groups(), with_body=with_body)
        return self._fail(404, "EntryNotFound")

    def _repository(self, name: str, revision: str) -> Repository | None:
        """The repository where it may be read; answers with the fault otherwise."""
        repository = self.hub.repositories.get(name)
        if repository is None:
            self._fail(404, "RepoNotFound")
        elif repository.token and self.headers.get("Authorization") != f"Bearer {repository.token}":
            self._fail(401, "GatedRepo")
        elif revision not in ("main", repository.commit):
            self._fail(404, "RevisionNotFound")
        else:
            return repository
        return None

    def _info(self, name: str, revision: str, with_body: bool) -> None:
        if (repository := self._repository(name, revision)) is None:
            return
        siblings = []
        for file, data in repository.files.items():
            size = self.hub.sizes.get(file, len(data))
            sibling: dict[str, Any] = {"rfilename": file, "size": size, "blobId": sha256(data)[:40]}
            if is_large(data):
                sibling["lfs"] = {"sha256": sha256(data), "size": size, "pointerSize": 130}
            siblings.append(sibling)
        body = {"_id": "1", "id": name, "modelId": name, "sha": repository.commit,
                "private": False, "tags": [], "downloads": 0, "siblings": siblings}
        self._send(200, json.dumps(body).encode(), {"Content-Type": "application/json"}, with_body)

    def _resolve(self, name: str, revision: str, file: str, with_body: bool) -> None:
        if (repository := self._repository(name, revision)) is None:
            return
        if file not in repository.files:
            return self._fail(404, "EntryNotFound", {"X-Repo-Commit": repository.commit})
        data = repository.files[file]
        headers = {"X-Repo-Commit": repository.commit, "ETag": f'"{sha256(data)[:40]}"'}
        if is_large(data):
            headers |= {"X-Linked-Etag": f'"{sha256(data)}"', "X-Linked-Size": str(len(data)),
                        "Location": f"{self.hub.storage_url}/storage/{sha256(data)}"}
            return self._send(302, b"", headers, with_body)
        return self._send_file(self.hub.swapped.get(file, data), headers, with_body)

    def _storage(self, digest: str, with_body: bool) -> None:
        self.hub.leaked |= self.headers.get("Authorization") is not None
        for repository in self.hub.repositories.values():
            for file, data in repository.files.items():
                if sha256(data) == digest:
                    return self._send_file(self.hub.swapped.get(file, data),
                                           {"ETag": f'"{digest}"'}, with_body)
        return self._fail(404, "EntryNotFound")

    def _send_file(self, data: bytes, headers: dict[str, str], with_body: bool) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        headers = {**headers, "Accept-Ranges": "bytes",
                   "Content-Type": "application/octet-stream"}
        if wanted is None:
            return self._send(200, data, headers, with_body)
        start = int(wanted[1])
        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return self._send(206, data[start:], headers, with_body)

    def _fail(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, **(headers or {})}, True)

    def _send(self, status: int, body: bytes, headers: dict[str, str], with_body: bool) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body and self.command == "GET":
            self._send_body(body)

    def _send_body(self, body: bytes) -> None:
        for start in range(0, len(body), BLOCK):
            if self.hub.drop_after is not None and start >= self.hub.drop_after:
                self.hub.drop_after = None
                self.close_connection = True
                return
            if self.hub.hang_after is not None and start >= self.hub.hang_after:
                self.hub.hanging.set()
                self.hub.released.wait(60)
                self.close_connection = True
                return
            time.sleep(self.hub.pause_s)
            try:
                self.wfile.write(body[start:start + BLOCK])
            except OSError:  # the client has gone
                return


@contextmanager
def serve_hub(hub: Hub) -> Iterator[Hub]:
    """Serve on a free port for the length of a ``with`` block; ``hub.url`` says where."""
    handler = type("HubHandler", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    hub.storage_url = f"http://localhost:{server.server_address[1]}"  # another host, to a client
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        hub.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
