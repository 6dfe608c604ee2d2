"""A plan as text: stages, strategies, verdict."""

from __future__ import annotations

from whet.plan.footprint import Footprint
from whet.plan.make import Plan

MIB = 1 << 20


def plan_text(plan: Plan) -> str:
    """What `whet plan` prints."""
    parts = [_head(plan), _stages(plan), _strategies(plan), _money(plan)]
    return "\n\n".join([*parts, "\n".join([*plan.notes, fit_verdict(plan)])])


def fit_verdict(plan: Plan) -> str:
    """Whether it fits, how long it takes, what it costs; and what to do if it does not fit."""
    held = plan.held
    took = f"about {rough_duration(plan.seconds)}"
    if plan.fits(held):
        most = f"{bytes_text(held.device_bytes)} of {bytes_text(plan.machine.device_bytes)}"
        return f"It fits: strategy={plan.chosen} takes {most} a process, and {took}."
    fitting = [name for name, footprint in plan.footprints.items() if plan.fits(footprint)]
    remedy = (
        f"strategy={fitting[0]} would."
        if fitting
        else "No strategy does: loss.cache=always, a smaller loss.chunk_tokens, "
        "trainer.activation_checkpointing=always or more launch.num_workers take less."
    )
    return f"It does not fit: strategy={plan.chosen} takes {_too_much(plan, held)}. {remedy}"


def _too_much(plan: Plan, held: Footprint) -> str:
    if held.device_bytes > plan.machine.device_bytes:
        return (
            f"{bytes_text(held.device_bytes)} a process, and the device has "
            f"{bytes_text(plan.machine.device_bytes)}"
        )
    return (
        f"{bytes_text(held.host_bytes)} of the computer's memory, which has "
        f"{bytes_text(plan.machine.host_bytes)}"
    )


def rough_duration(seconds: float) -> str:
    """`45 s`, `8 min 5 s`, `3 h 20 min`, `2 days 4 h`.

    >>> rough_duration(45), rough_duration(485), rough_duration(12_000), rough_duration(187_200)
    ('45 s', '8 min 5 s', '3 h 20 min', '2 days 4 h')
    """
    whole = round(seconds)
    for unit, size, smaller, small in (
        (" days", 86_400, "h", 3600),
        (" h", 3600, "min", 60),
        (" min", 60, "s", 1),
    ):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // small} {smaller}"
    return f"{whole} s"


def _head(plan: Plan) -> str:
    work, rates = plan.work, plan.rates
    texts_s = 1 / (rates.encode.document_s * work.corpus.tokens)
    processes = plan.setting.processes
    return "\n".join(
        [
            f"{plan.name}: {work.documents:,} documents, {work.pairs:,} training pairs, "
            f"{work.judged.distinct:,} queries to judge by; "
            f"{plan.setting.shape.weights / 1e6:,.1f} M weights",
            f"{processes} process{'es' if processes > 1 else ''} on {plan.machine.device}, "
            f"strategy={plan.chosen}",
            f"measured in {rates.seconds:.0f} s: {texts_s:,.0f} documents/s of "
            f"{work.corpus.tokens:.0f} tokens, a step of {rates.step.pairs} pairs and "
            f"{rates.step.tokens:,} tokens in {rates.step.seconds:.2f} s",
        ]
    )


def _stages(plan: Plan) -> str:
    work, whole = plan.work, plan.estimate
    judged, mined = work.judged_documents, work.mined_documents
    new = judged.missing + work.judged.missing
    every = judged.distinct + work.judged.distinct
    on = "" if work.pool is None else f", judged on a pool of {work.pool:,} documents"
    among = "" if work.among is None else f", among at most {mined.distinct:,} documents"
    per_step = f"{work.steps:,} steps of {work.step.pairs} pairs, {whole.step.alone_s:.2f} s each"
    if whole.step.talk_s:
        per_step += f" and {whole.step.talk_s:.3f} s between processes"
    if work.refreshes:
        share = work.refreshes * whole.refresh_s / max(1e-9, whole.stages["train"])
        per_step += (
            f"; {work.refreshes} refreshes of {rough_duration(whole.refresh_s)}, {share:.0%} of it"
        )
    what = {
        "judge the base model": f"{new:,} of {every:,} texts are not encoded yet{on}",
        "mine": f"{work.learned.missing:,} more queries to encode; {work.learned.distinct:,} of "
        f"{work.queries:,} mined, those that the steps read{among}",
        "train": per_step,
        "judge the tuned model": f"{every:,} texts{on}",
    }
    rows = [("load data and model", plan.load_s, "")]
    rows += [(name, s, what[name]) for name, s in whole.stages.items()]
    rows.append(("all", plan.seconds, rough_duration(plan.seconds)))
    return aligned(
        ("stage", "seconds", ""), [(name, f"{s:,.1f}", text) for name, s, text in rows], "<><"
    )


def _strategies(plan: Plan) -> str:
    """Memory by part, a row a strategy; on a CPU all of it is one memory."""
    gpu = plan.setting.gpu
    parts = _parts(gpu=gpu)
    columns = ["strategy", *parts, "a GPU" if gpu else "a process"]
    columns += ["a process"] if gpu else []
    columns += ["sent a step", "fits"]
    rows = []
    for name, held in plan.footprints.items():
        of = held.device
        cells = [
            name,
            *(bytes_text(of.get(part, 0.0)) for part in parts),
            bytes_text(held.device_bytes),
        ]
        cells += [bytes_text(held.host_bytes)] if gpu else []
        cells += [bytes_text(held.sent_bytes), "yes" if plan.fits(held) else "no"]
        rows.append(tuple(cells))
    return aligned(tuple(columns), rows, "<" + ">" * (len(columns) - 1))


def _parts(*, gpu: bool) -> list[str]:
    names = ["weights", "gradients", "optimizer", "gathered"]
    one_memory = ["encoder", "step or search", "vectors", "checkpoint", "base"]
    return names + (["activations", "loss"] if gpu else one_memory)


def _money(plan: Plan) -> str:
    unit = "GPU-hours" if plan.machine.has_gpu else "machine-hours"
    line = f"{plan.device_hours:,.2f} {unit}"
    if plan.price is not None:
        line += (
            f", {plan.usd:,.2f} USD at {plan.price.usd_an_hour:.2f} an hour ({plan.price.name}; "
            "prices are examples until you set launch.prices)"
        )
    sent = plan.work.steps * plan.held.sent_bytes
    return f"{line}\n{bytes_text(sent)} sent by each process while training"


def bytes_text(count: float) -> str:
    """`1.5 KiB`, `3.2 GiB`; 0 for nothing."""
    if count <= 0:
        return "0"
    for unit, size in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", MIB)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1024:,.1f} KiB"


def aligned(head: tuple[str, ...], rows: list[tuple[str, ...]], sides: str) -> str:
    """A table in columns, each to the side that `sides` says: < or >."""
    lines = [head, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths, strict=True)
        ).rstrip()
        for line in lines
    )
