"""A hub that takes connections and never answers is asked once, and not for long."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

SCRIPT = """
import sys
from whet.model import folder
folder.ANSWER_S = 0.2
from whet_launch.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_silent_hub_is_asked_once(tiny_data: Path, tmp_path: Path) -> None:
    connections: list[socket.socket] = []
    server = socket.create_server(("127.0.0.1", 0))

    def keep() -> None:
        while True:
            try:
                connections.append(server.accept()[0])
            except OSError:
                return

    threading.Thread(target=keep, daemon=True).start()
    online = {name: value for name, value in os.environ.items() if not name.endswith("_OFFLINE")}
    hub = {"HF_ENDPOINT": f"http://127.0.0.1:{server.getsockname()[1]}", "HF_HOME": str(tmp_path)}
    words = ["fit", f"data={tiny_data}", "mining.cross_encoder=no/such", "output=run"]
    with server:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**online, **hub},
            timeout=240,
        )
    assert done.returncode == 4, done.stderr
    assert done.stderr.startswith("whet: mining.cross_encoder=no/such cannot be loaded")
    assert done.stderr.count("\n") == 1 and not (tmp_path / "run").exists()
    assert 1 <= len(connections) <= 2  # the second is the client's own, after the first one's end
