"""The words of a corpus: counted in blocks and kept, the same bits however they are cut."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whet.data.table import TextTable, write_table
from whet.evaluation.lexical import K1, B, Words, counts, kept, nearest_by_words
from whet.evaluation.lexical.languages import stems
from whet.evaluation.lexical.words import ListedTexts

RARE = [f"w{number}" for number in range(40)]


def made(seed: int, documents: int) -> list[str]:
    """Texts of frequent and of rare words, some without any."""
    random = np.random.default_rng(seed)
    chances = 1 / np.arange(1, len(RARE) + 1)
    sizes = random.integers(0, 12, documents)
    return [" ".join(random.choice(RARE, size, p=chances / chances.sum())) for size in sizes]


def of_bm25s(documents: list[str], queries: list[str]) -> np.ndarray:
    """The scores of the library whose formula it is."""
    import bm25s

    index = bm25s.BM25(k1=K1, b=B, method="lucene")
    index.index(stems(documents), show_progress=False)
    scores_QN = np.zeros((len(queries), len(documents)), np.float32)
    for row, words in enumerate(stems(queries)):
        known = index.get_tokens_ids(words)
        if known:
            scores_QN[row] = index.get_scores_from_ids(known)
    return scores_QN


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TextTable:
    """Sixty documents in four blocks, and a cache of their own."""
    monkeypatch.setenv("WHET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(counts, "BLOCK", 17)
    texts = made(3, 60)
    return write_table(tmp_path / "corpus.arrow", ((f"d{n}", t) for n, t in enumerate(texts)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 90), st.integers(1, 40), st.integers(1, 200))
def test_blocks_and_batches_of_any_size_have_the_bits_of_bm25s(
    seed: int, documents: int, block: int, batch: int
) -> None:
    texts = [*made(seed, documents), "w0"]
    queries = [*made(seed + 1, 12), "w1 w1 w39 unheard", "", *texts[:2]]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(counts, "BLOCK", block)
        patched.setattr(counts, "BATCH", batch)
        patched.setattr(counts, "READ", 1 + block // 2)
        words = Words(texts)
        scores_QN = words.scores(queries)
        best_QK, rows_QK = words.best(queries, 7)
        near_QK = nearest_by_words(queries, ListedTexts(texts), 7)
    wanted_QN = of_bm25s(texts, queries)
    assert scores_QN.tobytes() == wanted_QN.tobytes()
    order_QK = np.argsort(-wanted_QN, axis=1, kind="stable")[:, :7]
    wanted_QK = np.take_along_axis(wanted_QN, order_QK, 1)
    assert (best_QK == wanted_QK).all()
    assert (rows_QK == np.where(wanted_QK > 0, order_QK, -1)).all()
    assert ((near_QK >= 0) == (rows_QK >= 0)).all()


def test_a_second_search_counts_nothing(corpus: TextTable, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = made(9, 8)
    first = Words(corpus).scores(queries)
    assert first.tobytes() == Words(corpus.texts(range(60))).scores(queries).tobytes()
    assert len(list(kept.words_folder(corpus, "english").glob("block-*[0-9]"))) == 4

    def counted(*_: object) -> None:
        raise AssertionError("counted again")

    monkeypatch.setattr(kept, "count_block", counted)
    assert Words(corpus).scores(queries).tobytes() == first.tobytes()
    for language in ("german", "none"):  # other words
        with pytest.raises(AssertionError, match="counted again"):
            Words(corpus, language)


@pytest.mark.parametrize("name", ["docs_E.npy", "manifest.json"])
def test_a_damaged_block_is_told_and_counted_again(
    corpus: TextTable, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    queries = made(9, 8)
    first = Words(corpus).scores(queries)
    file = kept.block_folder(kept.words_folder(corpus, "english"), 2) / name
    whole = file.read_bytes()
    file.write_bytes(whole[:-3] + b"\1\2\3")
    assert Words(corpus).scores(queries).tobytes() == first.tobytes()
    assert "Its words are counted again." in capsys.readouterr().err
    assert file.read_bytes() == whole


KILLED = """
import os, sys
import numpy
from whet.data.table import TextTable
from whet.evaluation.lexical import Words, counts
counts.BLOCK, save, saved = 17, numpy.save, []
def killing(*arguments):
    save(*arguments)
    saved.append(arguments)
    if len(saved) == 8:  # in the second block
        os.kill(os.getpid(), 9)
numpy.save = killing
Words(TextTable(sys.argv[1]))
"""


def test_a_killed_count_leaves_whole_blocks_and_what_the_next_takes_away(corpus: TextTable) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, str(corpus.path)], env=os.environ)
    assert ended.returncode == -9
    folder = kept.words_folder(corpus, "english")
    assert [path.name for path in folder.glob("block-*[0-9]")] == ["block-000000"]
    scores = Words(corpus).scores(["w1 w2"])
    assert scores.tobytes() == of_bm25s(corpus.texts(range(60)), ["w1 w2"]).tobytes()
    assert not list(folder.glob("*.tmp"))
