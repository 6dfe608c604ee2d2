"""The model card: what the model is, what made it, and how it was judged, from facts alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import whet.version
from whet.training.batches.order import Order, total_steps

if TYPE_CHECKING:
    from whet.evaluation.comparison import Comparison
    from whet.model.encoder import Encoder
    from whet.run.job import Job

USE = """```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder")
queries = model.encode_query(["..."])
documents = model.encode_document(["..."])
print(model.similarity(queries, documents))
```"""

CARD = """---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags: [sentence-transformers, sentence-similarity, feature-extraction, whet]
---

# {name}, sharpened on {data}

A {dimension}-dimensional embedding model. Started from `{name}` and trained by Whet {version} on
{pairs:,} (query, relevant document) pairs of {data} ({docs:,} documents), {steps:,} steps of
{batch_size}.

{table}

Judged on {queries:,} queries that were not trained on, searching all documents. {verdict}

{use}

## What made it

| | |
|---|---|
| data (sha256 of ids, texts and judgments) | `{digest}` |
| base model fingerprint | `{fingerprint}` |
| pooling, length | {pooling}, {max_length} tokens |
| negatives | {negatives} |
| loss | InfoNCE, temperature {temperature} |
| learning rate | {learning_rate} |
| seed | {seed} |

The base model's licence and the data's licence both apply.
"""


def measures_table(rows: list[dict[str, Any]]) -> str:
    """Base against tuned as a markdown table; `rows` are those of a comparison.

    >>> row = {"measure": "RR@10", "base": 0.5, "tuned": 0.75}
    >>> row |= {"difference": 0.25, "p_value": 0.0002}
    >>> print(measures_table([row]).splitlines()[-1])
    | RR@10 | 0.5000 | 0.7500 | +0.2500 | <0.001 |
    """
    lines = ["| measure | base | tuned | change | p |", "|---|---|---|---|---|"]
    for row in rows:
        p = "<0.001" if row["p_value"] < 0.001 else f"{row['p_value']:.3f}"
        lines.append(
            f"| {row['measure']} | {row['base']:.4f} | {row['tuned']:.4f} "
            f"| {row['difference']:+.4f} | {p} |"
        )
    return "\n".join(lines)


def model_card(job: Job, encoder: Encoder, comparison: Comparison, base: str) -> str:
    """The README.md of a fit's model; `base` is the fingerprint of the model it began with."""
    config, mining = job.config, job.config.mining
    pairs = len(job.train.relevant())
    order = Order(pairs, config.trainer.batch_size, config.seed)
    window = f"relative margin {mining.relative_margin}, absolute margin {mining.absolute_margin}"
    facts = {
        "name": config.model.name,
        "data": job.data.name,
        "version": whet.version.VERSION,
        "pairs": pairs,
        "docs": len(job.data.corpus),
        "steps": total_steps(order, config.trainer),
        "batch_size": config.trainer.batch_size,
        "queries": len(job.eval.query_rows),
        "verdict": comparison.verdict(),
        "digest": job.data.digest,
        "fingerprint": base,
        "dimension": encoder.dimension,
        "pooling": encoder.recipe.pooling,
        "max_length": encoder.recipe.max_length,
        "negatives": f"{mining.num_negatives} a query, {window}"
        if mining.num_negatives
        else "in batch",
        "temperature": config.loss.temperature,
        "learning_rate": config.trainer.learning_rate,
        "seed": config.seed,
    }
    return CARD.format(table=measures_table(comparison.to_dict()["rows"]), use=USE, **facts)


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


def tuned_card(facts: dict[str, Any], name: str) -> str:
    """The README.md of a model tuned on feedback; `facts` are those of its version."""
    import whet.version

    return FEEDBACK_CARD.format(name=name, whet=whet.version.VERSION, use=USE, **facts)
