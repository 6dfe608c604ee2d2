"""Encode a table of texts into vectors, resumable, never the same text twice.

Shape suffixes: N texts, D dimensions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from whet.config import EncodeConfig
from whet.encoding.store import EmbeddingStore, item_keys
from whet.model.inference import encode_texts, encode_tokens
from whet.processes.devices import choose_device, choose_precision
from whet.progress import track
from whet.storage.disk import disk_errors_name
from whet.types import Embeddings, Texts

if TYPE_CHECKING:
    from whet.model.encoder import Encoder
    from whet.model.towers import Towers

Item = TypeVar("Item")
Made = TypeVar("Made")
BLOCK = 8192  # texts a segment: what a kill can cost
PICTURES = 1024  # whose pixels are in memory, 154 MB at 224 x 224
MEMORY_BYTES = 2 << 30  # more vectors than this are kept in a file and memory-mapped


def encode_table(
    model: Encoder | Towers,
    table: Texts,
    *,
    kind: str,
    store: Path,
    config: EncodeConfig | None = None,
    rows: np.ndarray | None = None,
) -> Embeddings:
    """Vectors float32 [N, D] of the table's texts (or of the given rows of it), in order.

    Texts already in the store are read from it; new ones are committed in segments of 8,192 (1,024
    pictures), so that an interrupted call goes on where it was. Over 2 GiB the result is a memory
    map inside the store.
    """
    config = config or EncodeConfig()
    encoder = model.side(kind)
    whole = rows is None
    rows = np.arange(len(table)) if rows is None else np.asarray(rows)
    vectors = open_store(encoder, kind=kind, store=store, config=config)
    keys_N = _keys(table, rows)
    missing, distinct = _missing(keys_N, vectors)
    title = f"Encoding {'queries' if kind == 'query' else 'documents'}"
    with track(title, distinct, "texts", done=distinct - len(missing)) as advance:
        size = BLOCK if "texts" in encoder.reads else PICTURES
        blocks = [missing[start : start + size] for start in range(0, len(missing), size)]

        def tokenized(block: np.ndarray) -> tuple[np.ndarray, list[list[int]]]:
            return block, encoder.tokenize(table.items(rows[block]), kind)

        with _beside(config) as pool, _written_behind(vectors, config) as write:
            for block, tokens in one_ahead(tokenized, blocks, pool):
                names = _ids_of(table, rows[block])
                new_ND = encode_tokens(encoder, tokens, config, advance, ids=names)
                write(keys_N[block], new_ND)
    # New vectors are read back from the store, too: a text given twice is encoded once.
    out_ND = room_for(len(rows), encoder.dimension, vectors.folder)
    for start in range(0, len(rows), BLOCK):
        vectors.gather(keys_N[start : start + BLOCK], out_ND[start : start + BLOCK])
    ids = table.ids
    return Embeddings(ids if whole else [ids[int(row)] for row in rows], out_ND)


def open_store(encoder: Encoder, *, kind: str, store: Path, config: EncodeConfig) -> EmbeddingStore:
    """The part of a store that holds this encoder's vectors of texts of a kind. Compiled code
    rounds otherwise: its vectors are kept apart.
    """
    precision = choose_precision(config, choose_device(config))
    return EmbeddingStore(
        store,
        encoder.fingerprint(),
        prompt=encoder.recipe.prompt(kind),
        precision=f"{precision}, compiled" if config.compile else precision,
        dimension=encoder.dimension,
    )


def fill_store(
    encoder: Encoder,
    table: Texts,
    rows: np.ndarray,
    *,
    kind: str,
    vectors: EmbeddingStore,
    config: EncodeConfig,
) -> int:
    """Encode what of these rows the store does not hold, as one segment; how many that were."""
    keys_N = _keys(table, rows)
    missing = _missing(keys_N, vectors)[0]
    if len(missing):
        chosen = rows[missing]
        ids = _ids_of(table, chosen)
        vectors.add(
            keys_N[missing], encode_texts(encoder, table.items(chosen), kind, config, ids=ids)
        )
    return len(missing)


def _ids_of(table: Texts, rows: np.ndarray) -> Callable[[int], str]:
    """What an error calls the texts of some rows."""
    return lambda row: table.ids[int(rows[row])]


@contextmanager
def _beside(config: EncodeConfig) -> Iterator[ThreadPoolExecutor | None]:
    """A thread to tokenise in while a GPU encodes. None for a CPU, whose cores the model has."""
    if choose_device(config).type == "cpu":
        yield None
        return
    with ThreadPoolExecutor(1, "tokenizer") as pool:
        yield pool


@contextmanager
def _written_behind(
    vectors: EmbeddingStore, config: EncodeConfig
) -> Iterator[Callable[[np.ndarray, np.ndarray], None]]:
    """`vectors.add` by a thread, in order, while a GPU encodes the next block: it syncs and hashes
    for as long as a small model needs to encode. At the end all is on the disk.

    One block waits at most. What a write raises is raised by the next one, or at the end; after an
    error of the caller's, an interrupt say, what it has handed over is still written. A CPU encodes
    for longer, and writes at once.
    """
    if choose_device(config).type == "cpu":
        yield vectors.add
        return
    last: Future[None] | None = None
    with ThreadPoolExecutor(1, "store") as pool:

        def write(keys_N: np.ndarray, vector_ND: np.ndarray) -> None:
            nonlocal last
            if last is not None:
                last.result()
            last = pool.submit(vectors.add, keys_N, vector_ND)

        yield write
        if last is not None:
            last.result()


def one_ahead(
    make: Callable[[Item], Made], items: Iterable[Item], pool: ThreadPoolExecutor | None
) -> Iterator[Made]:
    """What is made of each item, in order; the next is made in the pool while the caller works on
    this one. Without a pool all is made here.

    >>> with ThreadPoolExecutor(1) as pool:
    ...     list(one_ahead(str, [1, 2, 3], pool))
    ['1', '2', '3']
    """
    if pool is None:
        yield from map(make, items)
        return
    last: Future[Made] | None = None
    for item in items:
        following = pool.submit(make, item)
        if last is not None:
            yield last.result()
        last = following
    if last is not None:
        yield last.result()


def _missing(keys_N: np.ndarray, vectors: EmbeddingStore) -> tuple[np.ndarray, int]:
    """Where texts stand first that the store lacks, and how many distinct texts there are."""
    first_N = np.zeros(len(keys_N), bool)
    first_N[np.unique(keys_N, return_index=True)[1]] = True
    return np.flatnonzero(first_N & (vectors.find(keys_N)[0] < 0)), int(first_N.sum())


def _keys(table: Texts, rows: np.ndarray) -> np.ndarray:
    parts = [
        item_keys(table.items(rows[start : start + BLOCK])) for start in range(0, len(rows), BLOCK)
    ]
    return np.concatenate(parts) if parts else item_keys([])


def room_for(count: int, dimension: int, folder: Path) -> np.ndarray:
    """An array for so many vectors: in memory, or in a nameless file of the folder."""
    if count * dimension * 4 <= MEMORY_BYTES:
        return np.empty((count, dimension), np.float32)
    import tempfile

    # The name is gone at once; the pages live as long as the array.
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".tmp") as file:
        if hasattr(os, "posix_fallocate"):  # a full disk is an error here, and a SIGBUS later
            with disk_errors_name(folder):
                os.posix_fallocate(file.fileno(), 0, count * dimension * 4)
        return np.memmap(file, dtype=np.float32, mode="w+", shape=(count, dimension))
