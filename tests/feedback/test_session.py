"""What the search page's session answers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from labelling import event, open_folder

from whet.data.text import sentences_of
from whet.errors import ConfigError, DataError
from whet.evaluation.lexical import corpus_words
from whet.feedback.events.event import LONGEST_QUERY
from whet.feedback.events.store import read_events
from whet.feedback.serve.session import Session
from whet_launch.cli.main import main

QUERY = "baba cedi fogu"


@pytest.fixture
def session(tiny_data: Path, tiny_model: Path, tmp_path: Path) -> Iterator[Session]:
    made, _ = open_folder(tiny_data, tiny_model, tmp_path / "feedback")
    yield made
    made.close()


def ids(answer: dict) -> list[str]:
    return [one["doc_id"] for one in answer["results"]]


def shown(answer: dict) -> list[list]:
    return [[one["doc_id"], one["score"]] for one in answer["results"]]


def test_the_list_is_the_exact_search(session: Session) -> None:
    answer = session.search(QUERY, None, 20, "me")
    encoder, corpus = session.versions.open(0), session.data.corpus
    vectors = encoder.encode(corpus.texts(range(len(corpus))))
    scores = vectors @ encoder.encode([QUERY], kind="query")[0]
    best = np.argsort(-scores, kind="stable")[:20]
    assert ids(answer) == corpus.ids_of(best)
    assert np.allclose([one["score"] for one in answer["results"]], scores[best], atol=1e-5)
    assert [one["rank"] for one in answer["results"]] == list(range(1, 21))
    assert all(one["text"] == session.document(one["doc_id"]) for one in answer["results"])


def test_marks_and_moves_stand_again(session: Session) -> None:
    first = session.search(QUERY, None, 10, "me")
    a, b, c = ids(first)[:3]
    other = next(id_ for id_ in session.data.corpus.ids if id_ not in ids(first))
    session.add(
        [
            event("relevant", QUERY, doc_id=b, shown=shown(first)),
            event("irrelevant", QUERY, doc_id=a, shown=shown(first)),
            event("move", QUERY, doc_id=c, place=0, shown=shown(first)),
            event("relevant", QUERY, doc_id=other, shown=shown(first)),
        ]
    )
    again = session.search(QUERY, None, 10, "me")
    assert ids(again)[:4] == [other, c, a, b]
    assert [one["mark"] for one in again["results"]][:4] == [1, 0, -1, 1]
    assert again["results"][0]["score"] is None  # pulled in by hand
    assert again["found"] == ids(first)
    counts = session.counts()
    assert (counts["events"], counts["judged"], counts["relevant"]) == (4, 1, 2)
    assert (counts["irrelevant"], counts["moves"]) == (1, 1)


def test_undo_takes_back_and_redo_restores(session: Session) -> None:
    first = session.search(QUERY, None, 10, "me")
    said = event("move", QUERY, doc_id=ids(first)[4], place=0, shown=shown(first))
    session.add([said])
    moved = ids(session.search(QUERY, None, 10, "me"))
    assert moved != ids(first)
    session.add([event("undo", QUERY, target=said["id"])])
    assert ids(session.search(QUERY, None, 10, "me")) == ids(first)
    session.add([event("redo", QUERY, target=said["id"])])
    assert ids(session.search(QUERY, None, 10, "me")) == moved


def test_own_marks_are_shown_over_those_of_others(session: Session) -> None:
    doc_id = ids(session.search(QUERY, None, 5, "me"))[0]
    for who, action in (("ann", "relevant"), ("bo", "relevant"), ("me", "irrelevant")):
        session.add([event(action, QUERY, doc_id=doc_id) | {"who": who}])
    marks = {who: session.search(QUERY, None, 5, who)["results"][0]["mark"] for who in ("me", "cy")}
    assert marks == {"me": -1, "cy": 1}


def test_time_and_model_are_the_servers(session: Session) -> None:
    session.add([event("skip", QUERY, time=5.0, model="mine")])
    (kept,) = session._known.now().events
    assert kept.time > 1e9
    assert kept.model.startswith("0:") and kept.model != "mine"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"doc_id": "nowhere"}, "has no document 'nowhere'"),
        ({"query_id": "nowhere"}, "has no query 'nowhere'"),
        ({"shown": [["nowhere", 0.5]]}, "has no document 'nowhere'"),
        ({"query": " "}, "query is missing or wrong"),
        ({"id": "short"}, "id .32 hexadecimal digits. is missing or wrong"),
    ],
)
def test_an_event_that_cannot_be_stores_none(session: Session, wrong: dict, told: str) -> None:
    right = event("relevant", QUERY, doc_id="d1")
    with pytest.raises(DataError, match=told):
        session.add([right, event("relevant", QUERY, doc_id="d1") | wrong])
    assert session.counts()["events"] == 0
    assert session.add([right, right]) == 1


def test_the_least_sure_query_comes_first_and_judged_ones_do_not(session: Session) -> None:
    session._sureness.wait()
    queries, corpus = session.data.queries, session.data.corpus
    encoder = session.versions.open(0)
    vectors = encoder.encode(queries.texts(range(len(queries))), kind="query")
    scores = np.sort(vectors @ encoder.encode(corpus.texts(range(len(corpus)))).T, axis=1)
    margins = scores[:, -1] - scores[:, -2]
    walk, after = [], None
    for _ in range(len(queries)):
        found = session.next_query(after)
        after = found["query_id"]
        walk.append(int(queries.rows_of([after])[0]))
        assert found["margin"] == pytest.approx(margins[walk[-1]], abs=1e-5)
    assert sorted(walk) == list(range(len(queries)))
    assert np.all(np.diff(margins[walk]) > -1e-5)

    judged, skipped = queries.text(walk[0]), queries.text(walk[1])
    session.add([event("relevant", judged, doc_id="d0"), event("skip", skipped)])
    found = session.next_query(None)
    assert found["query_id"] == queries.id(walk[2])
    assert found["left"] == len(queries) - 2
    rest = [event("skip", text) for text in queries.texts(walk[2:])]
    session.add(rest)
    assert session.next_query(None)["query"] is None


def test_why_is_the_nearest_sentence(session: Session) -> None:
    text = "Zuzu vovo titi. Baba cedi fogu. Sese rara."
    searcher, encoder = session._searcher, session.versions.open(0)
    query = searcher.vectors([QUERY])
    pieces = sentences_of(text)
    scores = encoder.encode(pieces) @ encoder.encode([QUERY], kind="query")[0]
    assert searcher.best_sentence(query, 10**6, text) == pieces[int(scores.argmax())]
    assert searcher.best_sentence(query, 10**6 + 1, "one only") == ""
    doc_ids = ids(session.search(QUERY, None, 30, "me"))
    assert list(session.why(QUERY, doc_ids)) == doc_ids[:20]


@pytest.mark.parametrize(
    "text", ["", "a" * 50_000, "x. " * 9_000, "line\n" * 4_000, "。".join("字" * 9)]
)
def test_sentences_are_few_and_stand_in_the_text(text: str) -> None:
    found = sentences_of(text)
    assert len(found) <= 30
    assert all(piece and piece in text and len(piece) <= 300 for piece in found)


def test_why_ends_in_time_and_goes_on_when_asked_again(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whet.feedback.serve.session.EXPLAIN_S", 0.0)
    names, said = ["d1", "d2", "d3"], {}
    for count in (1, 2, 3):
        said |= session.why("ba ce", [name for name in names if name not in said])
        assert list(said) == names[:count]
    monkeypatch.setattr("whet.feedback.serve.session.EXPLAIN_S", 60.0)
    assert session.why("ba ce", names) == said


def test_exports_read_back(session: Session, tmp_path: Path) -> None:
    session.add(
        [
            event("relevant", "baba", doc_id="d1"),
            event("irrelevant", "baba", doc_id="d2"),
            event("relevant", session.data.queries.text(3), doc_id="d3", query_id="q3"),
        ]
    )
    (tmp_path / "events.jsonl").write_text(session.export("events"), encoding="utf-8")
    assert read_events(tmp_path / "events.jsonl") == list(session._known.now().events)
    lines = session.export("qrels").splitlines()
    assert lines[0] == "query-id\tcorpus-id\tscore"
    own = lines[1].partition("\t")[0]
    assert lines[1:] == [f"{own}\td1\t1", f"{own}\td2\t0", "q3\td3\t1"]
    rows = [json.loads(line) for line in session.export("pairs").splitlines()]
    text = session.document
    assert rows[0] == {"query": "baba", "positive": text("d1"), "negative": text("d2")}
    assert rows[1] == {"query": session.data.queries.text(3), "positive": text("d3")}


@pytest.fixture
def tuned_session(tiny_data: Path, tiny_model: Path, tuned: Path) -> Iterator[Session]:
    """On a folder with version 1 in it."""
    made, _ = open_folder(tiny_data, tiny_model, tuned)
    yield made
    made.close()


def test_another_version_searches_without_a_restart(tuned_session: Session) -> None:
    session = tuned_session
    before = shown(session.search(QUERY, None, 20, "me"))
    session.versions.ship(1)
    assert shown(session.search(QUERY, None, 20, "me")) == before  # until it is followed
    session.follow()
    after = session.search(QUERY, None, 20, "me")
    assert after["model"] == session.version == 1
    assert shown(after) != before
    model, corpus = session.versions.open(1), session.data.corpus
    vectors = model.encode(corpus.texts(range(len(corpus))))
    scores = vectors @ model.encode([QUERY], kind="query")[0]
    scores += model.words * corpus_words(corpus).shares([QUERY])[0]
    assert ids(after) == corpus.ids_of(np.argsort(-scores, kind="stable")[:20])
    session.add([event("skip", QUERY)])
    assert session._known.now().events[-1].model.startswith("1:")
    session.versions.use(0)
    session.follow()
    assert shown(session.search(QUERY, None, 20, "me")) == before


def test_lists_are_given_of_the_version_that_is_asked_for(tuned_session: Session) -> None:
    listed = tuned_session.listed()
    assert [one["version"] for one in listed] == [0, 1]
    assert not any("lists" in one or "texts" in one for one in listed)
    found = tuned_session.described(1)
    assert listed[1].items() <= found.items()
    names = {name for one in found["lists"] for name in [*one["before"], *one["after"]]}
    assert len(found["lists"]) == 20 and set(found["texts"]) == names
    first = found["lists"][0]["after"][0]
    assert tuned_session.document(first).startswith(found["texts"][first])
    assert tuned_session.described(0)["lists"] == []
    with pytest.raises(ConfigError, match="There is no version 7"):
        tuned_session.described(7)


def test_two_sessions_share_one_folder(
    session: Session, tiny_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    second, _ = open_folder(tiny_data, tiny_model, tmp_path / "feedback")
    session.add([event("relevant", QUERY, doc_id="d1")])
    assert second.counts()["relevant"] == 1
    assert second.search(QUERY, None, 5, "other")["results"][0]["doc_id"] is not None
    second.close()


def test_threads_search_and_judge_at_once(session: Session) -> None:
    alone = {text: ids(session.search(text, None, 10, "x")) for text in ("ba", QUERY, "zuzu titi")}
    wrong: list[object] = []

    def work(number: int) -> None:
        try:
            for text, expected in alone.items():
                for _ in range(5):
                    if ids(session.search(text, None, 10, "x")) != expected:
                        wrong.append(text)
                    session.why(text, expected)
                    session.add([event("relevant", f"other {number}", doc_id="d5")])
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert session.counts()["events"] == 6 * 15


def test_a_wrapped_line_ends_no_sentence() -> None:
    assert sentences_of("One that\ngoes on. Two\n\nThree") == ["One that\ngoes on.", "Two", "Three"]
    assert sentences_of("find . -name x ! -type d. Two") == ["find . -name x ! -type d.", "Two"]
    assert sentences_of("| a | b |\n| c | d |\n- e\n  f") == ["| a | b |", "| c | d |", "- e\n  f"]


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    """Data whose queries are as long as letters, error logs and arguments; the last is longer than
    any page takes.
    """
    lengths = (2_001, LONGEST_QUERY, LONGEST_QUERY + 1)
    rows = [
        {"query": f"{word} " * (length // 5) + "x" * (length % 5), "positive": f"{word} about"}
        for word, length in zip(("baba", "cedi", "fogu"), lengths, strict=True)
    ]
    path = tmp_path / "letters.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_query_that_is_offered_can_be_searched_for_and_marked(
    letters: Path, tiny_model: Path, tmp_path: Path
) -> None:
    session, _ = open_folder(letters, tiny_model, tmp_path / "feedback")
    seen = set()
    for left in (2, 1):
        offered = session.next_query(None)
        assert offered["left"] == left
        answer = session.search(offered["query"], offered["query_id"], 20, "me")
        assert len(answer["results"]) == 3
        mark = event("relevant", answer["query"], doc_id=ids(answer)[0], shown=shown(answer))
        assert session.add([mark | {"query_id": offered["query_id"]}]) == 1
        seen.add(len(offered["query"]))
    assert seen == {2_001, LONGEST_QUERY}
    assert session.next_query(None)["query"] is None
    with pytest.raises(DataError, match="Shorten it to 100,000"):
        session.search("y" * (LONGEST_QUERY + 1), None, 5, "me")
    session.close()


def test_queries_that_are_not_offered_are_counted(
    letters: Path, tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    taken = socket.create_server(("127.0.0.1", 0))  # so that the command ends there
    words = [f"data={letters}", f"model={tiny_model}", f"output={tmp_path / 'fb'}"]
    with taken:
        port = f"port={taken.getsockname()[1]}"
        assert main(["label", *words, port, "open_browser=false"]) != 0
    told = "1 of 3 queries have more than 100,000 characters, and the page does not offer them."
    assert told in capfd.readouterr().err


def test_documents_with_long_ids_can_be_marked(tiny_model: Path, tmp_path: Path) -> None:
    name = "https://example.org/" + "a/" * 1_000
    (tmp_path / "data" / "qrels").mkdir(parents=True)
    rows = [{"_id": name, "text": "baba cedi"}, {"_id": "d2", "text": "fogu"}]
    table = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "data" / "corpus.jsonl").write_text(table)
    (tmp_path / "data" / "queries.jsonl").write_text('{"_id": "q", "text": "baba"}\n')
    (tmp_path / "data" / "qrels" / "train.tsv").write_text(f"q\t{name}\t1\n")
    session, _ = open_folder(tmp_path / "data", tiny_model, tmp_path / "feedback")
    answer = session.search("baba", "q", 5, "me")
    assert session.add([event("relevant", "baba", doc_id=name, shown=shown(answer))]) == 1
    assert session.search("baba", "q", 5, "me")["results"][ids(answer).index(name)]["mark"] == 1
    session.close()
