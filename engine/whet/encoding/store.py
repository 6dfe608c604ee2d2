"""The embedding store: vectors addressed by what made them, so none is stale and none is computed
twice.

A store is one folder an encoder (its fingerprint, prompt and precision in the folder's name). It
holds segments: `keys.npy` (16-byte hash of each text), `vectors.npy` (float32) and `manifest.json`
with the files' hashes. A segment appears by one rename after its files are on disk, so a killed job
leaves whole segments or none.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np

from whet.encoding.keys import KeyIndex
from whet.errors import CheckpointError
from whet.progress import say
from whet.storage.commit import commit_folder, verify_folder
from whet.storage.places import cache_folder
from whet.types import Item

KEY = np.dtype("S16")


def embeddings_folder() -> Path:
    """The store every job shares."""
    return cache_folder() / "embeddings"


def item_keys(items: Sequence[Item]) -> np.ndarray:
    """A 16-byte hash of each text, or of each picture and the text beside it."""
    return np.frombuffer(b"".join(map(_hashed, items)), dtype=KEY)


def _hashed(item: Item) -> bytes:
    if isinstance(item, str):
        return hashlib.blake2b(item.encode(), digest_size=16).digest()
    parts = hashlib.blake2b(item.payload, digest_size=16, person=b"picture")
    # the length first: else bytes could move from the picture's end to the text's beginning
    parts.update(len(item.payload).to_bytes(8, "little") + item.text.encode())
    return parts.digest()


class EmbeddingStore:
    """Vectors of one encoder, found by text."""

    def __init__(
        self, root: Path, fingerprint: str, *, prompt: str, precision: str, dimension: int
    ):
        spelled = json.dumps([fingerprint, prompt, precision, dimension])
        self.folder = root / hashlib.sha256(spelled.encode()).hexdigest()[:32]
        self.folder.mkdir(parents=True, exist_ok=True)
        self.dimension = dimension
        self._keys = KeyIndex()
        self._segments: list[Path] = []
        for segment in sorted(self.folder.glob("segment-*")):
            if segment.suffix != ".tmp":
                self._open(segment)

    def _open(self, segment: Path) -> None:
        try:
            verify_folder(segment)
        except CheckpointError as error:  # rather compute again than search damaged vectors
            say(f"{error} Its texts are encoded again.")
            shutil.rmtree(segment)
            return
        self._take(segment)

    def _take(self, segment: Path) -> None:
        self._keys.add(np.load(segment / "keys.npy"), len(self._segments))
        self._segments.append(segment)

    def find(self, keys_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Segment and row of each key, int64 [N] each, -1 where the store has none."""
        return self._keys.find(keys_N)

    def add(self, keys_N: np.ndarray, vector_ND: np.ndarray) -> None:
        """Commit one segment. CheckpointError, and nothing is written, for NaN or infinity."""
        if not np.isfinite(vector_ND).all():
            raise CheckpointError(
                "Vectors with NaN or infinity are not stored. Check the model that made them."
            )
        # Two jobs may write at once, also from two machines.
        target = self.folder / f"segment-{len(self._segments):06d}-{uuid4().hex[:12]}"
        with commit_folder(target) as draft:
            np.save(draft / "keys.npy", keys_N)
            np.save(draft / "vectors.npy", np.asarray(vector_ND, np.float32))
        self._take(target)

    def gather(self, keys_N: np.ndarray, out_ND: np.ndarray) -> None:
        """Copy the vectors of the keys into `out_ND`; every key must be there. CheckpointError
        where a segment was deleted meanwhile.
        """
        segment_N, row_N = self.find(keys_N)
        assert (segment_N >= 0).all(), "gather before add"
        # A segment is mapped for as long as it is copied from: each map holds a file open, and a
        # process may have 1,024 of them where ten million texts make 1,221 segments.
        for number in np.unique(segment_N):
            mine = np.flatnonzero(segment_N == number)
            out_ND[mine] = self._vectors(self._segments[number])[row_N[mine]]

    @staticmethod
    def _vectors(segment: Path) -> np.ndarray:
        try:
            vectors: np.ndarray = np.load(segment / "vectors.npy", mmap_mode="r")
        except FileNotFoundError:  # another process found it damaged, or somebody cleared the cache
            raise CheckpointError(
                f"{segment} was deleted while it was in use. Give the command again: what lacks is "
                "encoded anew."
            ) from None
        return vectors
