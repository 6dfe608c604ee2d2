"""`whet plan adapt`: count, measure, and say what an adaptation would take."""

from __future__ import annotations

import time

from whet.adaptation.generate.bill import told_bill
from whet.adaptation.generate.generated import check_generate, shown_examples
from whet.adaptation.log import data_and_log
from whet.config import PlanAdaptConfig
from whet.config.ranges import budget_seconds, check_options
from whet.data.load import read_dataset
from whet.errors import ConfigError, EnvironmentRefused
from whet.plan.prices import price_of
from whet.progress import paragraph, say


def plan_adapt_command(config: PlanAdaptConfig) -> int:
    """`whet plan adapt`: print it. Returns 4 if it would not fit as things are, else 0."""
    start_s = time.monotonic()
    check_options(config)
    if config.budget is not None:
        budget_seconds(config.budget)
    if any(count < 1 for count in config.documents):
        raise ConfigError(
            f"documents={config.documents} holds no number of documents. It takes 1 or more each, "
            "such as documents=[10000000]."
        )
    check_generate(config)
    price_of("", config.prices, option="prices")  # a list that is none is refused before any work
    data, log = data_and_log(config)
    from whet.adaptation.planned.overview import adapt_plan_text  # these load torch
    from whet.adaptation.planned.planner import make_adapt_plan
    from whet.adaptation.planned.within import budget_of
    from whet.model.towers import open_model

    start = time.perf_counter()
    read_dataset(config.data)  # again, as the adaptation will find them: converted
    base = open_model(config.model)
    opened_s = time.perf_counter() - start
    say("Measuring what this machine does ...")
    plan = make_adapt_plan(
        data,
        log,
        base,
        config,
        opened_s=opened_s,
        sizes=config.documents,
        prices=config.prices,
    )
    print(adapt_plan_text(plan))
    if config.budget is not None:
        say(str(budget_of(plan, config.budget, start_s=start_s)))
    if plan.amounts.bill is not None:
        examples = shown_examples(log.queries, config.generate, seed=config.seed)
        where = config.generate.url or "this machine"
        say(paragraph(told_bill(plan.amounts.bill, examples, config.generate, where)))
    return 0 if plan.fits(plan.now) else EnvironmentRefused.exit_code
