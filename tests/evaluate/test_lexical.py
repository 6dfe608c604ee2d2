"""BM25 by its formula, and as a model of `whet eval`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whet.config import LANGUAGES, UNSTEMMED, EvalConfig, EvaluateConfig
from whet.data.load import load_dataset
from whet.evaluation.judge import judge_words
from whet.evaluation.lexical import K1, B, Words
from whet.evaluation.lexical.hybrid import HybridSearch
from whet.evaluation.lexical.languages import COMMON, language_of, stems
from whet.model.encoder import Encoder

DOCS = ["cat cat dog", "dog bird", "bird fish x fish fish", "tree", "cat tree dog bird"]


def _formula(query: str, doc: str) -> float:
    """Lucene's: ln(1 + (N - n + 0.5) / (n + 0.5)) tf / (tf + k1 (1 - b + b length / mean))."""
    words = [text.split() for text in DOCS]
    average = sum(map(len, words)) / len(DOCS)
    total = 0.0
    for word in query.split():
        n, tf = sum(word in one for one in words), doc.split().count(word)
        norm = K1 * (1 - B + B * len(doc.split()) / average)
        total += math.log(1 + (len(DOCS) - n + 0.5) / (n + 0.5)) * tf / (tf + norm)
    return total


@pytest.mark.parametrize("query", ["cat", "bird fish", "dog tree cat", "x"])
def test_scores_are_the_formulas_and_other_documents_are_left_out(query: str) -> None:
    scores_QK, rows_QK = Words(DOCS).best([query], 10)
    found = {
        int(row): float(score)
        for row, score in zip(rows_QK[0], scores_QK[0], strict=True)
        if row >= 0
    }
    expected = {row: _formula(query, doc) for row, doc in enumerate(DOCS)}
    assert found == pytest.approx(
        {row: score for row, score in expected.items() if score > 0}, rel=1e-5
    )
    assert (np.diff(scores_QK[0]) <= 0).all()


def test_words_are_stemmed_and_stop_words_left_out() -> None:
    rows = Words(["the running dogs", "the cats"]).best(["dog runs", "the"], 2)[1]
    assert rows.tolist() == [[0, -1], [-1, -1]]


def test_scripts_without_spaces_have_words() -> None:
    documents = ["打开路由器设置页面", "更换墨盒", "ルーターの設定", "เปิดเครื่องพิมพ์"]
    words = Words(documents)
    for query, row in {"路由器": 0, "墨盒": 1, "ルーター": 2, "พิมพ์": 3}.items():
        scores, rows = words.best([query], 4)
        assert rows[0, 0] == row and scores[0, 0] > 0, query
    assert (words.best(["换"], 4)[1] == -1).all()  # one character alone is no word of longer ones


def test_a_letter_keeps_the_vowels_and_tones_that_stand_on_it() -> None:
    documents = ["กินข้าว", "กืนข่าว"]  # alike but for these
    scores = Words(documents, UNSTEMMED).scores(["กิน", "ข่าว"])
    assert (scores > 0).tolist() == [[True, False], [True, True]]
    assert scores[1, 1] > scores[1, 0]  # both have the last pair
    assert stems(["पानी की बोतल"], UNSTEMMED) == [["पानी", "की", "बोतल"]]


TEXTS = {
    "english": "The printer is not in the list of devices that are found by this computer.",
    "german": "Der Drucker ist nicht mit dem Netz verbunden, und die Lampe ist aus.",
    "french": "L'imprimante est dans la liste des appareils qui sont sur le réseau avec un nom.",
    "spanish": "La impresora no está en la lista de los equipos que se han conectado con el cable.",
    "portuguese": "A impressora não foi ligada com o cabo que veio, mas por uma rede de casa.",
    "italian": "La stampante non è nella lista di quelle che sono state trovate con il cavo.",
    "romanian": "Imprimanta nu este în lista pe care o are calculatorul și cu cablu din cutie.",
    "russian": "Принтер не был найден в сети, и это как из книги.",
    "hindi": "यह प्रिंटर की सूची में नहीं है और उस का तार से है",
    "turkish": "Bu yazıcı için kablo ile bir ağ daha var ve çok hızlı.",
    UNSTEMMED: "打开路由器的设置页面，然后更换墨盒。",
}
CODE = "find . -type f -name '*.txt' -exec grep -l foo {} +"


@pytest.mark.parametrize("language", TEXTS)
def test_the_language_is_seen_by_the_words_texts_have_most(language: str) -> None:
    assert language_of([TEXTS[language]]) == language


def test_texts_of_many_languages_or_of_none_are_counted_as_before() -> None:
    many = [
        TEXTS[name] for name in ("english", "german", "romanian", "russian", "hindi", "turkish")
    ]
    assert language_of(many) == language_of([CODE]) == language_of([]) == "english"


