"""Where `whet serve use=` finds a server of this account: a file that nobody else can read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from whet.errors import ConfigError, EnvironmentRefused
from whet.storage.places import cache_folder
from whet.storage.readable import readable_json


@dataclass(frozen=True)
class ServerState:
    """How a server is reached, by its own account."""

    host: str
    port: int
    owner: str  # the key that may change the version

    @classmethod
    def of_port(cls, port: int) -> ServerState:
        """Of the server at a port. ConfigError where none was started by this account."""
        path = _file(port)
        if not path.exists():
            raise ConfigError(
                f"No `whet serve` of yours is at port={port}. Start one, or say port= of another."
            )
        state = readable_json(path, kind=dict, remedy="Start the server again.")
        return cls(str(state.get("host")), port, str(state.get("owner")))

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Have the file while the block runs."""
        path = _file(self.port)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)  # of a server that was killed
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w", encoding="utf-8") as handle:
            json.dump(asdict(self), handle)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)

    def change(self, route: str, sent: dict[str, str]) -> dict[str, str]:
        """Ask the server for another version, and wait until it answers; what it says.

        Raises ConfigError with what it refuses, and EnvironmentRefused where it is not there.
        """
        headers = {"authorization": f"Bearer {self.owner}", "content-type": "application/json"}
        # Not by urllib: where a proxy is set it would be sent the key.
        connection = HTTPConnection(self.host, self.port)
        try:
            connection.request("POST", route, json.dumps(sent), headers)
            response = connection.getresponse()
            said = json.load(response)
            if not isinstance(said, dict):
                raise ValueError("no object of JSON")
        except (OSError, HTTPException, ValueError, RecursionError) as error:
            raise EnvironmentRefused(
                f"{self.host}:{self.port} does not answer as `whet serve` does: {error}. Is it "
                "still running?"
            ) from error
        finally:
            connection.close()
        if response.status != 200:
            refused = said.get("error")
            raise ConfigError(str(refused.get("message") if isinstance(refused, dict) else said))
        return {name: str(value) for name, value in said.items()}


def _file(port: int) -> Path:
    return cache_folder() / "serving" / f"{port}.json"
