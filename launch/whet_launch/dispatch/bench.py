"""`whet bench`: recipes composed by Hydra, run here or on a cluster, and then one table."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hydra
from omegaconf import OmegaConf

from whet.bench.collections import collection
from whet.bench.results import Result, is_done, model_label, read_result
from whet.bench.suites import MTEB, Suite, find_suite
from whet.bench.table import columns, markdown, write_results
from whet.config import BM25, BenchConfig, ModelConfig
from whet.config.ranges import check_options
from whet.config.recorded import flat, options_of
from whet.errors import INTERRUPTED, ConfigError
from whet.progress import say
from whet.storage.commit import write_atomically
from whet.storage.readable import readable_yaml
from whet_launch.cli.compose import register
from whet_launch.cli.overrides import find_verb, to_hydra
from whet_launch.cli.verbs import run_function
from whet_launch.options.catalogue import choices_of

NOT_COMPARED = ("launch.", "output", "resume", "data.path", "claim.")  # may differ on going on


@dataclass(frozen=True)
class SeededRecipe:
    """A recipe and a seed: the configuration it is run with, and where."""

    name: str
    config: Any
    folder: Path


def bench(config: BenchConfig) -> int:
    """Run what a suite lacks, print its table; 1 if a published figure did not come again, else 0.

    Raises ConfigError for an unknown suite or recipe, and for a folder begun with other options.
    """
    check_options(config)
    if config.launch.mode not in ("local", "ray"):
        raise ConfigError(
            f"launch={config.launch.mode}: a suite runs here or on a Ray cluster. Leave it out, or "
            "write launch=ray on a node of the cluster."
        )
    if config.suite == MTEB:
        return _mteb(config)
    suite = find_suite(config.suite)
    folder = Path(config.output or f"runs/bench_{suite.folder}")
    recipes = [
        recipe
        for seed in range(config.seeds if suite.verb == "fit" else 1)
        for recipe in _recipes(suite, config, folder, seed)
    ]
    for recipe in recipes:
        _check_begun(recipe, suite)
    missing = [recipe for recipe in recipes if not is_done(recipe.folder, suite.verb)]
    say(f"{suite.name}: {len(recipes)} runs, {len(recipes) - len(missing)} of them done: {folder}")
    try:
        code = _run(suite, config, missing, folder / "mteb")
    except KeyboardInterrupt:
        say(f"whet: interrupted. The same command goes on with {folder}.")
        return INTERRUPTED
    if code:
        return code
    results = _results(recipes)
    written = write_results(folder, suite, results)
    print(markdown(columns(suite, results)))
    say(f"Results: {', '.join(map(str, written))}")
    return 0 if all(result.kept for result in results) else 1


def _recipes(suite: Suite, config: BenchConfig, folder: Path, seed: int) -> list[SeededRecipe]:
    start = f"{suite.folder}/"
    names = [
        name.removeprefix(start) for name in choices_of("experiment") if name.startswith(start)
    ]
    for name in config.only:
        if name not in names:
            raise ConfigError(
                f"only={name}: {suite.name} has no such recipe. It has {', '.join(names)}."
            )
    chosen = [name for name in names if name in (config.only or names)]
    return [_recipe(suite, config, folder / name / f"seed{seed}", seed) for name in chosen]


def _recipe(suite: Suite, config: BenchConfig, folder: Path, seed: int) -> SeededRecipe:
    name, work = folder.parent.name, folder.parents[1] / "collections"
    words = [f"experiment={suite.folder}/{name}", f"output={folder}", *shlex.split(config.change)]
    words += [f"seed={seed}"] if suite.verb == "fit" else []
    verb = find_verb(suite.verb)
    register(verb)
    composed = hydra.compose(config_name=suite.verb, overrides=to_hydra(verb, words))
    recipe_config: Any = OmegaConf.to_object(composed)
    if suite.verb == "fit" and (folder / "config.yaml").exists():
        recipe_config.resume = str(folder)
    path = collection(Path(config.collections), recipe_config.data.path, work)
    recipe_config.data.path = str(path)
    # Another model reads as much of a text as the recipe's, or two things would change at once.
    if config.model != ModelConfig():
        cut = config.model.max_length or recipe_config.model.max_length
        recipe_config.model = replace(config.model, max_length=cut)
    if suite.verb == "fit":
        recipe_config.launch = replace(config.launch)
    return SeededRecipe(name, recipe_config, folder)


def _check_begun(recipe: SeededRecipe, suite: Suite) -> None:
    """What lies in the folder was made with the same options, or is refused."""
    path = recipe.folder / "config.yaml"
    if not path.exists():
        return
    saved = dict(flat(readable_yaml(path, remedy="Give another output=, or bring back a copy.")))
    for key, value in options_of(recipe.config):
        there = saved.get(key, value)
        if not key.startswith(NOT_COMPARED) and there != value:
            raise ConfigError(
                f"{recipe.folder} was run with {key}={there}, and this asks for {value}. Give "
                "another output=, or the options it was run with."
            )
    if suite.verb == "eval" and not is_done(recipe.folder, suite.verb):
        shutil.rmtree(recipe.folder)  # an evaluation has nothing to go on with


def _run(suite: Suite, config: BenchConfig, missing: Sequence[SeededRecipe], results: Path) -> int:
    """Fits on a cluster share it; all else runs here, one after another. The greatest exit code.

    What each run gave also goes to `results`, as a result file of mteb.
    """
    if suite.verb == "fit" and config.launch.mode == "ray" and missing:
        from whet_launch.cluster.sweep import run_together

        code = max(run_together([recipe.config for recipe in missing]))
        for recipe in missing if not code else []:
            _for_leaderboards(results, recipe)
        return code
    for number, recipe in enumerate(missing, start=1):
        say(f"\n{recipe.name}, {recipe.folder.name} ({number} of {len(missing)})")
        code = run_function(find_verb(suite.verb), recipe.config)
        if code:
            return code
        _for_leaderboards(results, recipe)
    return 0


def _for_leaderboards(output: Path, recipe: SeededRecipe) -> None:
    """Where mteb is installed, and the recipe has a model."""
    if find_spec("mteb") is None or recipe.config.model.name == BM25:
        return
    from whet.bench.leaderboard import result_of_folder

    result_of_folder(recipe.folder, recipe.config, output, name=recipe.name)


def _results(recipes: Sequence[SeededRecipe]) -> list[Result]:
    folders: dict[str, list[Path]] = {}
    for recipe in recipes:
        folders.setdefault(recipe.name, []).append(recipe.folder)
    return [read_result(name, folders_of_seeds) for name, folders_of_seeds in folders.items()]


def _mteb(config: BenchConfig) -> int:
    """Run tasks of the package mteb; its result files are below `output`/results."""
    from whet.bench.leaderboard import any_model, run_task

    if not config.only:
        raise ConfigError(
            "suite mteb runs the tasks you name: only=[SciFact,NFCorpus]. "
            "mteb.get_tasks(task_types=['Retrieval']) lists them."
        )
    folder = Path(config.output or "runs/bench_mteb")
    model, name = any_model(config.model), model_label(config.model.name)
    scores = []
    for number, task in enumerate(config.only, start=1):
        say(f"\n{task} ({number} of {len(config.only)})")
        scores.append(run_task(model, task, folder, name=name))
    table = markdown(
        [
            ("task", [score.task for score in scores]),
            ("model", [name] * len(scores)),
            ("main score", [f"{score.main_score:.4f}" for score in scores]),
            ("file", [str(score.path) for score in scores]),
        ]
    )
    write_atomically(folder / "results.md", f"{table}\n")
    print(table)
    return 0
