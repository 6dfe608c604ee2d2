"""`whet adapt` for real, on tiny folders with the tiny model."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import whet
from whet.errors import AlreadyDone, ConfigError, DataError
from whet_launch.cli.main import main

SYLLABLES = "ba ce di fo gu ka le mi no pu ra se ti vo zu".split()
WORDS = [first + second for first in SYLLABLES for second in SYLLABLES]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two folders of 60 text files, prose and lists of words, and a log of 320 queries."""
    random = np.random.default_rng(4)
    home = tmp_path_factory.mktemp("documents")
    for number in range(60):
        a, b, c, d, e = random.choice(WORDS, 5, replace=False)
        files = {
            "prose": f"The {a} of the {b}\n\nIt is the {c} that is in the {d}, and not the {e}.",
            "lists": f"{a} {b} {c} {d} {e}",
        }
        for name, text in files.items():
            (home / name).mkdir(exist_ok=True)
            (home / name / f"{number:02}.txt").write_text(text + "\n")
    asked = [" ".join(random.choice(WORDS, 3, replace=False)) for _ in range(320)]
    (home / "log.txt").write_text("\n".join(asked) + "\n")
    return home


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def vectors(model: Path) -> tuple[np.ndarray, np.ndarray]:
    """Of queries and documents, as sentence-transformers has them."""
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(model), device="cpu")
    texts = ["bace difo", "guka of the zuzu"]
    return theirs.encode_query(texts), theirs.encode_document(texts)


def test_words_are_added_and_nothing_of_the_users_is_touched(
    folders, tiny_model, tmp_path, capsys, monkeypatch
):
    from whet.model.towers import open_model

    monkeypatch.chdir(tmp_path)
    before = contents(folders)
    log = folders / "log.txt"
    command = ["adapt", f"data={folders / 'prose'}", f"queries={log}", f"model={tiny_model}"]
    assert main([*command, "output=run"]) == 0
    told = capsys.readouterr()
    assert contents(folders) == before
    run = tmp_path / "run"
    assert {path.name for path in run.iterdir()} == {
        *("adaptation.json", "config.yaml", "environment.json", "judge_these.jsonl"),
        *("manifest.json", "model", "report.html"),
    }
    record = json.loads((run / "adaptation.json").read_text())
    assert record["trained"] is None and record["proved"] is None and record["proof"] is None
    assert "Not proved on your queries: 0 are judged" in told.out
    assert record["weight_of_words"] == (0.3 if record["gates"][0]["open"] else 0.1)
    assert json.loads((run / "model" / "words.json").read_text())["weight"] in (0.1, 0.3)
    asked = [json.loads(line)["query"] for line in (run / "judge_these.jsonl").open()]
    assert len(set(asked)) == 25 and set(asked) <= set(log.read_text().splitlines())
    (label,) = [line for line in told.err.splitlines() if "whet label" in line]
    assert label.strip() in record["next"] and "queries=run/judge_these.jsonl" in label
    base, ours = open_model(str(tiny_model)), open_model(str(run / "model"))
    texts = ["bace difo", "guka of the zuzu"]
    for kind, theirs in zip(("query", "document"), vectors(run / "model"), strict=True):
        assert np.abs(ours.encode(texts, kind=kind) - theirs).max() < 1e-6
        assert np.abs(base.encode(texts, kind=kind) - theirs).max() < 1e-6
    page = (run / "report.html").read_text()
    assert "not proved on your queries" in page and "http://" not in page and "<script" not in page
    assert main([*command, "output=run"]) == 0  # whole already: nothing is done, and that is told
    assert "nothing was done" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="holds something already"):
        whet.adapt(str(folders / "lists"), model=str(tiny_model), output=str(run))


def test_lists_without_a_log_train_nothing_for_vectors_alone(folders, tiny_model, tmp_path):
    from whet.model.towers import open_model

    done = whet.adapt(
        str(folders / "lists"), model=str(tiny_model), search="vectors", output=str(tmp_path / "r")
    )
    assert done.record["trained"] is None and done.record["weight_of_words"] == 0
    assert "no log of queries" in done.record["done"][0]
    assert any("queries=FILE" in sentence for sentence in done.record["helps"])
    wanted = [json.loads(line) for line in (done.folder / "judge_these.jsonl").open()]
    assert len({row["doc_id"] for row in wanted}) == 25 and not any(r["query"] for r in wanted)
    assert any("write a query" in line for line in done.record["next"])
    ours, base = open_model(str(done.model)), open_model(str(tiny_model))
    assert isinstance(ours, whet.Encoder)  # a fit can go on from it
    for kind in ("query", "document"):
        same = ours.encode(["guka"], kind=kind) == base.encode(["guka"], kind=kind)
        assert same.all()


