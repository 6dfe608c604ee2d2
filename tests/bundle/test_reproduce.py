"""`whet reproduce`: the same weights from a copy of the bundle, and the truth where they differ."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from bundles import OPTIONS, flip, forge, inputs_in, make_bundle, whet_in_a_process

from whet.bundle.checking import outcome, reproduce
from whet.bundle.checking.inputs import data_path
from whet.bundle.checking.outcome import BIT_EQUAL, OTHER, WITHIN, compared
from whet.bundle.provenance import read_statement, spelled, tree_of
from whet.bundle.spread import MOST, bound_of
from whet.config import LaunchConfig, ReproduceConfig
from whet.errors import CheckpointError, ConfigError, DataError, WhetError
from whet_launch.cli.main import main


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.slow
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


def config_of(statement):
    return statement["predicate"]["buildDefinition"]["externalParameters"]["config"]


def test_of_a_bundle_only_what_is_computed_is_taken(copied):
    """And the number of processes, as far as there are cores."""
    statement = read_statement(copied)
    job = {"mode": "job", "address": "http://10.0.0.1:8265", "insecure": True, "num_workers": 9}
    config_of(statement)["launch"] |= job
    config_of(statement).update(output="/victim", resume="/victim")
    config_of(statement)["trainer"]["num_workers"] = 1000
    again = reproduce._recipe(copied, statement, ReproduceConfig(str(copied)))
    assert again.launch == LaunchConfig(num_workers=1)
    assert (again.output, again.resume, again.trainer.num_workers) == (None, None, None)


@pytest.mark.parametrize(
    ("group", "change", "reason"),
    [
        ("model", {"trust_remote_code": True}, "trusted code that comes with the base model"),
        ("mining", {"cross_encoder": "some/reranker"}, "mining.cross_encoder=some/reranker"),
        ("evil", {"x": 1}, "there is no option evil"),
    ],
)
def test_what_a_bundle_may_not_decide_is_refused(copied, group, change, reason):
    statement = read_statement(copied)
    config_of(statement).setdefault(group, {}).update(change)
    with pytest.raises(WhetError, match=reason):
        reproduce._recipe(copied, statement, ReproduceConfig(str(copied)))


def test_no_more_processes_than_there_are_cores(copied):
    statement = read_statement(copied)
    statement["predicate"]["buildDefinition"]["internalParameters"]["processes"] = 100_000
    with pytest.raises(ConfigError, match="had 100,000 processes"):
        reproduce._recipe(copied, statement, ReproduceConfig(str(copied)))


@pytest.fixture(scope="module")
def other(place, tmp_path_factory):
    """A run with another seed."""
    folder = tmp_path_factory.mktemp("other") / "run"
    words = [f"data={place / 'data'}", f"model={place / 'base'}", f"output={folder}", "seed=3"]
    assert main(["fit", *words, *OPTIONS]) == 0
    return folder


def test_other_weights_are_judged_by_a_spread_computed_here(bundle, other):
    """Half the interval of the repeat's own queries, whatever the bundle claims."""
    statement = read_statement(bundle)
    spread = statement["predicate"]["whet_spread"]
    values = [json.loads(line)["tuned"]["RR@10"] for line in (other / "per_query.jsonl").open()]
    normal = 1.96 * np.std(values) / np.sqrt(len(values))
    verdicts = []
    for claimed in (1.0, 0.0):
        spread["allowed"] = dict.fromkeys(spread["allowed"], claimed)
        found = compared(bundle, statement, other, [])
        verdicts.append(found.verdict)
        then, again, most, said = found.measures["RR@10"]
        assert said == claimed and then != again
        assert normal > MOST and most == MOST  # twenty queries are few
    assert verdicts[0] == verdicts[1]
    assert found.weights[0] != found.weights[1]
    differing = [row[0] for row in found.differences]
    assert differing == ["negatives: step_00000000", "loss of step 1"]  # it reads other queries


@pytest.mark.parametrize(("off", "verdict"), [(0.0, WITHIN), (0.02, WITHIN), (0.06, OTHER)])
def test_a_repeat_is_within_the_spread_or_another_result(bundle, other, monkeypatch, off, verdict):
    """What it may be off by is at most 0.05, though the bundle claims 1."""
    statement = read_statement(bundle)
    predicate = statement["predicate"]
    kept = json.loads((other / "metrics.json").read_text())["tuned"]
    predicate["whet_measures"]["tuned"] = {name: value - off for name, value in kept.items()}
    predicate["whet_spread"]["allowed"] = dict.fromkeys(kept, 1.0)
    monkeypatch.setattr(outcome, "bound_of", lambda scores: dict.fromkeys(scores, MOST))
    found = compared(bundle, statement, other, [])
    assert found.verdict == verdict
    assert ("Another result" in str(found)) == (verdict == OTHER)


def test_the_bound_grows_with_doubt_and_has_an_end():
    many = {"m": [0.0, 1.0] * 2000}
    assert bound_of(many)["m"] == pytest.approx(1.96 * 0.5 / np.sqrt(4000), rel=0.1)
    assert bound_of({"m": [0.0, 1.0]})["m"] == MOST


def test_equal_weights_are_no_excuse_for_other_measures(bundle, run):
    statement = read_statement(bundle)
    measures = statement["predicate"]["whet_measures"]["tuned"]
    statement["predicate"]["whet_measures"]["tuned"] = dict.fromkeys(measures, 0.99)
    found = compared(bundle, statement, run, [])
    assert found.weights[0] == found.weights[1] and found.verdict == OTHER
    assert "the weights are the same, and yet a measure is not what is claimed" in str(found)


