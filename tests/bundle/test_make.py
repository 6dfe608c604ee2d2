"""What `whet bundle` publishes: the model as it is, what made it, and nothing private."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest
import yaml
from bundles import CANARY, make_bundle

from whet.bundle.provenance import read_statement
from whet.errors import CheckpointError, ConfigError, DataError
from whet.storage import commit as checkpoint
from whet.version import VERSION
from whet_launch.cli.main import main


def statement_of(folder):
    return json.loads((folder / "provenance.json").read_text())


def parts_of(openness):
    return {part.name: part for part in openness.parts}


def test_it_opens_in_sentence_transformers(bundle, run):
    from sentence_transformers import SentenceTransformer

    texts = ["bace difo", "guka"]
    found, wanted = (
        SentenceTransformer(str(folder), device="cpu").encode(texts)
        for folder in (bundle, run / "model")
    )
    assert np.array_equal(found, wanted)
    for path in (run / "model").rglob("*"):
        name = path.relative_to(run / "model")
        if path.is_file() and str(name) not in ("README.md", "manifest.json"):
            assert (bundle / name).read_bytes() == path.read_bytes()


def test_the_statement_has_the_shape_of_in_toto_and_slsa(bundle):
    said = statement_of(bundle)
    assert set(said) == {"_type", "subject", "predicateType", "predicate"}
    assert said["_type"] == "https://in-toto.io/Statement/v1"
    assert said["predicateType"] == "https://slsa.dev/provenance/v1"
    predicate = said["predicate"]
    ours = {name for name in predicate if name.startswith("whet_")}
    assert set(predicate) - ours == {"buildDefinition", "runDetails"}
    build, details = predicate["buildDefinition"], predicate["runDetails"]
    assert {"buildType", "externalParameters", "resolvedDependencies"} <= set(build)
    assert set(details) == {"builder", "metadata", "byproducts"}
    described = [*said["subject"], *build["resolvedDependencies"], *details["byproducts"]]
    assert all(one["name"] and one["digest"] for one in described)
    inputs = {one["annotations"]["input"] for one in build["resolvedDependencies"]}
    assert inputs == {"data", "base", "code"}
    assert build["internalParameters"]["seeds"]["seed"] == 0
    assert {"cpu", "threads", "driver", "memory_bytes"} <= set(predicate["whet_machine"])


def test_the_tree_can_be_computed_by_hand(bundle):
    """A group's hash is that of sha256sum's lines for its files, the root that of the groups'."""
    predicate = statement_of(bundle)["predicate"]
    groups = predicate["whet_tree"]["groups"]
    hashed = {
        path.relative_to(bundle).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in bundle.rglob("*")
        if path.is_file()
    }
    lines = [f"{digest}  {name}\n" for name, digest in hashed.items() if name.startswith("base/")]
    # sha256sum sorts by name
    lines.sort(key=lambda line: line[66:])
    assert groups["copy: base"] == hashlib.sha256("".join(lines).encode()).hexdigest()
    lock = f"{hashed['training/packages.txt']}  training/packages.txt\n"
    assert groups["lock"] == hashlib.sha256(lock.encode()).hexdigest()
    root = "".join(f"{digest}  {name}\n" for name, digest in sorted(groups.items()))
    assert predicate["whet_tree"]["root"] == hashlib.sha256(root.encode()).hexdigest()


def test_nothing_private_is_published(bundle, run):
    """Folders, host, user, secrets: none of them, though the run folder has the paths."""
    assert CANARY in (run / "config.yaml").read_text()
    for path in bundle.rglob("*"):
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes(), path
            assert CANARY not in path.relative_to(bundle).as_posix()


def test_without_include_no_text_of_the_data_is_published(run, place, tmp_path):
    folder, openness, _ = make_bundle(run, tmp_path / "b")
    texts = [json.loads(line)["text"] for line in (place / "data/corpus.jsonl").open()]
    assert any(text in (run / "comparison.json").read_text() for text in texts)
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(text.encode() in content for text in texts), path
    parts = parts_of(openness)
    assert {name: part.state for name, part in parts.items() if part.state != "present"} == {
        "training data": "withheld",
        "base weights": "withheld",
        "code": parts["code"].state,
    }


