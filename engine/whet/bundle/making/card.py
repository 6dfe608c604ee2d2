"""README.md of a bundle: the model card, every value of it from what was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from whet.bundle.facts import Facts
from whet.bundle.making.licences import Licence, licence_fields
from whet.bundle.making.openness import Openness
from whet.evaluation.pool.size import recorded_pool
from whet.run.model_card import USE, front_matter, measures_table, pairs_seen, words_section
from whet.training.batches.order import Order

CARD = """{front}

# {name}, {title}

{name} {made} by Whet {version} on {pairs} of {data},
in {steps:,} steps of {batch_size}. Every value on this page was recorded when that ran.

{table}

Judged on {queries:,} queries that were not trained on, searching {searched}. {verdict}

{use}

## Openness

| part | state | where | licence | licence from |
|---|---|---|---|---|
{parts}

What the licences of the training data and the base weights permit together, read with care (as if
weights were derived from both):

{permits}

{words}This is computed from what is stated; it is no legal advice.

## What made it

| | |
|---|---|
{facts}

## Check it, and do it again

```sh
whet verify FOLDER                  # every hash; names the first file that differs
whet reproduce FOLDER{needs}  # the same run again, compared
```

The root of the hash tree is in `provenance.json`, an in-toto statement with SLSA provenance; the
configuration, packages, negatives and logs are in `training/`.
"""


def bundle_card(
    facts: Facts,
    openness: Openness,
    licences: dict[str, Licence],
    results: dict[str, Any],
    language: Sequence[str] = (),
) -> str:
    """The card's text; `results` are the `whet_` fields of the provenance."""
    order = Order(
        facts.environment["data"]["train pairs"],
        facts.config["trainer"]["batch_size"],
        facts.config["seed"],
    )
    data, comparison = facts.environment["data"], facts.comparison
    pool = recorded_pool(comparison.get("pool"))
    parts = [
        f"| {part.name} | {part.state} | {part.where} | {part.licence or 'unknown'} "
        f"| {part.licence_from} |"
        for part in openness.parts
    ]
    kept = [part.name for part in openness.parts if part.state != "present"]
    needs = " data=DATA    " if "training data" in kept else " " * 13
    title, made = f"sharpened on {facts.origin['data']['name']}", "trained further"
    if comparison.get("base_came_back"):
        title, made = "as it was", "unchanged: it was not made better"
    return CARD.format(
        title=title,
        made=made,
        front=front_matter(
            facts.origin,
            comparison["rows"],
            licence=licence_fields(openness.licence),
            language=language,
            pool=pool,
        ),
        name=facts.config["model"]["name"],
        data=facts.origin["data"]["name"],
        version=facts.origin["code"]["version"],
        pairs=pairs_seen(order, facts.steps),
        searched=pool.of_all if pool else f"all {data['documents']:,} documents",
        queries=data["judged queries"],
        steps=facts.steps,
        batch_size=facts.config["trainer"]["batch_size"],
        table=measures_table(comparison["rows"], pool),
        verdict=comparison["verdict"],
        use=USE + words_section(facts.folder / "model").rstrip("\n"),
        parts="\n".join(parts),
        permits="\n".join(f"- {line}" for line in openness.sentences),
        words=stated_in_words(licences),
        facts="\n".join(f"| {name} | {text} |" for name, text in _rows(facts, results)),
        needs=needs,
    )


def stated_in_words(licences: dict[str, Licence]) -> str:
    """What files say of licences beside a name, quoted for a card; nothing where they say none."""
    lines = [f"- {name}, {words}" for name, licence in licences.items() for words in licence.words]
    if not lines:
        return ""
    return "Stated in words, and not read as a licence:\n\n" + "\n".join(lines) + "\n\n"


def _rows(facts: Facts, results: dict[str, Any]) -> list[tuple[str, Any]]:
    config, origin, machine = facts.config, facts.origin, facts.origin["machine"]
    data, model, trainer = origin["data"], origin["model"], config["trainer"]
    mining = config["mining"]
    where = model["package"] or ("a folder" if model["local"] else "Hugging Face")
    window = f"relative margin {mining['relative_margin']}, from {mining['sampling']}"
    against = origin["determinism"]["against"]
    return [
        ("base model", f"`{model['name']}` ({where}), revision {model['revision'] or 'none'}"),
        ("base model's fingerprint", f"`{model['fingerprint']}`"),
        ("data", f"{data['name']}: {data['documents']:,} documents, {data['queries']:,} queries"),
        ("data, sha256 of ids, texts and judgments", f"`{data['digest']}`"),
        ("judgments", ", ".join(f"{name} {n:,}" for name, n in data["splits"].items()) or "none"),
        ("negatives", f"{mining['num_negatives']} a pair, {window}"),
        ("loss", f"InfoNCE, temperature {config['loss']['temperature']}"),
        ("learning rate", f"{trainer['learning_rate']}, warm-up {trainer['warmup_ratio']}"),
        ("seed", config["seed"]),
        (
            "same bits again",
            "; ".join(against) if against else "yes, on this hardware and versions",
        ),
        ("code", f"whet {origin['code']['version']}, {_commit(origin['code'])}"),
        ("machine", f"{machine['cpu']}, {machine['threads']} threads, {_gpus(machine)}"),
        ("processes", origin["processes"]),
        ("time", ", ".join(f"{name} {s:,.0f} s" for name, s in results["seconds"].items())),
        ("energy", _energy(facts.environment["joules"])),
        ("versions", ", ".join(f"{k} {v}" for k, v in facts.environment["versions"].items())),
    ]


def _commit(code: dict[str, Any]) -> str:
    if code["kind"] == "installed":
        return "as installed"
    changed = " with changes not committed" if code["diff"] or code["new_files"] else ""
    return f"commit `{(code['commit'] or 'unknown')[:12]}`{changed}"


def _gpus(machine: dict[str, Any]) -> str:
    return ", ".join(machine["gpus"]) or "no GPU"


def _energy(joules: dict[str, float]) -> str:
    if not joules:
        return "not measured: no counter could be read"
    spent = ", ".join(f"{device} {value / 3600:,.1f} Wh" for device, value in joules.items())
    return f"{spent} (whole devices, other work on them included)"