def test_a_measure_that_the_run_does_not_have_is_refused(bundle, run):
    statement = read_statement(bundle)
    statement["predicate"]["whet_measures"]["tuned"]["P@1"] = 0.5
    with pytest.raises(CheckpointError, match="P@1, and its run is judged by"):
        compared(bundle, statement, run, [])


def test_data_that_read_as_others_are_refused_before_training(lean, place, tmp_path, capsys):
    """Every listed file is the same, and yet there are judgments more."""
    data = shutil.copytree(place / "data", tmp_path / "data")
    (data / "qrels/dev.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td7\t1\n")
    assert main(["verify", str(lean), f"data={data}"]) == 0
    words = ["reproduce", str(lean), f"data={data}", f"output={tmp_path / 'again'}"]
    assert main(words) == 3
    assert "its ids, texts and judgments are not those of the bundle's" in capsys.readouterr().err
    assert list((tmp_path / "again").iterdir()) == []


def by_name(statement, name, configured):
    """The base model is one of the hub's, with no copy of it."""
    statement["subject"] = [o for o in statement["subject"] if "base/" not in o["name"]]
    (about,) = (one for one in inputs_in(statement) if one["name"].startswith("base: "))
    about["annotations"].update(name=name, local=False, package=None)
    build = statement["predicate"]["buildDefinition"]
    build["externalParameters"]["config"]["model"]["name"] = configured


@pytest.mark.parametrize("name", ["", "/etc", "../x", "owner/here"])
def test_a_bundle_names_no_folder_of_this_machine(forged, tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner/here").mkdir(parents=True)
    shutil.rmtree(forged / "base")
    forge(forged, lambda statement: by_name(statement, name, name))
    assert main(["reproduce", str(forged), f"output={tmp_path / 'again'}"]) == 3
    assert "Say where it is: model=FOLDER" in capsys.readouterr().err
    forge(forged, lambda statement: by_name(statement, "owner/model", name))
    assert main(["reproduce", str(forged), f"output={tmp_path / 'again'}"]) == 3
    assert "names another base model than its inputs do" in capsys.readouterr().err


def test_data_of_the_hub_are_named_as_such():
    for name in ("/etc", "..", "tests"):
        with pytest.raises(DataError, match="Say where it is: data=FOLDER"):
            data_path(Path("b"), hub_data(name), None)
    assert data_path(Path("b"), hub_data("owner/data"), None) == "owner/data"


def hub_data(name):
    about = {"input": "data", "hub": name, "file": None, "kind": "Hugging Face datasets"}
    whole = {"name": "data: all", "digest": {"sha256": "0" * 64}, "annotations": about}
    build = {"resolvedDependencies": [whole]}
    return {"subject": [], "predicate": {"buildDefinition": build}}


def test_a_bundle_asks_for_no_more_threads_than_this_machine_bears(forged, capsys):
    forge(forged, lambda s: s["predicate"]["whet_machine"].update(threads=100_000))
    most = max(64, 8 * os.cpu_count())
    assert reproduce._threads(read_statement(forged)) == most
    assert "The run used 100,000 threads" in capsys.readouterr().err


def test_the_name_of_a_run_folder_is_plain():
    for name, plain in (("a\x1b[2Jb", "a__2Jb"), ("..", "data"), ("x" * 300, "x" * 60)):
        build = {"externalParameters": {"config": {"data": {"path": name}}}}
        assert reproduce.about_name({"predicate": {"buildDefinition": build}}) == plain


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
    assert main(["fit", *words, "trainer.max_steps=2", "trainer.batch_size=4", "select=last"]) == 0
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


@pytest.mark.parametrize("same", [True, False])
def test_a_base_model_fetched_by_its_name_is_held_to_its_fingerprint(
    lean, run, tmp_path, monkeypatch, same
):
    """The hub may hold another model by then, and none of its files could be compared before."""
    folder = shutil.copytree(lean, tmp_path / "bundle")
    shutil.rmtree(folder / "base")
    forge(folder, _of_a_hub_model)

    def fit(config):
        """A fit of the model that the hub has today; that of the test has no hub to ask."""
        assert config.model.name == "org/model"
        again = Path(shutil.copytree(run, config.output, dirs_exist_ok=True))
        record = json.loads((again / reproduce.FILE).read_text())
        if not same:
            record["model"]["fingerprint"] = "0" * 64
        (again / reproduce.FILE).write_text(json.dumps(record))
        return 0

    config = ReproduceConfig(str(folder), output=str(tmp_path / "again"))
    if same:
        assert reproduce.reproduce(config, fit) == 0
    else:
        with pytest.raises(DataError, match="its base model is not that of the bundle's run"):
            reproduce.reproduce(config, fit)


def _of_a_hub_model(statement):
    """What a bundle of a fit by a name on the hub records, of which it has no copies."""
    config_of(statement)["model"]["name"] = "org/model"
    inputs = inputs_in(statement)
    inputs[:] = [one for one in inputs if not one["name"].startswith("base/")]
    whole = next(one for one in inputs if one["annotations"]["input"] == "base")
    whole["annotations"].update(name="org/model", local=False, package=None, revision=None)
    whole["name"] = "base: org/model"
    subjects = statement["subject"]
    subjects[:] = [one for one in subjects if not one["name"].startswith("base/")]
