"""From a source to the converted folder in the cache: read once, in bounded memory, commit by
renaming.
 The folder is named by the content of the source files and by READER_VERSION, so it never goes
stale. It is built with the rows at fault left out and the findings beside it; whether findings are
refused is decided on loading. Whenever it is opened every file is hashed before it is mapped or
parsed, and compared with the manifest; a damaged folder is built anew from the source.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import numpy as np
from filelock import lock_descriptor

from whet.data.findings import Findings, excerpt
from whet.data.judgments import Labels, judged_by_label, resolve
from whet.data.positives import same_text
from whet.data.readers.lines import is_large
from whet.data.readers.passages import NUMBERED, homes_of, passage_id, passages_of
from whet.data.readers.records import (
    PackedRecords,
    Reading,
    Source,
    TeacherScore,
    Text,
    chars_of,
    row_of,
)
from whet.data.scores import keep_scores
from whet.data.table import TableWriter, TextTable, keep_groups, repeated_rows, save_array
from whet.errors import CheckpointError, DataError, EnvironmentRefused
from whet.printable import printable
from whet.processes.crew import Crew
from whet.processes.host import cores
from whet.progress import say
from whet.storage.blocks import JUDGMENTS, SCORES, BlockWriter
from whet.storage.commit import seal, verify_folder
from whet.storage.disk import disk_errors_name
from whet.types import Qrels

READER_VERSION = "4"  # raise it whenever the same files would be read differently
OWN = "own.npy"  # for each query the first document of the same text
HOMES = "homes.npy"  # for each passage the first of its document
MOST_WORKERS = 8  # more wait for this process, which writes
_STALE_S = 24 * 3600.0


def converted(source: Source, cache: Path) -> tuple[Path, dict[str, Any]]:
    """The folder of `source`'s tables, and what is known of them: kind, splits, findings.

    It is built if it is not there yet, or is damaged, which is told. DataError if there is nothing
    to build from.
    """
    root = cache / "data"
    folder = root / _key(source)
    if folder.exists():
        try:
            return folder, _verified(folder)
        except CheckpointError as damage:
            say(f"{printable(damage)} It is read again from {printable(source.root)}.")
    try:
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=root))
    except OSError as error:
        remedy = "Set WHET_CACHE to a folder that can be written"
        raise EnvironmentRefused(f"{root}: {error.strerror}. {remedy}.") from error
    try:
        with disk_errors_name(root):  # a part is deleted, and the disk is full no more
            about = _build(source, part)
            _commit(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder, about


def _key(source: Source) -> str:
    """What decides the result: format, file names, their bytes, and the reader."""
    digest = sha256(f"{READER_VERSION}\0{source.kind}\0{source.fingerprint}".encode())
    for path in source.files:
        name = path.relative_to(source.root).as_posix()
        try:
            with open(path, "rb") as handle:
                content = file_digest(handle, "sha256").hexdigest()
        except OSError as error:
            raise DataError(
                f"{printable(path)}: {error.strerror}. Check its permissions."
            ) from error
        digest.update(f"\0{name}\0{content}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]


def _build(source: Source, folder: Path) -> dict[str, Any]:
    with _crew_for(source) as crew:
        return _built(source, folder, crew)


@contextmanager
def _crew_for(source: Source) -> Iterator[Crew | None]:
    """Workers, where the data are worth some; passages, pictures and labels are of this process."""
    size = min(cores(), MOST_WORKERS)
    alone = source.passages or source.pictures or source.labelled
    if size < 2 or alone or not any(map(is_large, source.files)):
        yield None
        return
    with Crew(size) as crew:
        yield crew


def _built(source: Source, folder: Path, crew: Crew | None) -> dict[str, Any]:
    reading = Reading(crew=crew)
    spools = _Spools(folder, pictures=source.pictures)
    try:
        spools.fill(source, reading)
    except DataError as error:
        error.args = (f"{error}{_what_explains_it(reading.findings)}",)
        raise
    corpus = _settle(spools, "corpus", source=source, reading=reading)
    queries = _settle(spools, "queries", source=source, reading=reading)
    if source.passages:
        save_array(folder / HOMES, homes_of(corpus))
    own_Q = same_text(keep_groups(queries, crew), keep_groups(corpus, crew))
    save_array(folder / OWN, own_Q)
    if not len(corpus):
        reading.findings.refuse(source.root.name)
        raise DataError(
            f"{printable(source.root)}: holds no document (looked in {source.corpus_name}). "
            "Give it some."
        )
    splits = _keep_splits(spools, queries, corpus, own_Q, source=source, reading=reading)
    if spools.scores is not None:
        keep_scores(spools.scores.path, folder, queries, corpus, reading)
    # Before the seal, which takes all that lies here as part of the tables.
    shutil.rmtree(spools.folder)
    about = {"kind": source.kind, "splits": splits, "findings": reading.findings.to_dict()}
    seal(folder, about)
    return about


def _keep_splits(
    spools: _Spools,
    queries: TextTable,
    corpus: TextTable,
    own_Q: np.ndarray,
    *,
    source: Source,
    reading: Reading,
) -> list[str]:
    """Write the judgments of each split; their names in the order of their numbers."""
    by_label: dict[str, Qrels] = {}
    if source.labelled:
        by_label = judged_by_label(spools.labels, own_Q, corpus.group_of_N(), reading)
        for split in by_label:
            reading.split(split, printable(source.root.name))
    splits: list[str] = []
    # Splits are stored by number: their names are the data's and could lead out of the folder.
    for split, file in sorted(reading.splits.items(), key=_split_rank):
        qrels = by_label.get(split)
        if split in spools.judgments:
            spool = spools.judgments[split].path
            qrels = resolve(spool, queries, corpus, source=source, reading=reading)
        if qrels is not None and len(qrels):
            _note_unanswered(qrels, queries, split, file, reading.findings)
            columns_3M = np.stack([qrels.query_rows_M, qrels.doc_rows_M, qrels.relevance_M])
            save_array(spools.home / f"split-{len(splits)}.npy", columns_3M)
            splits.append(split)
            continue
        reading.findings.add("empty split", file, f"split {excerpt(split)} has no judgment to use")
    return splits


def _what_explains_it(findings: Findings) -> str:
    """What was found before the data were refused, the first of each kind of problem."""
    lines = [findings.describe(kind).split("\n")[0] for kind in findings.of("problem")]
    return "".join(f"\n{line}" for line in lines)


def _split_rank(item: tuple[str, str]) -> tuple[int, str]:
    """train, dev, test, then the others by name."""
    usual = ("train", "dev", "test")
    return usual.index(item[0]) if item[0] in usual else len(usual), item[0]


class _Spools:
    """Where one pass over the records leaves them: drafts of the two tables, judgments by split,
    scores.
    """

    def __init__(self, folder: Path, *, pictures: bool) -> None:
        self.home = folder
        self.folder = folder / "spool"
        self.folder.mkdir()
        self.places = {"corpus": array("q"), "queries": array("q")}
        self.texts = {
            name: TableWriter(self.folder / f"{name}.arrow", pictures=pictures)
            for name in self.places
        }
        self.labels = Labels()
        self.judgments: dict[str, BlockWriter] = {}
        self.scores: BlockWriter | None = None  # a teacher's, where the data hold some

    def fill(self, source: Source, reading: Reading) -> None:
        """Read the source, once."""
        for record in source.read(reading):
            if isinstance(record, PackedRecords):
                self._unpack(record)
            elif isinstance(record, Text):
                for id_, text in _parts(record, source, reading):
                    self.texts[record.table].add(id_, text, record.payload)
                    self.places[record.table].append(record.place)
                if source.labelled:
                    self.labels.add(record)
            elif isinstance(record, TeacherScore):
                self._of_scores().add(row_of(record), chars_of(record))
            else:
                self._of_split(record.split).add(row_of(record), chars_of(record))
        for writer in (*self.judgments.values(), self.scores):
            if writer is not None:
                writer.close()

    def _unpack(self, records: PackedRecords) -> None:
        for table, texts in records.texts.items():
            self.texts[table].add_rows(texts.rows, texts.char_M, texts.hash_M)
            self.places[table].frombytes(texts.place_M.tobytes())
        for split, judged in records.judgments.items():
            self._of_split(split).add_rows(judged.rows, judged.char_M)
        if records.scores is not None:
            self._of_scores().add_rows(records.scores.rows, records.scores.char_M)

    def _of_split(self, split: str) -> BlockWriter:
        if split not in self.judgments:
            path = self.folder / f"judgments-{len(self.judgments)}.arrow"
            self.judgments[split] = BlockWriter(path, JUDGMENTS)
        return self.judgments[split]

    def _of_scores(self) -> BlockWriter:
        if self.scores is None:
            self.scores = BlockWriter(self.folder / "scores.arrow", SCORES)
        return self.scores


def _parts(record: Text, source: Source, reading: Reading) -> Iterator[tuple[str, str]]:
    """The ids and texts of a record: a long document's are those of its passages, if wanted."""
    if not source.passages or record.table != "corpus":
        yield record.id, record.text
    elif NUMBERED.search(record.id):
        what = f"id {excerpt(record.id)} ends as the ids of passages do"
        reading.add("bad id", record.place, what)
    else:
        for number, text in enumerate(passages_of(record.text), 1):
            yield passage_id(record.id, number), text


