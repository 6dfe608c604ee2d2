"""Benchmarks of the package mteb: its retrieval tasks on any model, any data as one of its tasks,
and results in the files that its leaderboards read.

Its evaluator ranks as Whet does (trec_eval's rule for ties), but looks at 1,000 documents per
query, and strips the spaces around a text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from whet.config import EncodeConfig, EvalConfig, FitConfig, ModelConfig
from whet.data.load import Dataset, open_dataset
from whet.data.splits import eval_qrels, eval_split_name
from whet.errors import ConfigError, DataError, EnvironmentRefused, UnsupportedModel
from whet.evaluation.judge import Evaluation, judgments_of
from whet.evaluation.measures import Scores
from whet.model.encoder import Encoder
from whet.model.folder import find_folder
from whet.model.inference import encode_texts
from whet.model.towers import Towers, open_model, tell_vectors_alone
from whet.progress import track
from whet.version import install_line

if TYPE_CHECKING:
    import numpy as np

MAIN = "ndcg_at_10"
NAMES = {"nDCG": "ndcg", "R": "recall", "AP": "map", "RR": "mrr", "P": "precision"}
NAMES |= {"Success": "hit_rate"}  # ir-measures' name -> mteb's
SUBSET = "default"
REACH_S = 5  # how long the hub may take to say that it is there


@dataclass(frozen=True)
class TaskScores:
    """What a model scored on a task: the task's main measure, all of them under mteb's names, and
    the file they were written to.
    """

    task: str
    main_score: float
    scores: dict[str, float]
    path: Path


class MtebEncoder:
    """A Whet model as mteb asks for one; queries and documents go behind their own prompts."""

    def __init__(self, model: Encoder | Towers, name: str, config: EncodeConfig | None = None):
        self.model = model
        self.config = config or EncodeConfig()
        self.mteb_model_meta = _meta(model, name)

    def encode(self, inputs: Iterable[dict[str, Any]], **context: Any) -> np.ndarray:
        """Vectors float32 [N, D] of batches of texts; `prompt_type` says which kind."""
        kind = (
            "query" if str(getattr(context["prompt_type"], "value", "")) == "query" else "document"
        )
        texts = [text for batch in inputs for text in batch["text"]]
        title = f"Encoding {'queries' if kind == 'query' else 'documents'}"
        with track(title, len(texts), "texts") as advance:
            return encode_texts(self.model.side(kind), texts, kind, self.config, advance)

    def similarity(self, vectors: Any, others: Any) -> torch.Tensor:
        """Inner products, of each with each."""
        return torch.as_tensor(vectors) @ torch.as_tensor(others).T

    def similarity_pairwise(self, vectors: Any, others: Any) -> torch.Tensor:
        """Inner products, of each with its like."""
        return (torch.as_tensor(vectors) * torch.as_tensor(others)).sum(-1)


def any_model(config: ModelConfig) -> Any:
    """A Whet model, or, of those that Whet does not open, one of sentence-transformers.

    Raises what `open_model` raises where there is no model at all.
    """
    try:
        return open_model(config)
    except UnsupportedModel:  # whole, but of other layers; a damaged folder is refused
        folder = find_folder(config)
        if not (folder / "modules.json").is_file() or find_spec("sentence_transformers") is None:
            raise
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(
            str(folder),
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )


def task_of(data: Dataset, *, split: str | None = None, name: str | None = None) -> Any:
    """A dataset as a retrieval task of mteb, without the hub; a document with a query's id counts
    as any other. `split` as for `whet eval`. DataError for a split that is not there.
    """
    qrels = eval_qrels(data, split)
    task = _task_class(data, split, name)()
    (used,) = task.metadata.eval_splits
    judged = judgments_of(qrels, data.queries.ids, data.corpus.ids)
    rows = qrels.query_rows
    queries = zip(data.queries.ids_of(rows), data.queries.texts(rows), strict=True)
    corpus = (zip(*block, strict=True) for block in data.corpus.blocks())
    task.queries = {used: dict(queries)}
    task.corpus = {used: dict(chain.from_iterable(corpus))}
    # below 0 counts as 0, as everywhere in Whet: pytrec_eval crashes on it
    task.relevant_docs = {
        used: {query: {doc: max(0, g) for doc, g in docs.items()} for query, docs in judged.items()}
    }
    task.data_loaded = True
    return task


def run_task(
    model: Any,
    task: Any,
    output: Path,
    *,
    name: str,
    config: EncodeConfig | None = None,
) -> TaskScores:
    """Run a retrieval task of mteb (an object, or a name such as "SciFact") and write its result
    under `output`/results, as mteb does; a result that is there already is read.

    `model` is a Whet model or one of sentence-transformers; the results call it `name`. Raises
    ConfigError for an unknown task or one that is no retrieval, DataError if its data is not
    public, EnvironmentRefused where mteb is not installed or the hub cannot be reached.
    """
    mteb = _mteb()
    benchmark = _task_named(task) if isinstance(task, str) else task
    _load(benchmark)
    if isinstance(model, Encoder | Towers):
        tell_vectors_alone(model)
        wrapped = MtebEncoder(model, name, config)
    else:
        wrapped = _sentence_transformer(model, name)
    cache = mteb.ResultCache(output)
    results = mteb.evaluate(
        wrapped, benchmark, cache=cache, co2_tracker=False, show_progress_bar=False
    )
    path = cache.get_task_result_path(benchmark.metadata.name, wrapped.mteb_model_meta)
    return _scores_of(results.task_results[0], path)


def result_file(
    evaluation: Evaluation,
    data: Dataset,
    model: Encoder | Towers,
    output: Path,
    *,
    name: str,
    split: str | None = None,
    seconds: float = 0.0,
) -> Path:
    """Write Whet's own evaluation of a model on a split where and as mteb would have written it.

    ConfigError if nDCG@10, the main measure of mteb's retrieval tasks, was not evaluated.
    """
    mteb = _mteb()
    scores = {}
    for measure, value in evaluation.scores.means.items():
        base, _, cutoff = measure.partition("@")
        if base in NAMES and cutoff:
            scores[f"{NAMES[base]}_at_{cutoff}"] = value
    if MAIN not in scores:
        raise ConfigError(
            "mteb's retrieval results need nDCG@10, and evaluate.measures has "
            f"{', '.join(evaluation.scores.means)}. Add it."
        )
    task = _task_class(data, split)
    (used,) = task.metadata.eval_splits
    result = mteb.TaskResult.from_task_results(
        task,
        {used: {SUBSET: {**scores, "main_score": scores[MAIN]}}},
        evaluation_time=seconds,
        date=datetime.now(UTC),
    )
    cache, meta = mteb.ResultCache(output), _meta(model, name)
    cache.save_to_cache(result, meta)
    path: Path = cache.get_task_result_path(task.metadata.name, meta)
    return path


def result_of_folder(
    folder: Path, config: EvalConfig | FitConfig, output: Path, *, name: str
) -> Path:
    """`result_file` of a finished run folder: of the model judged, or of the one a fit left, which
    is then called whet/NAME-seedN.
    """
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    facts = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    fitted = "tuned" in metrics
    means = metrics["tuned" if fitted else "model"]
    return result_file(
        Evaluation({}, Scores(means, {})),
        open_dataset(config.data),
        open_model(str(folder / "model") if fitted else config.model),
        output,
        name=f"{name}-{folder.name}" if fitted else Path(config.model.name).name,
        split=config.data.eval_split,
        seconds=sum(facts["seconds"].values()),
    )


def _mteb() -> Any:
    """The package. EnvironmentRefused where it is not installed."""
    if find_spec("mteb") is None:
        raise EnvironmentRefused(
            f"Tasks of mteb need the package mteb. Run `{install_line('bench')}`."
        )
    import mteb

    return mteb


def _task_class(data: Dataset, split: str | None, name: str | None = None) -> Any:
    _mteb()
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    metadata = TaskMetadata(
        name=name or data.name,
        description=f"{len(data.corpus):,} documents, {len(data.queries):,} queries.",
        reference=None,
        dataset={"path": data.name, "revision": data.digest},
        type="Retrieval",
        category="t2t",
        modalities=["text"],
        eval_splits=[split or eval_split_name(data) or "train"],
        eval_langs=["und-Zzzz"],
        main_score=MAIN,
        date=None,
        domains=None,
        task_subtypes=None,
        license=None,
        annotations_creators=None,
        dialect=None,
        sample_creation=None,
        bibtex_citation="",
    )
    return type("WhetTask", (AbsTaskRetrieval,), {"metadata": metadata})


def _meta(model: Encoder | Towers, name: str) -> Any:
    """What mteb is to know of a model; its revision is the fingerprint."""
    _mteb()
    from mteb.models.model_meta import ModelMeta, ScoringFunction

    query, document = model.side("query"), model.side("document")
    recipe = document.recipe
    return ModelMeta.create_empty(
        {
            "name": _full_name(name),
            "revision": model.fingerprint(),
            "max_tokens": recipe.max_length,
            "embed_dim": model.dimension,
            "n_parameters": sum(weight.numel() for weight in document.parameters()),
            "similarity_fn_name": (
                ScoringFunction.COSINE if recipe.normalize else ScoringFunction.DOT_PRODUCT
            ),
            "framework": ["PyTorch", "Sentence Transformers"],
            "use_instructions": bool(query.recipe.query_prompt or recipe.document_prompt),
        }
    )


def _sentence_transformer(model: Any, name: str) -> Any:
    """A model of sentence-transformers as mteb wraps it. Its revision is a hash of weights, modules
    and prompts: results of any two models that lie in folders would else count as one model's.
    """
    wrapped = _mteb().SentenceTransformerEncoderWrapper(model)
    digest = hashlib.sha256(f"{model} {sorted(model.prompts.items())}".encode())
    for key, weight in sorted(model.state_dict().items()):
        digest.update(f"{key} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(weight.cpu().contiguous().view(torch.uint8).numpy().data)
    update = {"name": _full_name(name), "revision": digest.hexdigest()}
    wrapped.mteb_model_meta = wrapped.mteb_model_meta.model_copy(update=update)
    return wrapped


def _full_name(name: str) -> str:
    """mteb's names have an owner."""
    return name if "/" in name else f"whet/{name}"


