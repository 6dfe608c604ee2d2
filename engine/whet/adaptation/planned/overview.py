"""The plan of an adaptation as text: a column for the documents there are, and for each number of
documents asked for.
"""

from __future__ import annotations

from whet.adaptation.planned.costs import ANSWER_S
from whet.adaptation.planned.planner import AdaptPlan
from whet.plan.table import aligned, bytes_text, rough_duration

STAGES = {
    "load": "data and model",
    "encode": "the documents",
    "words": "counted",
    "generate": "by the language model",
    "adapt": "gates, and what is learned",
    "ask": "judgments wanted, examples",
    "write": "model and report",
}


def adapt_plan_text(plan: AdaptPlan) -> str:
    """What `whet plan adapt` prints."""
    return "\n\n".join([_head(plan), _columns(plan), "\n".join([*_notes(plan), verdict(plan)])])


def _head(plan: AdaptPlan) -> str:
    amounts, rates = plan.amounts, plan.rates
    tokens = amounts.corpus.tokens
    what = f"{amounts.corpus.missing:,} of {amounts.corpus.distinct:,} texts are not encoded yet"
    return "\n".join(
        [
            f"{plan.name}: {amounts.documents:,} documents, {what}; a log of {amounts.log:,} "
            f"queries, {amounts.judged:,} judged ones to learn from; search={plan.search}",
            f"measured in {rates.seconds:.0f} s on {plan.place.machine.device}: "
            f"{1 / (rates.token_s * tokens):,.1f} documents/s of {tokens:.0f} tokens",
        ]
    )


def _columns(plan: AdaptPlan) -> str:
    """A row a stage, then what all of it takes."""
    costs = plan.costs
    head = ("stage", *(f"{cost.documents:,}" for cost in costs), "")
    rows = [
        (name, *(rough_duration(cost.stages[name]) for cost in costs), STAGES[name])
        for name in costs[0].stages
    ]
    rows.append(("all", *(rough_duration(cost.seconds) for cost in costs), ""))
    sizes = {
        "memory": ([cost.memory_bytes for cost in costs], "vectors in a file left out"),
        "disk": ([cost.kept_bytes for cost in costs], "tables, words, vectors; stays"),
        "besides": ([cost.passing_bytes for cost in costs], "on disk while it runs"),
    }
    for name, (sized, what) in sizes.items():
        rows.append((name, *map(bytes_text, sized), what))
    unit = "GPU-hours" if plan.place.machine.has_gpu else "hours"
    rows.append((unit, *(f"{cost.hours:,.2f}" for cost in costs), "of this machine"))
    if plan.place.price is not None:
        per = f"at {plan.place.price.usd_an_hour:.2f} an hour ({plan.place.price.name})"
        rows.append(("USD", *(f"{cost.usd:,.2f}" for cost in costs), per))
    rows.append(("fits", *("yes" if plan.fits(cost) else "no" for cost in costs), ""))
    return aligned(head, rows, "<" + ">" * len(costs) + "<")


def _notes(plan: AdaptPlan) -> list[str]:
    """What the figures leave out, or take as given."""
    notes = []
    if len(plan.costs) > 1:
        notes.append(
            "More documents are taken to be like these, read from jsonl, and searched on a machine "
            "like this one."
        )
    if plan.amounts.bill is not None:
        notes.append(
            f"Taken as given: {ANSWER_S:g} s for an answer of the language model, for a plan sends "
            "nothing."
        )
    if plan.reranks:
        notes.append("Not counted: the cross-encoder of generate.judge.")
    if plan.place.price is None:
        notes.append("The price list does not know this device: prices=FILE names another.")
    elif not plan.own_prices:
        notes.append("Prices are examples until you set prices=FILE.")
    return notes


def verdict(plan: AdaptPlan) -> str:
    """Whether it fits as things are, and how long it takes; what to do where it does not."""
    now, machine = plan.now, plan.place.machine
    took = f"about {rough_duration(now.seconds)}"
    memory = f"{bytes_text(now.memory_bytes)} of {bytes_text(machine.host_bytes)} of memory"
    disk = f"{bytes_text(now.free_bytes)} of {bytes_text(plan.place.free_bytes)} free on the disk"
    if plan.fits(now):
        return f"It fits: {memory}, {disk}, and {took}."
    if now.memory_bytes > machine.host_bytes:
        return f"It does not fit: it takes {memory}. A machine with more memory would do."
    return f"It does not fit: it takes {disk}. Make room, or set WHET_CACHE to a larger disk."
