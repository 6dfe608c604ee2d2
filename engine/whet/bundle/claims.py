"""Whether a bundle agrees with itself: its measures are those of its own queries' scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from whet.bundle.spread import means_of, read_scores
from whet.readable import readable_json

ROUNDING = 1e-9  # a mean is written with all its digits


def contradiction(folder: Path, statement: dict[str, Any]) -> str | None:
    """What in a bundle contradicts the rest of it, in words; None where nothing does.

    The measures that it claims must be those of training/metrics.json, and the means of the scores
    of each query in training/per_query.jsonl. CheckpointError for a file that cannot be read.
    """
    measures = statement["predicate"]["whet_measures"]
    training = folder / "training"
    if readable_json(training / "metrics.json", remedy="Get the bundle again.") != measures:
        return "training/metrics.json has other measures than provenance.json"
    scores = read_scores(training / "per_query.jsonl", remedy="Get the bundle again.")
    for model in ("base", "tuned"):
        means = means_of(scores[model])
        claimed = measures[model]
        if set(means) != set(claimed):
            return f"training/per_query.jsonl has other measures of the {model} model"
        for name, value in claimed.items():
            if abs(means[name] - value) > ROUNDING:
                return (
                    f"it claims {name} {value:.4f} of the {model} model, and the mean over its own "
                    f"queries is {means[name]:.4f} (training/per_query.jsonl)"
                )
    return None