def _task_named(name: str) -> Any:
    mteb = _mteb()
    from mteb.abstasks import AbsTaskRetrieval

    try:
        task = mteb.get_task(name)
    except KeyError as error:
        reason = str(error.args[0]).removeprefix("KeyError: ")
        raise ConfigError(f"mteb has no task {name}: {reason}") from error
    if not isinstance(task, AbsTaskRetrieval):
        raise ConfigError(
            f"{name} is a task of {task.metadata.type}, and Whet runs those of retrieval. "
            "mteb.get_tasks(task_types=['Retrieval']) lists them."
        )
    return task


def _load(task: Any) -> None:
    """Load a task's data. Where the hub does not answer only what was downloaded before is looked
    for, since datasets would try for half a minute.
    """
    if task.data_loaded:
        return
    path, name = task.metadata.dataset["path"], task.metadata.name
    try:
        with _as_the_hub_is(path):
            task.load_data()
    except FileNotFoundError as error:  # as datasets tells one that is not there, or not for all
        raise DataError(
            f"mteb's task {name}: its data, {path}, is not on the Hugging Face hub, or not public. "
            "If it asks for your consent, give it there and log in with `hf auth login`."
        ) from error
    except (OSError, RuntimeError) as error:
        raise EnvironmentRefused(
            f"mteb's task {name}: its data, {path}, comes from the Hugging Face hub, which cannot "
            "be reached. Run it where it can, copy that machine's ~/.cache/huggingface here, or "
            "give a folder of the same data: whet eval data=FOLDER."
        ) from error


@contextmanager
def _as_the_hub_is(path: str) -> Iterator[None]:
    """Ask the hub once, briefly; if it does not answer, go offline for the block."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    before = constants.HF_HUB_OFFLINE
    try:
        HfApi().dataset_info(path, timeout=REACH_S)
    except HfHubHTTPError:
        pass  # an answer, too: loading says what is wrong
    except Exception:  # a dozen unrelated types, when it cannot be reached
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _scores_of(result: Any, path: Path) -> TaskScores:
    """The means over splits and languages of a result's scores."""
    parts = [part for parts in result.scores.values() for part in parts]
    names = [name for name, value in parts[0].items() if isinstance(value, int | float)]
    scores = {name: sum(part[name] for part in parts) / len(parts) for name in names}
    return TaskScores(result.task_name, float(result.get_score()), scores, path)
