"""How a checkpoint's file is written: once, where it belongs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.pytorch.plugins import TorchCheckpointIO


class InPlace(TorchCheckpointIO):
    """torch.save straight into the file, which is in a draft folder (whet/storage/commit.py).

    Lightning's own builds the whole file in memory, writes it to the system's temporary folder, and
    copies it from there: a /tmp smaller than the checkpoint ends the training.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write the state. An OSError of the disk names the file."""
        with open(path, "wb") as file:
            writer: Any = _Writer(file)
            try:
                torch.save(checkpoint, writer)
            except RuntimeError:
                if writer.error is None:
                    raise
                raise OSError(*writer.error.args, str(path)) from writer.error


class _Writer:
    """A file that keeps the error of a write, which torch makes one of its own about positions."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, content: Any) -> int:
        try:
            return self.file.write(content)
        except OSError as error:
            self.error = self.error or error
            raise

    def flush(self) -> None:
        self.file.flush()
