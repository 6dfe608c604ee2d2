"""How good a model is, and whether it got better: retrieve, score, compare, write TREC files.

Names load when first used, so importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Comparison": "comparison",
    "Evaluation": "judge",
    "HybridSearch": "hybrid",
    "Scores": "measures",
    "Words": "lexical",
    "changed_queries": "examples",
    "check_measures": "measures",
    "compare": "comparison",
    "evaluate_run": "judge",
    "judgments_of": "judge",
    "read_qrels": "trec",
    "read_run": "trec",
    "retrieve": "retrieval",
    "run_of": "retrieval",
    "score": "measures",
    "words_of": "lexical",
    "write_per_query": "comparison",
    "write_qrels": "trec",
    "write_run": "trec",
}
# No module here bears the name of one of its functions: importing it would put the module in the
# function's place.
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'whet.evaluate' has no attribute {name!r}")
    value = getattr(import_module(f"whet.evaluate.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
