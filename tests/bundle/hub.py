"""A model hub on this machine, as far as a client needs one to put files there.

It speaks the endpoints that huggingface_hub asks for: who asks, making a repository, which files go
how, large files by their hash, the commit.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_a_secret_of_the_test"


class Hub:
    """What it holds: files by repository, which repositories are private, what was asked."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.large: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.address = ""

    def commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        """Do what a commit's lines say."""
        held = self.files[name]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                held[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                held[value["path"]] = self.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del held[value["path"]]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _answer(self, status: int, value: Any = None) -> None:
        body = json.dumps(value if value is not None else {}).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if status == 404:
            self.send_header("x-error-code", "RepoNotFound")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def _name(self) -> str:
        parts = self.path.partition("?")[0].removeprefix("/api/models").strip("/").split("/")
        return "/".join(parts[:2]).removesuffix(".git")

    def do_GET(self) -> None:
        self.hub.asked.append(f"GET {self.path}")
        name = self._name()
        if name not in self.hub.files:
            self._answer(404, {"error": "Repository not found"})
        elif "/tree/" in self.path:
            files = self.hub.files[name].items()
            self._answer(
                200,
                [{"type": "file", "path": p, "size": len(c), "oid": "0" * 40} for p, c in files],
            )
        else:
            siblings = [{"rfilename": path} for path in self.hub.files[name]]
            about = {"id": name, "private": self.hub.private[name], "sha": "1" * 40}
            self._answer(200, {**about, "siblings": siblings})

    def do_PUT(self) -> None:
        self.hub.large[self.path.rpartition("/")[2]] = self._body()
        self._answer(200)

    def do_POST(self) -> None:
        self.hub.asked.append(f"POST {self.path}")
        body = self._body()
        if self.headers.get("authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"error": f"no such token: {self.headers.get('authorization')}"})
            return
        name = self._name()
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            whole = f"{asked['organization']}/{asked['name']}"
            there = self.hub.files.setdefault(whole, {})
            if not there:
                self.hub.private[whole] = asked.get("visibility") == "private" or bool(
                    asked.get("private")
                )
                there[".gitattributes"] = b""
            self._answer(200, {"url": f"{self.hub.address}/{whole}", "id": whole})
        elif self.path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = [file["path"] for file in json.loads(body)["files"]]
            modes = {True: "lfs", False: "regular"}
            self._answer(
                200,
                {
                    "files": [
                        {
                            "path": path,
                            "uploadMode": modes[path.endswith(".safetensors")],
                            "shouldIgnore": False,
                        }
                        for path in files
                    ]
                },
            )
        elif self.path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            for item in objects:
                href = f"{self.hub.address}/large/{item['oid']}"
                item["actions"] = {"upload": {"href": href}}
            self._answer(200, {"transfer": "basic", "objects": objects})
        elif "/commit/" in self.path:
            self.hub.commit(name, [json.loads(line) for line in body.splitlines()])
            url = f"{self.hub.address}/{name}/commit/{'2' * 40}"
            self._answer(200, {"commitUrl": url, "commitOid": "2" * 40})
        else:
            self._answer(400, {"error": f"nothing here speaks {self.path}"})


@contextmanager
def hub_here() -> Iterator[Hub]:
    """The hub at an address of this machine, until the end of the block."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
