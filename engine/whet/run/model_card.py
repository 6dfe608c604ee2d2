"""The model card: what the model is, what made it, and how it was judged, from facts alone."""

from __future__ import annotations

from typing import Any

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


def model_card(facts: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The README.md of a saved model; `facts` has a value for every name in CARD but the table."""
    return CARD.format(table=measures_table(rows), use=USE, **facts)


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
