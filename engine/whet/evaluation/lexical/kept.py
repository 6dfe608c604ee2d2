"""Counted blocks beside the embedding store: no corpus's words are counted twice.

A corpus has one folder per way to count it: its digest, the language, and the versions of what says
where words end and what their stems are. In it each block of BLOCK rows is a folder, whole or
absent, checked when it is opened and memory-mapped when it is searched. A block knows nothing of
the others, so processes count, and open, only those they need.
"""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from filelock import lock_descriptor

from whet.data.table import TextTable
from whet.errors import CheckpointError
from whet.evaluation.lexical import counts
from whet.evaluation.lexical.counts import WordBlock, count_block
from whet.progress import say, track
from whet.storage.commit import commit_folder, verify_folder
from whet.storage.places import cache_folder

COUNTING = "2"  # raise it whenever the words of a text would be others


def words_folder(corpus: TextTable, language: str) -> Path:
    """Where the blocks of a corpus are."""
    import bm25s
    import Stemmer

    how = [COUNTING, bm25s.__version__, Stemmer.version(), unicodedata.unidata_version]
    spelled = json.dumps([corpus.digest, language, counts.BLOCK, *how])
    return cache_folder() / "words" / sha256(spelled.encode()).hexdigest()[:32]


def block_rows(number: int, documents: int) -> range:
    """The rows of a block of a corpus of so many documents."""
    return range(number * counts.BLOCK, min((number + 1) * counts.BLOCK, documents))


def keep_blocks(corpus: TextTable, numbers: Sequence[int], language: str) -> None:
    """Count those of these blocks that are not there yet."""
    folder = words_folder(corpus, language)
    missing = [number for number in numbers if not _whole(block_folder(folder, number))]
    sizes = [len(block_rows(number, len(corpus))) for number in missing]
    with track("Counting words", sum(sizes), "documents") as advance:
        for number, size in zip(missing, sizes, strict=True):
            _keep(corpus, number, language, block_folder(folder, number))
            advance(size)


def uncounted(corpus: TextTable, language: str) -> int:
    """How many documents have no counted words yet, as far as folders say that are not opened."""
    folder = words_folder(corpus, language)
    numbers = range(-(-len(corpus) // counts.BLOCK))
    missing = (number for number in numbers if not block_folder(folder, number).exists())
    return sum(len(block_rows(number, len(corpus))) for number in missing)


def kept_blocks(corpus: TextTable, numbers: Sequence[int], language: str) -> list[WordBlock]:
    """These blocks of the corpus: opened, or counted and kept."""
    keep_blocks(corpus, numbers, language)
    folder = words_folder(corpus, language)
    return [WordBlock.open(block_folder(folder, number)) for number in numbers]


def block_folder(folder: Path, number: int) -> Path:
    """Where a block is in the folder of its corpus."""
    return folder / f"block-{number:06d}"


def _keep(corpus: TextTable, number: int, language: str, folder: Path) -> None:
    with _alone(folder):
        if not _whole(folder):  # else another process was first
            with commit_folder(folder) as draft:
                count_block(corpus, block_rows(number, len(corpus)), language).write(draft)


def _whole(folder: Path) -> bool:
    """Whether it is there as it was written; a damaged one is told and taken away."""
    if not folder.exists():
        return False
    try:
        verify_folder(folder)
    except CheckpointError as damage:  # rather count again than search damaged counts
        if folder.exists():  # another process may have seen it, too
            say(f"{damage} Its words are counted again.")
            shutil.rmtree(folder, ignore_errors=True)
        return False
    return True


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time works on a block; the lock dies with its process, and the draft that a
    killed one left goes when the next begins.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("ab") as file:
        lock_descriptor(file.fileno())
        yield
