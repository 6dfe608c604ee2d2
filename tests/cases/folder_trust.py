"""A run folder of somebody else runs no code, contacts nobody and is filled in from nowhere."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from harness import data, done, expect, model, place, run, whet

contacts: list[str] = []


class Head(BaseHTTPRequestHandler):
    """Notes whoever comes."""

    def do_GET(self) -> None:
        """Refuse."""
        contacts.append(self.path)
        self.send_response(500)
        self.send_header("content-length", "0")
        self.end_headers()

    do_POST = do_PUT = do_GET

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def strangers(here: Path, name: str, change: Callable[[dict[str, Any]], Any]) -> Path:
    """A run folder to go on with, its configuration changed."""
    folder = run(here / name)
    shutil.rmtree(folder / "model")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["data"]["path"], config["model"]["name"] = str(here / "data"), str(here / "model")
    change(config)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def model_with_code(here: Path) -> Path:
    """A model whose code leaves a canary when it is run."""
    folder = model(here / "evil")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.C", "AutoModel": "evil.M"}
    (folder / "config.json").write_text(json.dumps(config))
    code = [
        f"open({str(here / 'canary')!r}, 'w')",
        "from transformers import BertConfig, BertModel",
        "class C(BertConfig):\n    pass",
        "class M(BertModel):\n    config_class = C",
    ]
    (folder / "evil.py").write_text("\n".join(code) + "\n")
    return folder


server = ThreadingHTTPServer(("127.0.0.1", 0), Head)
threading.Thread(target=server.serve_forever, daemon=True).start()
with place() as here:
    data(here / "data")
    model(here / "model")
    evil = {"name": str(model_with_code(here)), "trust_remote_code": True}
    folder = strangers(here, "code", lambda config: config["model"].update(evil))
    whet("fit", f"resume={folder}")
    expect(not (here / "canary").exists(), "no code of a model ran since a run folder says so")

    def send(config: dict[str, Any]) -> None:
        """Have the run sent to the server above."""
        address = f"http://127.0.0.1:{server.server_address[1]}"
        config["launch"] |= {"mode": "job", "address": address, "insecure": True}
        config["output"] = str(here / "job")

    whet("fit", f"resume={strangers(here, 'job', send)}", timeout=60)
    expect(not contacts, f"no address in a run folder is contacted ({contacts[:2]})")

    secret = {"query_prompt": "${oc.env:MY_SECRET_KEY}"}
    folder = strangers(here, "env", lambda config: config["model"].update(secret))
    whet("fit", f"resume={folder}", env={"MY_SECRET_KEY": "CANARY-VALUE-123"})
    files = [path for path in folder.rglob("*") if path.is_file()]
    leaks = [path for path in files if b"CANARY-VALUE-123" in path.read_bytes()]
    expect(not leaks, "no variable's value is in the run folder")
done()
