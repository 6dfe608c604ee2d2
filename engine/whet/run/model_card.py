"""The model card: what the model is, what made it, and how it was judged, from facts alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import whet.version
from whet.config import FitConfig
from whet.evaluation.pool.size import PoolSize
from whet.model.folder import MINILM_ON_THE_HUB
from whet.model.parts.words import WORDS, words_of
from whet.run.origin import read_origin
from whet.training.batches.order import Order, total_steps

if TYPE_CHECKING:
    from whet.evaluation.comparison import Comparison
    from whet.model.encoder import Encoder
    from whet.run.job import Job

HERE = "path/to/this/folder"
USE = f"""```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{HERE}")
queries = model.encode_query(["..."])
documents = model.encode_document(["..."])
print(model.similarity(queries, documents))
```"""

CARD = """{front}

# {name}, {title}

A {dimension}-dimensional embedding model. {made} by Whet {version} on
{pairs} of {data} ({docs:,} documents), in {steps:,} steps of {batch_size}.

{table}

Judged on {queries:,} queries that were not trained on, searching {searched}. {verdict}{beside}

{use}

## What made it

| | |
|---|---|
| data (sha256 of ids, texts and judgments) | `{digest}` |
| base model fingerprint | `{fingerprint}` |
| pooling, length | {pooling}, {max_length} tokens |
| negatives | {negatives} |
| loss | {loss}, temperature {temperature} |
| learning rate | {learning_rate} |
| seed | {seed} |

