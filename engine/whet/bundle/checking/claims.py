"""Whether a bundle agrees with itself: its measures are those of its own queries' scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from whet.bundle.spread import means_of, read_scores
from whet.printable import printable
from whet.storage.readable import readable_json, readable_text, readable_yaml

ROUNDING = 1e-9  # a mean is written with all its digits
AGAIN = "Get the bundle again."


def contradiction(folder: Path, statement: dict[str, Any]) -> str | None:
    """What in a bundle contradicts the rest of it, in words; None where nothing does.

    The files that its run left have the hashes that are listed, its configuration is that of
    training/config.yaml, and its measures are none of `false_measures`. CheckpointError for a file
    that cannot be read.
    """
    predicate = statement["predicate"]
    listed = {entry["name"]: entry["digest"]["sha256"] for entry in statement["subject"]}
    for entry in predicate["runDetails"]["byproducts"]:
        if listed.get(entry["name"]) != entry["digest"]["sha256"]:
            return f"{entry['name']} is listed with another hash among the byproducts"
    config = predicate["buildDefinition"]["externalParameters"]["config"]
    if _plain_yaml(folder / "training/config.yaml") != config:
        return "training/config.yaml is not the configuration that provenance.json has"
    return false_measures(folder, statement)


def false_measures(folder: Path, statement: dict[str, Any]) -> str | None:
    """Which claimed measure is not that of training/metrics.json, or not the mean of the scores of
    each query in training/per_query.jsonl; None where all are. CheckpointError as above.
    """
    measures, training = statement["predicate"]["whet_measures"], folder / "training"
    if readable_json(training / "metrics.json", remedy=AGAIN) != measures:
        return "training/metrics.json has other measures than provenance.json"
    scores = read_scores(training / "per_query.jsonl", remedy=AGAIN)
    wrong = (_other_means(scores[model], measures, model) for model in scores)
    return next((words for words in wrong if words), None)


def _other_means(
    scores: dict[str, list[float]], measures: dict[str, Any], model: str
) -> str | None:
    means, claimed = means_of(scores), measures[model]
    if set(means) != set(claimed):
        return f"training/per_query.jsonl has other measures of the {model} model"
    for name, value in claimed.items():
        if abs(means[name] - value) > ROUNDING:
            return (
                f"it claims {printable(name)} {value:.4f} of the {model} model, and the mean over "
                f"its own queries is {means[name]:.4f} (training/per_query.jsonl)"
            )
    return None


def _plain_yaml(path: Path) -> Any:
    """What the file holds; None where values in it stand for others, which may grow without end."""
    import yaml

    held = readable_yaml(path, remedy=AGAIN)
    events = yaml.parse(readable_text(path, remedy=AGAIN))
    return None if any(isinstance(event, yaml.AliasEvent) for event in events) else held
