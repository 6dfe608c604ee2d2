"""A bundle that a stranger forged, its hashes made to fit: what does not hold together is named."""

from __future__ import annotations

import copy
import json
import os
import random
import socket

import pytest
from bundles import forge, inputs_in, list_file, sha256, write_statement

from whet.bundle import contents, provenance
from whet.bundle.checking import verify
from whet.bundle.checking.claims import contradiction
from whet.bundle.checking.verify import check_bundle, first_bad, verify_command
from whet.bundle.provenance import read_statement
from whet.config import VerifyConfig
from whet.errors import CheckpointError, WhetError
from whet_launch.cli.main import main


def bad_of(folder):
    """Name and verdict of each row that is not as it should be."""
    return [(row.name, row.verdict) for row in check_bundle(folder)[1] if row.bad]


def add(folder, name, text="q1\td7\t1\n"):
    """A file that the stranger adds and lists."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    forge(folder, lambda statement: list_file(statement, name, sha256(path)))


# copies and inputs


def test_an_honest_bundle_has_no_bad_row(lean):
    statement, rows = check_bundle(lean)
    assert first_bad(rows) is None and contradiction(lean, statement) is None
    beside = [row.name for row in rows if row.verdict == verify.BESIDE]
    assert beside == ["data/SOURCE.md"]  # it travels with the data, and is no input


@pytest.mark.parametrize("name", ["data/corpus.jsonl", "base/tokenizer.json"])
def test_a_copy_that_is_not_the_input_is_named(forged, name, capsys):
    with (forged / name).open("a") as file:
        file.write("\n")
    forge(forged)
    assert bad_of(forged) == [(name, "DIFFERS")]
    assert main(["verify", str(forged)]) == 1
    assert name in capsys.readouterr().out.splitlines()[-1]
    assert main(["reproduce", str(forged), f"output={forged.parent / 'again'}"]) == 1
    assert f"{name} differs" in capsys.readouterr().err
    assert not (forged.parent / "again").exists()


@pytest.mark.parametrize(
    "name",
    ["data/qrels/dev.tsv", "data/LICENSE.tsv", "data/qrels/README.md", "base/extra.json"],
)
def test_a_file_among_the_copies_that_was_no_input_is_named(forged, name):
    add(forged, name)
    assert bad_of(forged) == [(name, "NO INPUT")]


def test_an_input_that_a_copy_lacks_is_named(forged):
    name = "data/qrels/train.tsv"
    (forged / name).unlink()
    forge(forged, lambda s: s.update(subject=[o for o in s["subject"] if o["name"] != name]))
    assert bad_of(forged) == [(name, "MISSING")]


def test_copies_of_which_no_input_was_recorded_are_named(forged):
    def wholes_alone(statement):
        inputs_in(statement)[:] = [one for one in inputs_in(statement) if ": " in one["name"]]

    forge(forged, wholes_alone)
    assert {name.partition("/")[0] for name, _ in bad_of(forged)} == {"data", "base"}
    assert {verdict for _, verdict in bad_of(forged)} == {"NO INPUT"}
    forge(forged, lambda statement: inputs_in(statement).clear())
    with pytest.raises(CheckpointError, match="what the data as a whole were"):
        check_bundle(forged)


# links, pipes, strays


@pytest.fixture
def opened(monkeypatch):
    """Every path whose content was hashed."""
    paths = []

    def noting(path, of=verify.file_sha256):
        paths.append(path)
        return of(path)

    monkeypatch.setattr(verify, "file_sha256", noting)
    return paths


def test_a_linked_folder_is_named_and_not_looked_into(forged, tmp_path, opened):
    (forged / "data").rename(tmp_path / "elsewhere")
    (forged / "data").symlink_to(tmp_path / "elsewhere")
    assert ("data", "A LINK") in bad_of(forged)
    assert not any("data" in path.relative_to(forged).parts for path in opened)
    forge(forged, lambda s: s.update(subject=[o for o in s["subject"] if "data/" not in o["name"]]))
    assert bad_of(forged) == [("data", "A LINK")]
    assert main(["reproduce", str(forged), f"output={tmp_path / 'again'}"]) == 1


@pytest.mark.parametrize("kind", ["file", "dangling", "stray folder", "record's signature"])
def test_any_link_is_named(forged, tmp_path, opened, kind):
    names = {"file": "README.md", "record's signature": "provenance.json.sig"}
    name = names.get(kind, "extra")
    target = tmp_path / "private"
    if kind == "stray folder":
        target.mkdir()
        (target / "x.py").write_text("x")
    elif kind != "dangling":
        target.write_bytes((forged / "README.md").read_bytes())
    (forged / name).unlink(missing_ok=True)
    (forged / name).symlink_to(target)
    assert (name, "A LINK") in bad_of(forged)
    assert forged / name not in opened


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_what_is_no_ordinary_file_is_named(forged, monkeypatch, kind):
    if kind == "pipe":
        os.mkfifo(forged / "extra")
    else:
        monkeypatch.chdir(forged)  # a socket's path may be short alone
        with socket.socket(socket.AF_UNIX) as end:
            end.bind("extra")
    assert bad_of(forged) == [("extra", "NO ORDINARY FILE")]


@pytest.mark.parametrize(
    ("name", "let_be"),
    [
        (".gitattributes", True),
        (".git/config", True),
        (".cache/huggingface/x", True),
        (".gitattributes_x", False),
        (".gitattributes.d/x", False),
        (".gitignore", False),
        (".cachex/y", False),
        ("training/.cache/x", False),
        ("training/.git/x", False),
    ],
)
def test_what_hubs_add_is_known_by_its_whole_name(forged, name, let_be):
    path = forged / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    assert bad_of(forged) == ([] if let_be else [(name, "NOT LISTED")])


# what a model's files point to


def point(folder, name, value):
    (folder / name).write_text(value if isinstance(value, str) else json.dumps(value))
    if any(
        s["name"] == name for s in json.loads((folder / "provenance.json").read_text())["subject"]
    ):
        forge(folder)
    else:
        forge(folder, lambda s: list_file(s, name, sha256(folder / name)))


def module(path):
    return [
        {"idx": 0, "name": "0", "path": path, "type": "sentence_transformers.models.Transformer"}
    ]


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("modules.json", module(".cache/evil"), "is not listed"),
        ("modules.json", module("../elsewhere"), "leads out of the folder"),
        ("modules.json", module("/etc"), "is absolute"),
        ("modules.json", [{"path": 5}], "cannot be read"),
        ("modules.json", "[" * 100_000, "cannot be read"),
        ("router_config.json", {"types": {".git/x": "y"}}, "is not listed"),
        ("model.safetensors.index.json", {"weight_map": {"a": "../w.safetensors"}}, "leads out"),
        ("model.safetensors.index.json", {"weight_map": {"a": "w.bin"}}, "is not listed"),
        ("model.safetensors.index.json", {"weight_map": None}, "cannot be read"),
    ],
)
def test_a_listed_file_points_to_listed_files_alone(forged, name, value, why):
    point(forged, name, value)
    ((spoken, verdict),) = bad_of(forged)
    assert verdict == "LEADS ASTRAY" and spoken.startswith(name) and why in spoken


def test_a_pointer_to_a_listed_file_is_fine(forged):
    name = "model.safetensors.index.json"
    point(forged, name, {"weight_map": {"a": "model.safetensors", "b": "model.safetensors"}})
    assert bad_of(forged) == []


# names


@pytest.mark.parametrize(
    "name",
    [
        "../private.txt",
        "data/../../private.txt",
        "/etc/hostname",
        "C:/private.txt",
        "data\\private.txt",
        "a//b",
        "a/./b",
        "./a",
        "a/",
        "",
        ".",
        "a\0b",
        "a\nb",
        "a\x1b[2Jb",
        "a\u202eb",
        "a\u200bb",
        "a\ud800b",
        "a" * 256,
        "a/" * 600 + "a",
        ".git/config",
        ".gitattributes",
        ".Cache/x",
        "provenance.json",
        "model.sig",
        "README.md",  # twice
        "Readme.MD",  # the same on some file systems
    ],
)
def test_an_odd_name_is_refused_before_a_file_is_opened(forged, tmp_path, opened, name):
    (tmp_path / "private.txt").write_text("secret")
    digest = sha256(tmp_path / "private.txt")
    forge(forged, lambda statement: list_file(statement, name, digest))
    with pytest.raises(CheckpointError, match=r"provenance\.json") as refused:
        check_bundle(forged)
    assert opened == [] and "\n" not in str(refused.value)
    assert digest[:12] not in str(refused.value)


def test_names_that_differ_in_the_spelling_of_an_accent_alone_are_refused(forged):
    forge(forged, lambda s: [list_file(s, name, "0" * 64) for name in ("é.txt", "e\u0301.txt")])
    with pytest.raises(CheckpointError, match="twice"):
        check_bundle(forged)


def test_odd_names_of_inputs_are_refused(forged, tmp_path):
    before = (forged / "provenance.json").read_text()
    for name in (
        "data/../../x",
        "data//x",
        "data/x\ny",
        "code/../x",
        "other/x",
        "data/corpus.jsonl",
    ):
        entry = {"name": name, "digest": {"sha256": "0" * 64}, "annotations": {"input": "data"}}
        forge(forged, lambda statement, entry=entry: inputs_in(statement).append(entry))
        with pytest.raises(CheckpointError, match=r"provenance\.json"):
            check_bundle(forged)
        (forged / "provenance.json").write_text(before)


# types


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (["_type"], "https://in-toto.io/Statement/v0.1"),
        (["predicateType"], "y"),
        (["predicate", "buildDefinition", "buildType"], "x"),
        (["predicate", "runDetails", "builder", "id"], "urn:other"),
        (["predicate", "runDetails", "builder", "version"], {}),
        (["predicate", "whet_measures", "tuned", "nDCG@10"], float("nan")),
        (["predicate", "whet_measures", "tuned", "nDCG@10"], float("inf")),
        (["predicate", "whet_measures", "tuned", "nDCG@10"], "0.5"),
        (["predicate", "whet_measures", "tuned", "nDCG@10"], True),
        (["predicate", "whet_spread", "allowed", "nDCG@10"], -1),
        (["predicate", "whet_spread", "allowed", "nDCG@10"], 10**400),
        (["predicate", "whet_machine", "threads"], 0),
        (["predicate", "buildDefinition", "externalParameters", "config"], []),
        (["subject", 0, "digest", "sha256"], 5),
        (["subject", 0, "digest", "sha256"], "A" * 64),
    ],
)
def test_a_field_of_another_type_or_value_is_refused(forged, where, value):
    def change(statement):
        for key in where[:-1]:
            statement = statement[key]
        statement[where[-1]] = value

    forge(forged, change)
    with pytest.raises(CheckpointError, match=r"provenance\.json is no record"):
        check_bundle(forged)


ODD = [None, True, 5, -1, 10**400, 1e999, float("nan"), "", "x", "../x", "a\ud800", [], {}, [[]]]
ODD += [{"name": 5}, ["x"] * 3, "y" * 70_000]


def mutated(statement, rng):
    """The statement with one value, at a random place, replaced, removed or doubled."""
    statement = copy.deepcopy(statement)
    holder, value = None, statement
    while isinstance(value, dict | list) and value and (holder is None or rng.random() < 0.85):
        holder = value
        key = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
        value = holder[key]
    kind = rng.random()
    if kind < 0.2:
        del holder[key]
    elif kind < 0.3 and isinstance(holder, list):
        holder.append(copy.deepcopy(value))
    else:
        holder[key] = copy.deepcopy(rng.choice(ODD))
    return statement


@pytest.mark.slow
def test_no_mutated_statement_ends_in_a_traceback(forged, monkeypatch, capsys):
    """Two hundred, with hash trees that fit where one can be made."""
    monkeypatch.setattr(verify, "code_roots", lambda statement: {})
    whole = json.loads((forged / "provenance.json").read_text())
    rng, refused = random.Random(14), 0
    for _ in range(200):
        write_statement(forged, mutated(whole, rng))
        try:
            assert verify_command(VerifyConfig(str(forged))) in (0, 1)
        except WhetError as error:
            assert "\n" not in str(error) and str(error).isprintable()
            refused += 1
    assert refused > 100
    assert "\ud800" not in capsys.readouterr().out


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 100_000, "", "\0", "{}", "[]", "null"])
def test_a_record_that_is_none_is_refused_in_a_line(forged, text):
    (forged / "provenance.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"provenance\.json") as refused:
        read_statement(forged)
    assert "\n" not in str(refused.value)


def test_a_pipe_or_a_link_as_the_record_is_refused_at_once(forged, tmp_path):
    (forged / "provenance.json").rename(tmp_path / "elsewhere")
    (forged / "provenance.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="is a link"):
        read_statement(forged)
    (forged / "provenance.json").unlink()
    os.mkfifo(forged / "provenance.json")
    with pytest.raises(CheckpointError, match="is no ordinary file"):
        read_statement(forged)


# bounds


def test_bombs_are_refused(forged, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "MOST_BYTES", 1000)
        with pytest.raises(CheckpointError, match="1,000 is the most"):
            read_statement(forged)
    with monkeypatch.context() as patch:
        patch.setattr(contents, "MOST_FILES", 10)
        with pytest.raises(CheckpointError, match="over 10 files"):
            check_bundle(forged)
    deep: list = []
    for _ in range(100):
        deep = [deep]
    forge(forged, lambda s: s["predicate"]["whet_machine"].update(cpu=deep))
    with pytest.raises(CheckpointError, match="nested deeper than 32 levels"):
        read_statement(forged)
    forge(forged, lambda s: s["predicate"]["whet_machine"].update(cpu="x" * 10**6))
    with pytest.raises(CheckpointError, match="a text of 1,000,000 characters"):
        read_statement(forged)


def test_folders_within_folders_have_an_end(forged):
    here = os.getcwd()
    try:
        os.chdir(forged)
        for _ in range(60):
            os.mkdir("d" * 40)
            os.chdir("d" * 40)
    finally:
        os.chdir(here)
    with pytest.raises(CheckpointError, match="nests folders deeper"):
        check_bundle(forged)


# claims


def test_measures_that_are_not_those_of_its_queries_are_a_contradiction(forged, capsys):
    def claim(statement):
        statement["predicate"]["whet_measures"]["tuned"]["nDCG@10"] = 0.99

    forge(forged, claim)
    assert "metrics.json has other measures" in contradiction(forged, read_statement(forged))
    path = forged / "training/metrics.json"
    metrics = json.loads(path.read_text())
    metrics["tuned"]["nDCG@10"] = 0.99
    path.write_text(json.dumps(metrics))
    forge(forged, claim)
    assert "it claims nDCG@10 0.9900" in contradiction(forged, read_statement(forged))
    assert main(["verify", str(forged)]) == 1
    assert "contradicts itself" in capsys.readouterr().out
    assert main(["reproduce", str(forged), f"output={forged.parent / 'again'}"]) == 1
    assert "contradicts itself" in capsys.readouterr().err


def test_a_configuration_that_is_another_in_its_file_is_a_contradiction(forged):
    path = forged / "training/config.yaml"
    whole = path.read_text()
    for text in (
        whole.replace("temperature: 0.05", "temperature: 0.5"),
        # the same values, one of them by reference: such a file may grow without end when read
        whole.replace("seed: 0", "seed: &a 0", 1).replace("\nseed: 0", "\nseed: *a"),
    ):
        assert text != whole
        path.write_text(text)
        forge(forged)
        said = contradiction(forged, read_statement(forged))
        assert said.startswith("training/config.yaml is not the configuration")


def test_a_byproduct_of_another_hash_is_a_contradiction(forged):
    def change(statement):
        statement["predicate"]["runDetails"]["byproducts"][0]["digest"]["sha256"] = "0" * 64

    forge(forged, change)
    said = contradiction(forged, read_statement(forged))
    assert "listed with another hash among the byproducts" in said


@pytest.mark.parametrize(
    "line",
    ["", "5", "{}", "[" * 100_000, '{"query_id": "x", "base": {}, "tuned": {"nDCG@10": NaN}}'],
)
def test_scores_that_are_none_are_refused_by_line(forged, line):
    path = forged / "training/per_query.jsonl"
    path.write_text(path.read_text() + line + "\n")
    forge(forged)
    with pytest.raises(CheckpointError, match="line 21"):
        contradiction(forged, read_statement(forged))


def test_a_query_that_comes_twice_is_refused(forged):
    path = forged / "training/per_query.jsonl"
    path.write_text(path.read_text() + path.read_text().splitlines()[0] + "\n")
    forge(forged)
    with pytest.raises(CheckpointError, match="line 21: these are no scores of another query"):
        contradiction(forged, read_statement(forged))


def test_it_says_that_nobody_signed_it(lean, capsys):
    assert main(["verify", str(lean)]) == 0
    assert "nobody signed it" in capsys.readouterr().out.splitlines()[-1]