def test_each_part_is_present_referenced_or_withheld(run, tmp_path):
    _, openness, _ = make_bundle(run, tmp_path / "b", include=["code"], data_source="https://a.b/c")
    parts = parts_of(openness)
    assert (parts["code"].state, parts["code"].where) == ("present", "code/")
    said = parts["training data"]
    assert (said.state, said.where) == ("referenced with hash", "https://a.b/c")
    assert parts["base weights"].state == "withheld"
    assert parts["tuned weights"].state == "present"
    assert (tmp_path / "b/code/whet/bundle/making/make.py").is_file()
    kept = statement_of(tmp_path / "b")["predicate"]["whet_openness"]
    assert kept["parts"][0]["where"] == "https://a.b/c"


CLEAN = {"kind": "checkout", "commit": "c" * 40, "diff": None, "new_files": 0}


@pytest.mark.parametrize(
    ("code", "state", "where"),
    [
        ({"kind": "installed"}, "referenced with hash", f"whet=={VERSION}"),
        (CLEAN, "referenced with hash", f"whet {VERSION}, commit {'c' * 40}"),
        ({**CLEAN, "diff": "d" * 64}, "withheld", "with changes not committed"),
        ({**CLEAN, "new_files": 2}, "withheld", "with changes not committed"),
        ({**CLEAN, "commit": None}, "withheld", "commit unknown"),
    ],
    ids=["installed", "clean", "changed", "new files", "no git"],
)
def test_code_is_named_by_version_or_commit(run, tmp_path, code, state, where):
    other = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("bundle"))
    origin = json.loads((other / "origin.json").read_text())
    files, version = origin["code"]["files"], origin["code"]["version"]
    origin["code"] = {"files": files, "version": version, **code}
    (other / "origin.json").write_text(json.dumps(origin))
    folder, openness, _ = make_bundle(other, tmp_path / "b")
    part = parts_of(openness)["code"]
    assert part.state == state and where in part.where
    assert read_statement(folder)["_type"]


@pytest.mark.parametrize(
    ("licences", "sentence"),
    [
        (
            {"data_licence": "CC-BY-NC-4.0"},
            "Commercial use: not permitted, because of the training data (CC-BY-NC-4.0).",
        ),
        (
            {"base_licence": "CC-BY-NC-SA-4.0"},
            "Commercial use: not permitted, because of the base weights (CC-BY-NC-SA-4.0).",
        ),
        (
            {"data_licence": "CC-BY-ND-4.0"},
            "Changing them, or training on from them: not permitted, because of the training data "
            "(CC-BY-ND-4.0).",
        ),
        (
            {"data_licence": "LicenseRef-ours"},
            "Commercial use: unknown, because of the training data (LicenseRef-ours); nothing is "
            "assumed.",
        ),
        ({"data_licence": "CC0-1.0"}, "Attribution: required by the base weights (Apache-2.0)."),
        (
            {},
            "The same licence for what is derived: required by the training data (CC-BY-SA-4.0).",
        ),
    ],
    ids=["non-commercial data", "non-commercial base", "no derivatives", "own", "cc0", "stated"],
)
def test_what_the_licences_permit_together_is_computed(run, tmp_path, licences, sentence):
    folder, openness, _ = make_bundle(run, tmp_path / "b", **licences)
    assert sentence in openness.sentences
    assert sentence in (folder / "README.md").read_text()


def test_the_card_is_read_as_one(bundle):
    text = (bundle / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["license"] == "other"
    assert front["license_name"] == "CC-BY-SA-4.0 AND Apache-2.0"
    assert front["library_name"] == "sentence-transformers"
    assert "None" not in text and ("not measured" in text or "Wh" in text)


def test_croissant_names_the_files_by_hash(bundle):
    said = json.loads((bundle / "croissant.json").read_text())
    assert said["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    assert said["license"] == "CC-BY-SA-4.0"
    for file in said["distribution"]:
        content = (bundle / file["contentUrl"]).read_bytes()
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert {file["name"] for file in said["distribution"]} >= {"corpus.jsonl", "qrels/train.tsv"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"include": ["everything"]}, "It takes data, base and code"),
        ({"data_licence": "free for all"}, "is no SPDX expression"),
        ({"include": ["data"], "data_licence": "LicenseRef-ours"}, "say data_licence=SPDX"),
        ({"include": ["base"], "base_licence": "LicenseRef-x"}, "say base_licence=SPDX"),
    ],
)
def test_options_that_cannot_be_are_refused(run, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        make_bundle(run, tmp_path / "b", **options)
    assert not (tmp_path / "b").exists()


def test_data_that_state_no_licence_are_not_included(run, tmp_path):
    other = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("bundle"))
    origin = json.loads((other / "origin.json").read_text())
    origin["data"]["statements"] = [{"file": "SOURCE.md", "says": "ask the owner"}]
    (other / "origin.json").write_text(json.dumps(origin))
    with pytest.raises(ConfigError, match="its licence is unknown"):
        make_bundle(other, tmp_path / "b", include=["data"])
    folder, openness, _ = make_bundle(other, tmp_path / "b")
    assert parts_of(openness)["training data"].licence is None
    assert "license: unknown" in (folder / "README.md").read_text()
    assert "SOURCE.md: ask the owner" in (folder / "README.md").read_text()