The base model's licence and the data's licence both apply.
"""


def front_matter(
    origin: dict[str, Any],
    rows: list[dict[str, Any]],
    *,
    licence: dict[str, str] | None = None,
    language: Sequence[str] = (),
    pool: PoolSize | None = None,
) -> str:
    """The head of a model card, which model hubs read: base, data, licence, language, results.

    `origin` has `data` and `model` of what made the run, `rows` are those of its comparison, judged
    on `pool` or on all documents. Named are only models and data that the hub knows by that name.
    """
    from huggingface_hub import EvalResult, ModelCardData

    data, model = origin["data"], origin["model"]
    minilm = model["name"] == "minilm" and model["package"]
    hub_name = None if model["local"] or model["package"] else model["name"]
    results = [
        EvalResult(
            task_type="information-retrieval",
            task_name="Information Retrieval",
            dataset_type=data["hub"] or "unknown",
            dataset_name=data["name"],
            metric_type=row["measure"].lower(),
            metric_name=f"{row['measure']} on {pool}" if pool else row["measure"],
            metric_value=round(row["tuned"], 4),
        )
        for row in rows
    ]
    known = licence or {}
    card = ModelCardData(
        license=known.get("license"),
        license_name=known.get("license_name"),
        model_name=f"{model['name']}, sharpened on {data['name']}",
        base_model=MINILM_ON_THE_HUB if minilm else hub_name,
        datasets=[data["hub"]] if data["hub"] else None,
        language=list(language) or None,
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=["sentence-transformers", "sentence-similarity", "feature-extraction", "whet"],
        eval_results=results,
    )
    return f"---\n{card.to_yaml().strip()}\n---"


def pairs_seen(order: Order, steps: int) -> str:
    """How many of the training pairs the steps saw, in words.

    >>> pairs_seen(Order(9944, 64, seed=0), 60)
    '3,840 of the 9,944 (query, relevant document) pairs'
    >>> pairs_seen(Order(100, 10, seed=0), 10), pairs_seen(Order(100, 10, seed=0), 25)[-17:]
    ('all 100 (query, relevant document) pairs', ' (2.5 times each)')
    """
    seen, pairs = order.seen(steps), f"{order.pairs:,} (query, relevant document) pairs"
    if seen < order.pairs:
        return f"{seen:,} of the {pairs}"
    times = f" ({seen / order.pairs:.1f} times each)" if seen > order.pairs else ""
    return f"all {pairs}{times}"


def measures_table(rows: list[dict[str, Any]], pool: PoolSize | None = None) -> str:
    """Base against tuned as a markdown table; `rows` are those of a comparison, on `pool` or on all
    documents.

    >>> row = {"measure": "RR@10", "base": 0.5, "tuned": 0.75}
    >>> row |= {"difference": 0.25, "p_value": 0.0002}
    >>> print(measures_table([row]).splitlines()[-1])
    | RR@10 | 0.5000 | 0.7500 | +0.2500 | <0.001 |
    """
    head = f"measure on {pool}" if pool else "measure"
    lines = [f"| {head} | base | tuned | change | p |", "|---|---|---|---|---|"]
    for row in rows:
        p = "<0.001" if row["p_value"] < 0.001 else f"{row['p_value']:.3f}"
        lines.append(
            f"| {row['measure']} | {row['base']:.4f} | {row['tuned']:.4f} "
            f"| {row['difference']:+.4f} | {p} |"
        )
    return "\n".join(lines)


def card_table(comparison: dict[str, Any], pool: PoolSize | None) -> str:
    """`measures_table` of a comparison's record; of several data sets the means over them, and one
    of each by the measure that decides.
    """
    table, sets = measures_table(comparison["rows"], pool), comparison.get("sets") or {}
    if not sets:
        return table
    main = comparison["main_measure"]
    own = [
        {**row, "measure": f"{row['measure']} on {name}"}
        for name, rows in sets.items()
        for row in rows
        if row["measure"] == main
    ]
    lines = measures_table(own).split("\n")[2:]
    return "\n".join(
        [f"Means over {len(sets)} data sets, and below each one's.", "", table, *lines]
    )


def loss_in_words(config: FitConfig) -> str:
    """What a training minimised, and which side of the model by it.

    >>> from whet.config import LossConfig, ModelConfig
    >>> loss_in_words(FitConfig())
    'InfoNCE'
    >>> loss_in_words(FitConfig(loss=LossConfig("margin_mse"), model=ModelConfig(train="query")))
    "MarginMSE on a teacher's scores, of the query side alone"
    """
    words = {
        "infonce": "InfoNCE",
        "margin_mse": "MarginMSE on a teacher's scores",
        "distill_kl": "KL divergence from a teacher's scores",
    }[config.loss.name]
    if config.loss.name != "infonce" and config.distill.weight < 1:
        words += f" ({config.distill.weight:.0%}) and InfoNCE"
    return words + (", of the query side alone" if config.model.train == "query" else "")


def model_card(
    job: Job,
    encoder: Encoder,
    comparison: Comparison,
    base: str,
    *,
    steps: int | None = None,
    rejected: bool = False,
    words: Mapping[str, Any] | None = None,
) -> str:
    """The README.md of a fit's model; `base` is the fingerprint of the model it began with. It has
    the weights of so many `steps` (None: of all), and was `rejected` where the base came back.
    `words` are what selection.json says of words beside vectors; they are named where they count.
    """
    config, mining = job.config, job.config.mining
    order = Order(len(job.train.relevant()), config.trainer.batch_size, config.seed)
    steps = total_steps(order, config.trainer) if steps is None else steps
    plain = comparison.to_dict()
    rows = plain["rows"]
    origin = read_origin(job.folder)
    assert origin is not None  # written before the first stage
    window = f"relative margin {mining.relative_margin}, absolute margin {mining.absolute_margin}"
    title, made = _title(job, origin["model"]["name"], comparison.base_came_back, rejected)
    facts = {
        "front": front_matter(origin, rows, pool=comparison.pool),
        "title": title,
        "made": made,
        "name": origin["model"]["name"],  # a folder by its name alone: the card may be published
        "data": job.data.name,
        "version": whet.version.VERSION,
        "pairs": pairs_seen(order, steps),
        "docs": len(job.data.corpus),
        "steps": steps,
        "batch_size": config.trainer.batch_size,
        "queries": len(job.eval.query_rows),
        "searched": comparison.pool.of_all if comparison.pool else "all documents",
        "verdict": comparison.verdict(),
        "digest": job.data.digest,
        "fingerprint": base,
        "dimension": encoder.dimension,
        "pooling": encoder.recipe.pooling,
        "max_length": encoder.recipe.max_length,
        "negatives": f"{mining.num_negatives} a query, {window}"
        if mining.num_negatives
        else "in batch",
        "loss": loss_in_words(config),
        "temperature": config.loss.temperature,
        "learning_rate": config.trainer.learning_rate,
        "seed": config.seed,
        "beside": _beside(job, words, rejected),
    }
    return CARD.format(table=card_table(plain, comparison.pool), use=USE, **facts)


def _title(job: Job, name: str, base_came_back: bool, rejected: bool) -> tuple[str, str]:
    """What stands behind the name in the heading, and how the account of its making begins."""
    if base_came_back:
        return "as it was", f"It is `{name}`, unchanged: it was not made better"
    if rejected:
        return f"rejected after tuning on {job.data.name}", f"Started from `{name}` and trained"
    return f"sharpened on {job.data.name}", f"Started from `{name}` and trained"


def _beside(job: Job, words: Mapping[str, Any] | None, rejected: bool) -> str:
    """What the card says of words where they count."""
    if words is not None:
        return f"\n\n{_words_rows(words)}" if words["weight"] else ""
    return f"\n\n{job.base_words.kept}" if job.base_words.weight and not rejected else ""


def _words_rows(words: Mapping[str, Any]) -> str:
    """Base and tuned by vectors alone and with words, as a markdown table."""
    lines = [
        f"| {words['measure']} | vectors | {words['heading']} |",
        "|---|---|---|",
    ]
    for name, values in words["judged"].items():
        lines.append(f"| {name} | {values[0]:.4f} | {values[1]:.4f} |")
    return "\n".join([words["sentence"], "", *lines])


def words_section(model: Path) -> str:
    """What a published card says of the words that a model's searches add; nothing where there are
    none.
    """
    words = words_of(model)
    if not words.weight:
        return ""
    return f"\n\n## Words beside vectors\n\n{words.sentence()} `{WORDS}` has the weight.\n"


FEEDBACK_CARD = """---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags: [sentence-transformers, sentence-similarity, feature-extraction, whet]
---

