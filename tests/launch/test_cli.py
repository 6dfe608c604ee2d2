"""The command line: what reaches the engine, and what a person reads."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from whet.config import EncodeJobConfig, EvalConfig, FitConfig, MineConfig
from whet.config.option import rules_of
from whet.errors import DataError, EnvironmentRefused
from whet.version import VERSION
from whet_launch.cli import synonyms
from whet_launch.cli.verbs import VERBS
from whet_launch.options.catalogue import group_names, keys_of

Whet = Callable[..., tuple[int, str, str]]


def test_a_verb_gets_its_dataclass_with_the_overrides(calls: Any, whet: Whet) -> None:
    words = ["data=my/data", "mining.relative_margin=0.1", "seed=3", "loss=symmetric"]
    assert whet("fit", *words) == (0, "", "")
    expected = FitConfig(seed=3)
    expected.data.path = "my/data"
    expected.mining.relative_margin = 0.1
    expected.loss.symmetric = True
    assert calls == [expected]


@pytest.mark.parametrize(
    ("verb", "config"), [("mine", MineConfig), ("encode", EncodeJobConfig), ("eval", EvalConfig)]
)
def test_every_verb_has_its_own_options(calls: Any, whet: Whet, verb: str, config: type) -> None:
    assert whet(verb, "my/data")[0] == 0  # a bare word is the data
    expected = config()
    expected.data.path = "my/data"
    assert calls == [expected]


def test_nothing_is_written_and_the_folder_stays(calls: Any, whet: Whet, tmp_path: Path) -> None:
    calls.answer = lambda config: calls.append(Path.cwd())
    assert whet("fit", "data=x")[0] == 0
    assert calls[1] == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_runs_each_job_in_its_own_folder(calls: Any, whet: Whet, tmp_path: Path) -> None:
    code, _, err = whet("fit", "data=x", "mining=default,naive", "seed=1,2", "-m")
    assert code == 0
    assert [(c.mining.relative_margin, c.seed) for c in calls] == [
        (0.05, 1),
        (0.05, 2),
        (None, 1),
        (None, 2),
    ]
    (sweep,) = (tmp_path / "runs").iterdir()
    assert sweep.name.endswith("_sweep")
    assert [c.output for c in calls] == [f"runs/{sweep.name}/{n}" for n in range(4)]
    assert "job 2: data.path='x' mining=naive seed=1" in err


def test_a_sweep_goes_into_the_output_folder(calls: Any, whet: Whet, tmp_path: Path) -> None:
    assert whet("fit", "data=x", "seed=1,2", "output=here", "-m")[0] == 0
    assert [c.output for c in calls] == ["here/0", "here/1"]


def test_a_list_of_data_is_several_sets_and_one_of_models_is_refused(
    calls: Any, whet: Whet
) -> None:
    assert whet("fit", "data=[my/a,my/b]", "data.weights=[2,1]")[0] == 0
    assert (calls[0].data.path, calls[0].data.weights) == ("[my/a,my/b]", [2.0, 1.0])
    code, _, err = whet("fit", "data=x", "model=[my/a,my/b]")
    assert code == 2 and "There is no model=my/b. A list takes YAML files of that group" in err


def test_a_sweep_goes_on_after_a_refused_job(calls: Any, whet: Whet) -> None:
    def refuse_first(config: FitConfig) -> None:
        if config.seed == 1:
            raise DataError("corpus.jsonl line 3: no text. Fill it in.")

    calls.answer = refuse_first
    code, _, err = whet("fit", "data=x", "seed=1,2", "-m")
    assert code == DataError.exit_code
    assert [c.seed for c in calls] == [1, 2]
    assert "whet: corpus.jsonl line 3: no text. Fill it in.\n" in err


MISTAKES = [
    (["fti"], "no verb 'fti'. Did you mean fit?"),
    (["fit", "mining.relativ_margin=1"], "Did you mean mining.relative_margin?"),
    (["fit", "relative_margin=1"], "Did you mean mining.relative_margin?"),
    (["fit", "learning_rte=1"], "Did you mean trainer.learning_rate?"),
    (["fit", "sede=1"], "Did you mean seed?"),
    (["encode", "mining.num_negatives=3"], "no option 'mining.num_negatives'"),
    (["fit", "mining=naiv"], "no mining=naiv. Did you mean mining=naive?"),
    (["fit", "experiment=dmo"], "Did you mean experiment=demo?"),
    (["fit", "data=nl2bsh"], "no such folder here. Did you mean data=nl2bash?"),
    (["fit", "model=minlm", "data=x"], "Did you mean model=minilm?"),
    (["fit", "data=x", "mining=naive,off"], "mining=naive,off has several values. Add --multirun"),
    (["fit", "data=x", "seed=1,2"], "seed=1,2 has several values. Add --multirun"),
    (["fit", "data=x", "mining.num_negatives=abc"], "It takes int, by default 1."),
    (["fit", "data=x", "model.normalize=perhaps"], "It takes bool or null, by default null."),
    (["fit", "data=x", "evaluate.measures=nDCG@10"], "It takes list[str]"),
    (["fit", "data=x", "seed=[1"], "'seed=[1' cannot be read as key=value."),
    (["fit", "data=x", "seed=1,x", "-m"], "seed: Value 'x'"),
    (["fit", "data=x", "hydra.run.dirr=1"], "hydra.run.dirr: Key 'dirr' not in 'RunDir'."),
    (["fit", "--seed", "3"], "Write seed=3 instead of --seed 3."),
    (["fit", "--multrun"], "no flag --multrun. Did you mean --multirun?"),
    (["fit", "--cfg", "jab"], "write --cfg job"),
    (["fit", "one", "two"], "'one' and 'two' both stand where one data path is expected."),
    (["plan", "adpt", "data=x"], "'adpt' stands where data is expected, and data= is given, too."),
    (["push", "one", "me/two", "three"], "'three' both stand where one value of to is expected."),
    (["fit", "gradient_checkpointing=true"], "It is called trainer.activation_checkpointing."),
    (["fit", "seed"], "seed needs a value. Write seed=VALUE."),
    (["fit"], "fit needs data. Say which: whet fit data=FOLDER"),
    (["fit", "data=x", "-m", "model=minilm,./y"], "mixes names of settings with paths."),
    (["train"], "no verb 'train'. It is called fit: whet fit data=my/data"),
    (["Evaluate", "x"], "It is called eval: whet eval data=my/data"),
    (["annotate"], "It is called label: whet label data=my/data"),
    (["embed"], "It is called encode: "),
    (["--verison"], "There is no flag --verison. Did you mean --version?"),
    (["fit", "--verison"], "There is no flag --verison. Did you mean --version?"),
    (["help", "train"], "It is called fit"),
    (["fit", "lr=1"], "no option 'lr'. It is called trainer.learning_rate."),
    (["fit", "trainer.epochs=1"], "It is called trainer.max_epochs."),
    (["fit", "train_file=x"], "no option 'train_file'. It is called data."),
    (["fit", "--max_steps", "3"], "Write trainer.max_steps=3 instead of --max_steps 3."),
    (["fit", "--lr=0.1"], "Write trainer.learning_rate=0.1 instead of --lr=0.1."),
    (["fit", "--num-train-epochs", "2"], "Write trainer.max_epochs=2 instead of"),
    (["fit", "--output_dir", "out", "x"], "Write output=out instead of --output_dir out."),
    (["mine", "lr=1"], "no option 'lr'."),
    (["fit", "my.yaml"], "my.yaml is a file of options by its name. Write config=my.yaml."),
    (["fit", "data=x", "my.yml"], "Write config=my.yml."),
    (["fit", "--config", "my.yaml"], "Write config=my.yaml instead of --config my.yaml."),
    (["fit", "--config-name=my"], "Write config=my instead of --config-name=my."),
    (["fit", "config=./nowhere.yaml"], "nowhere.yaml is missing. Give config= a YAML file"),
    (["fit", "config=a", "config=b"], "config is given 2 times"),
    (["fit", "config=a", "resume=runs/b"], "each say what the run is"),
    (["fit", "config=a", "experiment=demo"], "each say what the run is"),
]


@pytest.mark.parametrize(("words", "said"), MISTAKES, ids=[" ".join(m[0]) for m in MISTAKES])
def test_a_mistake_is_told_in_one_line(calls: Any, whet: Whet, words: list[str], said: str) -> None:
    code, out, err = whet(*words)
    assert (code, out, calls) == (2, "", [])
    assert err.startswith("whet: ") and said in err
    assert err.count("\n") == 1, err


def test_errors_carry_their_own_exit_code(calls: Any, whet: Whet) -> None:
    def refuse(config: FitConfig) -> None:
        raise EnvironmentRefused("faiss is missing. pip install faiss-cpu.")

    calls.answer = refuse
    assert whet("fit", "data=x") == (4, "", "whet: faiss is missing. pip install faiss-cpu.\n")


def test_debug_adds_the_traceback(calls: Any, whet: Whet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHET_DEBUG", "1")
    code, _, err = whet("fit", "sede=1")
    assert code == 2
    assert err.startswith("Traceback") and err.endswith("lists all.\n")


def test_an_interrupt_says_how_to_go_on(calls: Any, whet: Whet) -> None:
    def interrupt(config: FitConfig) -> None:
        raise KeyboardInterrupt("runs/now")

    calls.answer = interrupt
    code, _, err = whet("fit", "data=x")
    assert (code, err) == (130, "whet: interrupted. Go on with: whet fit resume=runs/now\n")


def test_a_bug_keeps_its_traceback(calls: Any, whet: Whet) -> None:
    def fail(config: FitConfig) -> None:
        raise ZeroDivisionError("a bug")

    calls.answer = fail
    with pytest.raises(ZeroDivisionError, match="a bug"):
        whet("fit", "data=x")


def test_check_prints_what_is_found(whet: Whet, tiny_data: Path, tmp_path: Path) -> None:
    code, out, err = whet("check", str(tiny_data))
    assert (code, err) == (0, "")
    assert "120" in out
    code, _, err = whet("check", str(tmp_path / "nothing"))
    assert code == DataError.exit_code
    assert err.startswith("whet: ") and "nothing" in err


def test_check_answers_3_when_there_are_problems(whet: Whet, tmp_path: Path) -> None:
    rows = ['{"_id": "d1", "text": "a"}', '{"_id": "d1", "text": "b"}']
    (tmp_path / "corpus.jsonl").write_text("\n".join(rows) + "\n")
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "a"}\n')
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    code, out, _ = whet("check", str(tmp_path))
    assert code == DataError.exit_code
    assert "corpus.jsonl line 2" in out


def test_what_a_verb_prints_cannot_steer_the_terminal(calls: Any, whet: Whet) -> None:
    def tell(config: FitConfig) -> None:
        print("id \x1b[2J\u202e", end="\n")
        sys.stdout.writelines(["a\tb\r\x9b31m\n"])
        assert sys.stdout.fileno() >= 0 and not sys.stdout.isatty() and sys.stdout.buffer

    calls.answer = tell
    before = sys.stdout
    code, out, err = whet("fit", "data=x")
    assert (code, err) == (0, "")
    assert out == "id \\x1b[2J\\u202e\na\tb\\r\\x9b31m\n"
    assert sys.stdout is before


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_the_output_cannot_hold_is_escaped(
    calls: Any, whet: Whet, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    calls.answer = lambda config: print("d\u00e9j\u00e0 \u6771")
    held = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(held, encoding, write_through=True))
    assert whet("fit", "data=x")[0] == 0
    word = "d\\xe9j\\xe0" if encoding == "ascii" else "d\u00e9j\u00e0"
    assert held.getvalue().decode(encoding) == f"{word} \\u6771\n"


def test_a_closed_output_is_no_error(
    calls: Any, whet: Whet, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls.answer = lambda config: print("nobody hears it")
    monkeypatch.setattr(sys, "stdout", None)
    assert whet("fit", "data=x")[0] == 0


def test_the_configuration_can_be_printed(calls: Any, whet: Whet) -> None:
    code, out, _ = whet("fit", "data=my data, of mine", "--cfg", "job", "-p", "data")
    assert (code, calls) == (0, [])
    assert "path: my data, of mine\n" in out


def test_own_yaml_groups_are_found(calls: Any, whet: Whet, tmp_path: Path) -> None:
    (tmp_path / "own" / "mining").mkdir(parents=True)
    (tmp_path / "own" / "mining" / "mine.yaml").write_text("num_negatives: 9\n")
    assert whet("fit", "data=x", "mining=mine", "--config-dir=own")[0] == 0
    assert calls[0].mining.num_negatives == 9


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("whet f", " ".join(VERBS)),
        (
            "whet fit refresh=",
            "refresh=candidates refresh=continuous refresh=epoch refresh=mapped refresh=off "
            "refresh=overlap refresh=steps",
        ),
        ("whet mine mining.num", "mining.num_negatives="),
    ],
)
def test_the_shell_completes(
    whet: Whet, monkeypatch: pytest.MonkeyPatch, line: str, offered: str
) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    assert whet("-sc", "query=bash") == (0, f"{offered}\n", "")


def test_completion_installs_under_our_name(whet: Whet) -> None:
    code, out, _ = whet("-sc", "install=bash")
    assert code == 0
    assert out.rstrip().endswith("-F hydra_bash_completion whet")


def test_help_shows_every_option_with_its_meaning(whet: Whet) -> None:
    code, out, _ = whet("fit", "--help")
    assert code == 0
    assert (
        "  mining.relative_margin  0.05       the same as a share of the positive's score\n" in out
    )
    assert "  mining=default | margin | naive | off | random | shifted\n" in out
    assert "  experiment=demo " in out
    assert max(len(line) for line in out.splitlines()) <= 100


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_help(whet: Whet, verb: str) -> None:
    code, out, err = whet(verb, "--help")
    assert (code, err) == (0, "") and out.startswith(f"whet {VERBS[verb].spelled}: ")
    assert all(f"\n  {key} " in out for key in rules_of(VERBS[verb].config))


@pytest.mark.parametrize("words", [("help", "mine"), ("mine", "help"), ("mine", "-h")])
def test_help_is_asked_for_in_many_ways(whet: Whet, words: tuple[str, ...]) -> None:
    assert whet(*words) == whet("mine", "--help")


def test_a_folder_called_help_is_data(calls: Any, whet: Whet, tmp_path: Path) -> None:
    (tmp_path / "help").mkdir()
    assert whet("mine", "help")[0] == 0
    assert calls[0].data.path == "help"


@pytest.mark.parametrize("words", [("version",), ("-v",), ("-V",), ("fit", "--version")])
def test_the_version_is_asked_for_in_many_ways(whet: Whet, words: tuple[str, ...]) -> None:
    assert whet(*words) == whet("--version")
    assert whet("version")[1].startswith(f"whet {VERSION}")


def test_the_package_can_be_run() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "whet", "fti"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("whet: whet has no verb 'fti'. Did you mean fit?")


def test_every_synonym_names_something_of_ours() -> None:
    keys = {key for verb in VERBS.values() for key in keys_of(verb.config)}
    groups = {name for verb in VERBS.values() for name in group_names(verb.config)}
    later = {"push", "logger", "search"}
    assert set(synonyms.VERBS) - set(VERBS) <= later
    assert set(synonyms.OPTIONS) - keys - groups - {"config"} <= later
    assert not {word for words in synonyms.VERBS.values() for word in words.split()} & set(VERBS)
    for words in (synonyms.VERBS, synonyms.OPTIONS):
        all_words = [word for names in words.values() for word in names.split()]
        assert len(all_words) == len(set(all_words))


def test_a_file_of_options_begins_a_new_run(calls: Any, whet: Whet, tmp_path: Path) -> None:
    begun = FitConfig(seed=7, output="runs/old", resume="runs/old")
    begun.data.path = "the data, of mine"
    begun.mining.relative_margin, begun.mining.num_negatives = None, 3
    begun.evaluate.measures = ["RR@10", "nDCG@5"]
    begun.trainer.max_steps = 12
    (tmp_path / "run").mkdir()
    OmegaConf.save(OmegaConf.structured(begun), tmp_path / "run" / "config.yaml")
    new = replace(begun, output=None, resume=None)
    assert whet("fit", "config=run/config.yaml") == (0, "", "")
    assert whet("fit", "config=run")[0] == 0
    assert calls == [new, new]
    assert whet("fit", "config=run", "trainer.max_steps=5", "seed=1", "data=other")[0] == 0
    assert (calls[2].trainer.max_steps, calls[2].seed, calls[2].data.path) == (5, 1, "other")
    assert calls[2].mining == begun.mining
    assert whet("fit", "mining=naive", "config=run")[0] == 0  # a group's file is later
    plain = FitConfig().mining
    assert calls[3].mining.num_negatives == plain.num_negatives
    assert calls[3].evaluate.measures == ["RR@10", "nDCG@5"]


def test_a_file_of_few_options_is_enough(calls: Any, whet: Whet, tmp_path: Path) -> None:
    text = 'data: {path: d}\nmodel: {query_prompt: "it\'s a: "}\nloss: {matryoshka_dims: [8, 4]}\n'
    (tmp_path / "mine.yaml").write_text(text)
    assert whet("fit", "config=mine.yaml", "seed=1,2", "-m")[0] == 0
    assert [call.seed for call in calls] == [1, 2]
    assert calls[0].model.query_prompt == "it's a: " and calls[0].loss.matryoshka_dims == [8, 4]
    code, _, err = whet("mine", "config=mine.yaml")
    assert code == 0 and calls[2].data.path == "d"
    assert err == "mine.yaml also holds loss: no options of whet mine, left out.\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trainer: {lr: 1}", "there is no option trainer.lr"),
        ("trainer: {max_steps: many}", "trainer.max_steps cannot be 'many'"),
        ("- a", "it should hold an object, and holds a list"),
        ("{", "no YAML (line"),
        ("model: {trust_remote_code: true}", "trusts code that comes with a model"),
    ],
)
def test_a_file_of_options_that_cannot_be_is_refused(
    calls: Any, whet: Whet, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    code, _, err = whet("fit", "data=x", "config=mine.yaml")
    assert (code, calls) == (2, []) and message in err
    assert err.startswith("whet: mine.yaml") and err.count("\n") == 1


def test_where_a_file_sends_a_job_is_told_and_left(calls: Any, whet: Whet, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("launch: {mode: job, address: 'http://x'}\n")
    code, _, err = whet("fit", "data=x", "config=mine.yaml")
    assert code == 0 and calls[0].launch == FitConfig().launch
    assert "also says launch.mode=job launch.address=http://x. That is for the command" in err


def test_waiting_threads_sleep_unless_the_user_says_otherwise(
    calls: Any, whet: Whet, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    calls.answer = lambda config: seen.append(os.environ["OMP_WAIT_POLICY"])
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert whet("fit", "data=d")[0] == 0
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert whet("fit", "data=d")[0] == 0
    assert seen == ["PASSIVE", "ACTIVE"]


def test_no_words_is_a_mistake_and_help_is_none(whet: Whet) -> None:
    assert whet()[0] == 2
    code, out, _ = whet("--help")
    assert code == 0
    assert all(f"\n  {verb.spelled} " in out for verb in VERBS.values())


def test_version_names_torch(whet: Whet) -> None:
    import torch

    code, out, _ = whet("--version")
    assert code == 0
    cuda = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    assert f"torch {torch.__version__} ({cuda})" in out


def test_the_module_and_a_closed_pipe(tiny_data: Path) -> None:
    command = f"{sys.executable} -m whet_launch check {tiny_data} | head -1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        text=True,
        env=os.environ,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert str(tiny_data) in done.stdout


def test_an_interrupted_sweep_goes_on(calls: Any, whet: Whet, tmp_path: Path) -> None:
    for number, seed in enumerate((1, 2, 3)):
        folder = tmp_path / "here" / str(number)
        config = FitConfig(seed=seed, output=f"here/{number}")
        config.data.path = "x"
        if number < 2:  # the first is done, the second begun
            folder.mkdir(parents=True)
            OmegaConf.save(OmegaConf.structured(config), folder / "config.yaml")
    (tmp_path / "here" / "0" / "model").mkdir()
    code, _, err = whet("fit", "data=x", "seed=1,2,3", "output=here", "resume=auto", "-m")
    assert code == 0, err
    assert "seed=1 resume=auto -> done already" in err.replace("resume='auto'", "resume=auto")
    assert [(c.seed, c.resume, c.output) for c in calls] == [
        (2, "here/1", "here/1"),
        (3, None, "here/2"),
    ]


def test_a_sweep_does_not_go_on_with_one_run(whet: Whet, calls: Any) -> None:
    code, _, err = whet("fit", "data=x", "seed=1,2", "resume=runs/1", "-m")
    assert code == 2
    assert "A sweep that was interrupted goes on with resume=auto and the output=FOLDER" in err
    assert calls == []