def _settle(spools: _Spools, name: str, *, source: Source, reading: Reading) -> TextTable:
    """The final table: the draft, without the later rows where ids repeat."""
    draft = spools.texts[name].close()
    again_R2 = repeated_rows(draft)
    if source.repeats != "fine":
        _note_repeats(draft, again_R2, spools.places[name], source=source, reading=reading)
    final = spools.home / draft.path.name
    if len(again_R2):
        table = _copy_without(draft, again_R2[:, 0], final)
        if source.labelled:
            spools.labels.leave_out(name, again_R2[:, 0])
    else:
        for path in spools.folder.glob(f"{name}.*"):
            path.rename(spools.home / path.name)
        table = TextTable(final)
    return table


def _copy_without(draft: TextTable, left_out_R: np.ndarray, path: Path) -> TextTable:
    keep_N = np.ones(len(draft), bool)
    keep_N[left_out_R] = False
    writer, row = TableWriter(path, pictures=draft.has_pictures), 0
    for (ids, texts), payloads in zip(draft.blocks(), draft.payload_blocks(), strict=True):
        kept = keep_N[row : row + len(ids)]
        for id_, text, payload, keep in zip(ids, texts, payloads, kept, strict=True):
            if keep:
                writer.add(id_, text, payload)
        row += len(ids)
    return writer.close()