# {name}, tuned by what people said of its results

Version {version}. Its documents' vectors are those of `{name}`; the queries' side was tuned by Whet
{whet} on {events:,} gestures of people.

{verdict}

{why}

{use}

The licence of the base model applies to this one, too.
"""


ADAPTED_CARD = """---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags: [sentence-transformers, sentence-similarity, feature-extraction, whet]
---

# {name}, adapted to {data}

Its documents' vectors are those of `{name}`. Whet {whet} adapted its search to {documents:,}
documents.

{done}

{proved}

{use}

The licence of the base model applies to this one, too.
{generated}"""
GENERATED = """
## Queries of a language model

{kept:,} queries that this model learned from were written by `{model}`, at {where}.

Licence: that of `{model}` ({licence}), whose texts this model learned from, beside the base model's
"""


def adapted_card(facts: dict[str, Any], name: str) -> str:
    """The README.md of a model adapted to documents; `facts` are those of its adaptation.json."""
    done = "\n\n".join(facts["done"])
    proved = facts["proved"] or facts["not_proved"]
    generated = facts["generated"]
    learned = generated if generated and generated["kept"] and facts["trained"] else None
    return ADAPTED_CARD.format(
        generated=GENERATED.format(**learned) if learned else "",
        name=name,
        data=facts["data"],
        documents=facts["documents"],
        whet=whet.version.VERSION,
        done=done,
        proved=proved,
        use=USE,
    )


def tuned_card(facts: dict[str, Any], name: str) -> str:
    """The README.md of a model tuned on feedback; `facts` are those of its version."""
    return FEEDBACK_CARD.format(name=name, whet=whet.version.VERSION, use=USE, **facts)