@pytest.mark.parametrize(
    ("name", "log", "trained"), [("prose", False, "made"), ("lists", True, "log")]
)
def test_vectors_alone_learn_where_the_gates_allow(
    folders, tiny_model, tmp_path, monkeypatch, name, log, trained
):
    from whet.model.towers import open_model

    monkeypatch.setattr("whet.adaptation.adapted.STEPS", 120)
    options = {"queries": str(folders / "log.txt")} if log else {}
    done = whet.adapt(
        str(folders / name),
        model=str(tiny_model),
        search="vectors",
        output=str(tmp_path / "run"),
        **options,
    )
    assert done.record["trained"] == trained
    assert not (done.model / "words.json").exists()
    ours, base = open_model(str(done.model)), open_model(str(tiny_model))
    theirs = dict(zip(("query", "document"), vectors(done.model), strict=True))
    texts = ["bace difo", "guka of the zuzu"]
    change = {
        kind: ours.encode(texts, kind=kind) - base.encode(texts, kind=kind) for kind in theirs
    }
    assert np.abs(change["query"]).max() > 1e-3 and not change["document"].any()
    for kind, vector in theirs.items():
        assert np.abs(ours.encode(texts, kind=kind) - vector).max() < 1e-6
    if log:  # queries are at hand to look at
        assert len(done.record["examples"]) == 5


@pytest.mark.parametrize("search", ["hybrid", pytest.param("vectors", marks=pytest.mark.slow)])
def test_judged_queries_decide_and_are_the_proof(tiny_data, tiny_model, tmp_path, search):
    done = whet.adapt(
        str(tiny_data), model=str(tiny_model), search=search, output=str(tmp_path / "run")
    )
    proof = done.record["proof"]
    assert proof["queries"] == 60 and proof["split"] == "train"  # the test split is left alone
    assert proof["after"] >= proof["before"]
    assert done.record["proved"].startswith("On 60 judged queries of train: nDCG@10 ")
    assert not done.record["not_proved"]
    assert (done.record["weight_of_words"] > 0) is (search == "hybrid")
    page = (done.folder / "report.html").read_text()
    assert done.record["proved"] in page and "not proved" not in page


@pytest.mark.parametrize(
    ("means", "kept", "learned"),
    [
        ((0.5, 0.6, 0.7), "learned", True),
        ((0.5, 0.6, 0.6), "learned", True),
        ((0.5, 0.6, 0.55), "free", False),
        ((0.5, 0.4, 0.45), "base", False),
    ],
)
def test_the_best_on_judged_queries_comes_back(means, kept, learned):
    from whet.adaptation.judged import OnJudged, kept_of

    base, free, taught = (np.full(30, mean) for mean in means)
    outcome = kept_of(OnJudged("train", base, free, taught, bearable=True))
    assert outcome[0] == kept
    forgetful = kept_of(OnJudged("train", base, free, taught, bearable=False))
    assert forgetful[0] == ("free" if means[1] >= means[0] else "base")
    assert (outcome[0] == "learned") is learned


def test_a_weight_that_judgments_taught_a_model_stays(tiny_model):
    from whet.adaptation.adapted import _by_words
    from whet.adaptation.gates import words_gate
    from whet.evaluation.lexical import Words
    from whet.model.towers import Towers

    encoder, gate = whet.Encoder.load(str(tiny_model)), words_gate([], Words(["guka"]))
    for base, weight in ((encoder, 0.3), (Towers(encoder, encoder), 0.3)):
        assert _by_words(base, gate, "english").model.words == weight
    tuned = _by_words(Towers(encoder, encoder, 0.15), gate, "english")
    assert tuned.model.words == 0.15 and "0.15 times" in tuned.done[0]


def test_words_are_counted_in_the_language_of_the_documents(tiny_model, tmp_path):
    """And the model's folder says which."""
    folder = tmp_path / "texte"
    folder.mkdir()
    for number in range(4):
        text = "Die Pumpe ist nicht mit dem Tank verbunden, und der Schalter ist in der Halle."
        (folder / f"{number}.txt").write_text(f"{text} bace {number}")
    done = whet.adapt(str(folder), model=str(tiny_model), output=str(tmp_path / "run"))
    record = json.loads((done.model / "words.json").read_text())
    assert record == {"weight": 0.3, "language": "german"}


def test_what_cannot_be_used_is_refused_before_any_work(folders, tiny_model, tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"query": "how does it leak"}\n{"query"\n')
    with pytest.raises(DataError, match=r"log\.jsonl line 2: no JSON"):
        whet.adapt(str(folders / "prose"), model=str(tiny_model), queries=str(log))
    with pytest.raises(ConfigError, match="hybrid, vectors"):
        whet.adapt(str(folders / "prose"), model=str(tiny_model), search="words")
    with pytest.raises(ConfigError, match="has no option 'query'"):
        whet.adapt(str(folders / "prose"), model=str(tiny_model), query=str(log))


def test_the_same_command_goes_on_after_a_kill(folders, tiny_model, tmp_path, monkeypatch):
    """Killed at its last write it leaves nothing that counts; again, it ends with the same."""
    given, output = str(folders / "prose"), tmp_path / "run"
    options = {"model": str(tiny_model), "queries": str(folders / "log.txt")}
    options["output"] = str(output)

    def killed(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("whet.report.adaptation.write_adaptation_report", killed)
        with pytest.raises(KeyboardInterrupt):
            whet.adapt(given, **options)
    assert not output.exists()
    again = whet.adapt(given, **options)
    whole = whet.adapt(given, **{**options, "output": str(tmp_path / "whole")})
    for name in ("judge_these.jsonl", "model/words.json"):
        assert (again.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    kept = [{**one.record, "next": []} for one in (again, whole)]
    assert kept[0] == kept[1]
    with pytest.raises(AlreadyDone):
        whet.adapt(given, **options)