def test_words_have_the_stems_of_their_language() -> None:
    documents = ["alte Häuser am Meer", "ein neues Schiff", "running dogs"]
    words = Words(documents, "german")
    assert words.best(["Häusern", "neuen Schiffen", "run", "ein"], 1)[1].tolist() == [
        *([0], [1]),
        *([-1], [-1]),  # no stem of English, and a stop word
    ]
    assert Words(documents, UNSTEMMED).best(["Häusern", "ein"], 1)[1].tolist() == [[-1], [1]]


def test_every_language_has_a_stemmer_here() -> None:
    import Stemmer

    assert set(LANGUAGES) <= set(Stemmer.algorithms())
    assert len({*COMMON} - {*LANGUAGES}) == 5  # those that are known for what they are not
    for language in LANGUAGES:
        stems(["word"], language)


def test_a_language_that_was_not_asked_for_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {
            "query": f"Wo ist das {name}?",
            "positive": f"Das {name} ist nicht in dem Haus mit der Nummer.",
        }
        for name in ("Schiff", "Auto", "Rad", "Buch")
    ]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = load_dataset(str(tmp_path))
    judge_words(data, data.split("test"), EvaluateConfig())
    assert "BM25 counts words by their stems in German" in capsys.readouterr().err
    judge_words(data, data.split("test"), EvaluateConfig(), language="german")
    assert capsys.readouterr().err == ""


def test_shares_are_of_what_a_query_could_have_at_most() -> None:
    shares_QN = Words(DOCS).shares(["cat bird bird", "fish unheard of", "nowhere", ""])
    most = {word: max(_formula(word, doc) for doc in DOCS) for word in ("cat", "bird", "fish")}
    for row, words in enumerate((["cat", "bird", "bird"], ["fish"])):
        expected = np.array([_formula(" ".join(words), doc) for doc in DOCS])
        assert shares_QN[row] == pytest.approx(expected / sum(map(most.get, words)), rel=1e-5)
    assert shares_QN[1].max() == pytest.approx(1)
    assert not shares_QN[2:].any()


def test_texts_without_a_word_have_no_score() -> None:
    assert not Words(["", "...", "the"]).scores(["cat", ""]).any()
    assert Words([]).best(["cat"], 3)[1].shape == (1, 0)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 200),
    st.integers(1, 12),
    st.sampled_from([0.0, 0.05, 0.4, 3.0]),
)
def test_both_at_once_is_the_sum_of_both(seed: int, documents: int, k: int, weight: float) -> None:
    """Ranked as by all sums, which are exact here, ties by row."""
    random = np.random.default_rng(seed)
    texts = [" ".join(random.choice(list("abcdefgh"), 4)) for _ in range(documents + 70)]
    corpus, asked = texts[:documents], texts[documents:]
    document_ND = random.integers(-8, 9, (documents, 3)).astype(np.float32) / 8  # many are equal
    query_QD = random.integers(-8, 9, (70, 3)).astype(np.float32) / 8
    words = Words(corpus)
    scores_QK, rows_QK = HybridSearch(asked, words, weight)(query_QD, document_ND, k)
    sum_QN = query_QD.astype(np.float64) @ document_ND.T.astype(np.float64)
    sum_QN += np.float32(weight) * words.shares(asked)
    best_QK = np.argsort(-sum_QN, axis=1, kind="stable")[:, :k]
    assert (rows_QK == best_QK).all()
    assert (scores_QK == np.take_along_axis(sum_QN, best_QK, 1).astype(np.float32)).all()


def test_of_equals_the_first_row_comes_first() -> None:
    def ones(count: int) -> np.ndarray:
        return np.ones((count, 2), np.float32)

    words = Words(["cat", "dog", "cat", "cat"])
    scores, rows = HybridSearch(["cat"], words, 0.5)(ones(1), ones(4), 3)
    assert rows.tolist() == [[0, 2, 3]]
    assert scores.tolist() == [[2.5, 2.5, 2.5]]


def test_it_is_judged_and_compared_like_a_model(
    tiny_data: Path, tmp_path: Path, tiny_model: Path
) -> None:
    from whet.evaluation.comparison import Comparison
    from whet.verbs.evaluate import evaluate_job

    config = EvalConfig(baseline="bm25", output=str(tmp_path / "out"))
    config.data.path, config.model.name = str(tiny_data), str(tiny_model)
    _, found = evaluate_job(config)
    assert isinstance(found, Comparison)
    assert found.main.base > 0.9  # queries are words of their documents
    assert (tmp_path / "out" / "trec" / "baseline.run.gz").exists()


def test_it_has_no_vectors() -> None:
    from whet.errors import ConfigError

    with pytest.raises(ConfigError, match="bm25 counts words and has no vectors"):
        Encoder.load("bm25")