def test_inputs_that_changed_since_are_not_included(run, place, tmp_path):
    path = place / "data/qrels/train.tsv"
    before = path.read_text()
    path.write_text(before + "q1\td7\t1\n")
    try:
        with pytest.raises(DataError, match="has changed since the run"):
            make_bundle(run, tmp_path / "b", include=["data"])
    finally:
        path.write_text(before)


def test_what_is_there_is_not_overwritten(bundle, run, capsys):
    assert main(["bundle", str(run)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_run_that_is_not_done_or_is_no_run_is_refused(run, tmp_path):
    with pytest.raises(CheckpointError, match="is no run folder"):
        make_bundle(tmp_path, tmp_path / "b")
    other = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("bundle"))
    (other / "origin.json").unlink()
    with pytest.raises(CheckpointError, match=r"lacks origin.json: what made it was not recorded"):
        make_bundle(other, tmp_path / "b")
    (other / "model/model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="is not done"):
        make_bundle(other, tmp_path / "b")


def test_a_path_in_the_models_files_is_found_before_it_is_published(run, place, tmp_path):
    """Whoever made the base model may have left a path in it."""
    other = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("bundle"))
    log = other / "train_log.jsonl"
    row = {**json.loads(log.read_text().splitlines()[-1]), "from": str(place / "data")}
    log.write_text(json.dumps(row) + "\n")
    with pytest.raises(ConfigError, match=r"train_log.jsonl would publish a path"):
        make_bundle(other, tmp_path / "b")
    assert not (tmp_path / "b").exists()


# what a run folder holds that no run wrote


def changed(run, tmp_path):
    return shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("bundle"))


def test_what_the_run_did_not_write_is_told_and_not_published(run, tmp_path, capsys):
    other = changed(run, tmp_path)
    private = tmp_path / "private"
    private.write_text("PRIVATE")
    (other / "model/notes.txt").write_text("PRIVATE")
    (other / "model/.ipynb_checkpoints").mkdir()
    (other / "model/.ipynb_checkpoints/x").write_text("PRIVATE")
    (other / "model/vocab.txt").symlink_to(private)
    (other / "negatives/mine.parquet").write_text("PRIVATE")
    folder, _, _ = make_bundle(other, tmp_path / "b")
    for path in folder.rglob("*"):
        assert not path.is_file() or b"PRIVATE" not in path.read_bytes(), path
    said = capsys.readouterr().err
    assert "Not published, since the run did not write it: .ipynb_checkpoints/x, notes.txt" in said


@pytest.mark.parametrize(
    "name", ["model/tokenizer.json", "per_query.jsonl", "negatives/step_00000000.parquet"]
)
def test_a_link_in_a_run_folder_is_not_published(run, tmp_path, name):
    other = changed(run, tmp_path)
    (other / name).rename(tmp_path / "elsewhere")
    (other / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="is a link, or no file"):
        make_bundle(other, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_linked_folder_in_a_model_is_not_published(run, tmp_path):
    other = changed(run, tmp_path)
    (other / "model/1_Pooling").rename(tmp_path / "elsewhere")
    (other / "model/1_Pooling").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="is a link, or no file"):
        make_bundle(other, tmp_path / "b")


@pytest.mark.parametrize("part", ["data", "base"])
def test_names_of_inputs_that_lead_out_are_refused(run, place, tmp_path, part):
    other = changed(run, tmp_path)
    (place / "private.txt").write_text("private")
    about = {"sha256": hashlib.sha256(b"private").hexdigest(), "bytes": 7}
    origin = json.loads((other / "origin.json").read_text())
    if part == "data":
        origin["data"]["files"].append({"name": "../private.txt", **about})
    else:
        origin["model"]["files"]["../private.txt"] = about
    (other / "origin.json").write_text(json.dumps(origin))
    with pytest.raises(ConfigError, match="leads out of the folder"):
        make_bundle(other, tmp_path / "b", include=[part])