def _note_repeats(
    draft: TextTable, again_R2: np.ndarray, places: array[int], *, source: Source, reading: Reading
) -> None:
    for row, first in again_R2.tolist():
        if source.repeats == "same text" and draft.text(row) == draft.text(first):
            continue
        before = reading.say(places[first])
        what = f"id {excerpt(draft.id(row))} was used before, in {before}"
        reading.add("duplicate id", places[row], what)


def _note_unanswered(
    qrels: Qrels, queries: TextTable, split: str, file: str, findings: Findings
) -> None:
    lost = np.setdiff1d(qrels.query_rows, qrels.relevant().query_rows)
    if len(lost):
        what = f"query {excerpt(queries.id(int(lost[0])))} of split {excerpt(split)}"
        findings.add("query without a relevant document", file, what)
        findings.more("query without a relevant document", len(lost) - 1)


def _commit(part: Path, folder: Path) -> None:
    """Rename into place. Where another process was first, its equal result stands; a damaged folder
    is first renamed away, so that who opens it meets the old, the new or none, never half of one.
    """
    aside = part.with_name(f"{part.name}.damaged")
    try:
        with _alone(folder.parent):
            if folder.exists():
                with suppress(CheckpointError):
                    _verified(folder)
                    return
                folder.rename(aside)
            part.rename(folder)
    except OSError as error:
        remedy = "Set WHET_CACHE to another folder"
        raise EnvironmentRefused(f"{folder}: {error.strerror}. {remedy}.") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One process at a time; the lock dies with its process."""
    with root.with_name(f".{root.name}.lock").open("ab") as file:
        lock_descriptor(file.fileno())
        yield


def _verified(folder: Path) -> dict[str, Any]:
    """What `_build` wrote down. CheckpointError names the first file that is not as it was then."""
    try:
        return verify_folder(folder)
    except OSError as error:
        place = error.filename or folder
        raise CheckpointError(f"{place} cannot be read: {error.strerror}.") from error


def _sweep(root: Path) -> None:
    """Take away what builds killed over a day ago left."""
    for part in root.glob(".part-*"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > _STALE_S:
                shutil.rmtree(part, ignore_errors=True)
