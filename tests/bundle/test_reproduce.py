"""`whet reproduce`: the same weights from a copy of the bundle, and the truth where they differ."""

from __future__ import annotations

import json
import shutil

import pytest
from bundles import OPTIONS, flip, make_bundle, whet_in_a_process

from whet.bundle.outcome import BIT_EQUAL, OTHER, WITHIN, compared
from whet.bundle.provenance import read_statement, spelled, tree_of
from whet_launch.cli import main


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def test_a_copy_of_the_bundle_is_reproduced_to_the_bit(copied, tmp_path):
    """In a fresh process, with data and base model from the bundle alone."""
    again = tmp_path / "again"
    code, said = whet_in_a_process("reproduce", str(copied), f"output={again}", PYTHONHASHSEED="7")
    assert code == 0, said
    assert "Bit-equal" in said
    assert weights(again / "model") == weights(copied)
    kept = json.loads((again / "reproduction.json").read_text())
    assert kept["verdict"] == BIT_EQUAL and kept["differences"] == []
    for name in ("metrics.json", "train_log.jsonl", "negatives/step_00000000.parquet"):
        assert (again / name).read_bytes() == (copied / "training" / name).read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.fixture(scope="module")
def other(place, tmp_path_factory):
    """A run with another seed."""
    folder = tmp_path_factory.mktemp("other") / "run"
    words = [f"data={place / 'data'}", f"model={place / 'base'}", f"output={folder}", "seed=3"]
    assert main(["fit", *words, *OPTIONS]) == 0
    return folder


def test_other_weights_are_judged_by_the_spread(bundle, other):
    statement = read_statement(bundle)
    spread = statement["predicate"]["whet_spread"]
    for allowed, verdict in ((1.0, WITHIN), (0.0, OTHER)):
        spread["allowed"] = dict.fromkeys(spread["allowed"], allowed)
        found = compared(bundle, statement, other, [])
        assert found.verdict == verdict
        assert found.weights[0] != found.weights[1]
        then, again, most = found.measures["nDCG@10"]
        assert then != again and most == allowed
    assert [row[0] for row in found.differences] == ["loss of step 1"]
    assert "Another result" in str(found)


def test_what_differs_is_listed_from_the_hardware_up(bundle, run):
    """The run itself, as another machine with other packages would have recorded it."""
    statement = read_statement(bundle)
    statement["predicate"]["whet_machine"]["cpu"] = "Another CPU"
    found = compared(bundle, statement, run, [])
    assert found.verdict == BIT_EQUAL
    (row,) = found.differences
    assert row[:2] == ("machine: cpu", "Another CPU")


@pytest.mark.slow
def test_pairs_in_one_file_go_the_whole_way(place, tmp_path, capsys):
    """A csv has no folder of its own, and no test split."""
    pairs = "".join(f"{a} {b},{b} {a} {a}\n" for a in ("bace", "difo", "guka") for b in "xyzuvw")
    path = tmp_path / "pairs.csv"
    path.write_text("anchor,positive\n" + pairs)
    words = [f"data={path}", f"model={place / 'base'}", f"output={tmp_path / 'run'}"]
    assert main(["fit", *words, "trainer.max_steps=2", "trainer.batch_size=4"]) == 0
    options = {"include": ["data", "base"], "data_licence": "CC0-1.0"}
    folder, _, _ = make_bundle(tmp_path / "run", tmp_path / "b", **options)
    assert (folder / "data" / "pairs.csv").read_bytes() == path.read_bytes()
    assert main(["verify", str(folder), f"data={path}"]) == 0
    path.unlink()
    assert main(["reproduce", str(folder), f"output={tmp_path / 'again'}"]) == 0
    assert "Bit-equal" in capsys.readouterr().out


def test_inputs_that_are_not_the_bundles_are_refused(run, place, tmp_path, capsys):
    folder, _, _ = make_bundle(run, tmp_path / "b")
    assert main(["reproduce", str(folder)]) == 2
    assert "Say where they are: data=FOLDER" in capsys.readouterr().err
    assert main(["reproduce", str(folder), f"data={place / 'data'}"]) == 2
    assert "Say where it is: model=FOLDER" in capsys.readouterr().err
    data = shutil.copytree(place / "data", tmp_path / "data")
    flip(data / "qrels/train.tsv")
    assert main(["reproduce", str(folder), f"data={data}", f"model={place / 'base'}"]) == 3
    assert "data: qrels/train.tsv differs" in capsys.readouterr().err
    flip(folder / "training/config.yaml")
    assert main(["reproduce", str(folder), f"data={data}"]) == 1
    assert "training/config.yaml" in capsys.readouterr().err


def test_a_bundle_does_not_decide_to_trust_code(copied, capsys):
    """Somebody else's bundle may say so, and its hashes be right."""
    path = copied / "provenance.json"
    statement = json.loads(path.read_text())
    build = statement["predicate"]["buildDefinition"]
    build["externalParameters"]["config"]["model"]["trust_remote_code"] = True
    statement["predicate"]["whet_tree"] = tree_of(statement)
    path.write_text(spelled(statement))
    assert main(["reproduce", str(copied)]) == 2
    assert "is not to decide that" in capsys.readouterr().err