def test_names_in_a_models_manifest_that_lead_out_are_refused(run, tmp_path):
    other = changed(run, tmp_path)
    manifest = json.loads((other / "model/manifest.json").read_text())
    (tmp_path / "run/private.txt").write_text("private")
    about = {"bytes": 7, "sha256": hashlib.sha256(b"private").hexdigest()}
    files = {**manifest["files"], "../private.txt": about}
    text = checkpoint._manifest(manifest["facts"], files)
    (other / "model/manifest.json").write_text(text)
    with pytest.raises(ConfigError, match="leads out of the folder"):
        make_bundle(other, tmp_path / "b")


@pytest.mark.parametrize("name", ["SOURCE.md", "queries.jsonl"])
def test_data_that_are_links_to_elsewhere_are_not_included(run, place, tmp_path, name):
    """Whoever made the data may have put a link to a private file there."""
    path = place / "data" / name
    kept = path.rename(tmp_path / "elsewhere")
    path.symlink_to(kept)
    try:
        with pytest.raises(ConfigError, match="is a link to a file elsewhere"):
            make_bundle(run, tmp_path / "b", include=["data"])
    finally:
        path.unlink()
        kept.rename(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("origin.json", "{}"),
        ("origin.json", "[" * 100_000),
        ("origin.json", "\0"),
        ("metrics.json", "[]"),
        ("comparison.json", '{"rows": 5}'),
        ("comparison.json", '{"rows": [5], "verdict": "x"}'),
        ("environment.json", '{"seconds": {}}'),
        ("config.yaml", "data: 5"),
        ("config.yaml", "!!python/object/apply:os.system [x]"),
        ("train_log.jsonl", "{}"),
        ("per_query.jsonl", "{}"),
        ("model/manifest.json", "{}"),
    ],
)
def test_a_damaged_file_of_a_run_is_named_in_a_line(run, tmp_path, name, text):
    other = changed(run, tmp_path)
    (other / name).write_text(text)
    with pytest.raises(CheckpointError) as refused:
        make_bundle(other, tmp_path / "b")
    assert "\n" not in str(refused.value)
    assert name in str(refused.value) or "no readable manifest" in str(refused.value)


def seeded(run, folder, seed, **scores):
    """A copy of the run as another seed would have left it."""
    other = shutil.copytree(run, folder, ignore=shutil.ignore_patterns("bundle"))
    config = yaml.safe_load((other / "config.yaml").read_text())
    config["seed"] = seed
    (other / "config.yaml").write_text(yaml.safe_dump(config))
    metrics = json.loads((other / "metrics.json").read_text())
    metrics["tuned"] |= scores
    (other / "metrics.json").write_text(json.dumps(metrics))
    return other


def test_the_spread_is_that_of_the_seeds_or_of_the_queries(run, tmp_path):
    make_bundle(run, tmp_path / "alone")
    spread = statement_of(tmp_path / "alone")["predicate"]["whet_spread"]
    assert spread["kind"].startswith("half the 95 % interval")
    values = [json.loads(line)["tuned"]["nDCG@10"] for line in (run / "per_query.jsonl").open()]
    normal = 1.96 * np.std(values) / np.sqrt(len(values))
    assert spread["allowed"]["nDCG@10"] == pytest.approx(normal, rel=0.1)
    score = json.loads((run / "metrics.json").read_text())["tuned"]["nDCG@10"]
    others = [
        str(seeded(run, tmp_path / f"s{seed}", seed, **{"nDCG@10": score + off}))
        for seed, off in ((1, 0.03), (2, -0.03))
    ]
    make_bundle(run, tmp_path / "three", spread_of=others)
    spread = statement_of(tmp_path / "three")["predicate"]["whet_spread"]
    assert spread["runs"] == 3 and spread["kind"].startswith("two standard deviations")
    assert spread["allowed"]["nDCG@10"] == pytest.approx(0.06)


def test_a_spread_of_other_recipes_is_refused(run, tmp_path):
    same = seeded(run, tmp_path / "same", 0)
    with pytest.raises(ConfigError, match="has the same seed"):
        make_bundle(run, tmp_path / "b", spread_of=[str(same)])
    other = seeded(run, tmp_path / "other", 1)
    text = (other / "config.yaml").read_text().replace("temperature: 0.05", "temperature: 0.1")
    (other / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match="another recipe, loss differ"):
        make_bundle(run, tmp_path / "b", spread_of=[str(other)])
