"""`whet plan`: count, probe, estimate, and say what the job would take."""

from __future__ import annotations

import time
from dataclasses import replace

from whet.config import FitConfig
from whet.data.load import tell_remarks
from whet.errors import EnvironmentRefused
from whet.evaluation.selection.dev_part import parts_of
from whet.progress import say
from whet.run.early import check_job


def plan_command(config: FitConfig) -> int:
    """`whet plan`: print what the fit would take. Returns 4 if it would not fit, else 0."""
    start = time.monotonic()
    data = check_job(replace(config, output=None, resume=None))  # a plan writes to neither
    from whet.model.encoder import Encoder  # these load torch and Lightning
    from whet.plan.budget import choose
    from whet.plan.make import keep_plan, make_plan
    from whet.plan.table import plan_text
    from whet.plan.workload import Split
    from whet.run.refusals import check_fit

    check_fit(config)
    tell_remarks(data)
    parts = parts_of(data, config)
    split = Split(parts.train, parts.judged, data.positives(parts.train), parts.dev)
    encoder = Encoder.load(config.model)
    if config.budget is not None:
        spent_s = time.monotonic() - start
        choice = choose(data, split, encoder, config, spent_s=spent_s)
        say(str(choice))
        config = choice.applied(config)
    plan = make_plan(data, split, encoder, config, load_s=time.monotonic() - start)
    kept = keep_plan(plan, config, data.digest)
    print(plan_text(plan))
    say(f"Kept for the fit to compare itself with: {kept}")
    return 0 if plan.fits(plan.held) else EnvironmentRefused.exit_code
