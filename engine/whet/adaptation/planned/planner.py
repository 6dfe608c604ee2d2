"""The plan of an adaptation: counted, measured, and what follows from both."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from whet.adaptation.generate.bill import LLM
from whet.adaptation.log import QueryLog
from whet.adaptation.planned.amounts import AdaptAmounts, amounts_of
from whet.adaptation.planned.costs import AdaptCost, Surroundings, cost_of
from whet.adaptation.planned.measured import AdaptRates, probe_adapt
from whet.config import AdaptConfig
from whet.data.load import Dataset
from whet.model.encoder import Encoder
from whet.model.towers import Towers
from whet.plan.machine import this_machine
from whet.plan.prices import price_of
from whet.processes.devices import choose_device
from whet.storage.places import cache_folder


@dataclass(frozen=True)
class AdaptPlan:
    """What an adaptation takes: as things are, and with other numbers of documents."""

    name: str
    search: str
    amounts: AdaptAmounts
    rates: AdaptRates
    place: Surroundings
    costs: tuple[AdaptCost, ...]  # the first is of the documents there are
    own_prices: bool  # not those that come with Whet
    reranks: bool  # a cross-encoder judges what a language model's queries find

    @property
    def now(self) -> AdaptCost:
        """Of the documents there are."""
        return self.costs[0]

    def fits(self, cost: AdaptCost) -> bool:
        """Whether this machine has the memory, and the disk the room."""
        memory = cost.memory_bytes <= self.place.machine.host_bytes
        return memory and cost.free_bytes <= self.place.free_bytes


def make_adapt_plan(
    data: Dataset,
    log: QueryLog,
    base: Encoder | Towers,
    config: AdaptConfig,
    *,
    opened_s: float,
    sizes: Sequence[int] = (),
    prices: str | None = None,
) -> AdaptPlan:
    """Count, measure for about 20 seconds, and forecast: for the documents there are, and for each
    of `sizes`. To open the data and the model took `opened_s`.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    amounts = amounts_of(data, log, base, config)
    rates = probe_adapt(data, base, log.queries, amounts, encode=config.encode)
    machine = this_machine(choose_device(config.encode), folder)
    sides = {id(side): side for side in (base.side("query"), base.side("document"))}
    tables = [file for file in data.corpus.path.parent.glob("corpus.*") if file.is_file()]
    place = Surroundings(
        machine=machine,
        price=price_of(machine.device, prices, option="prices"),
        dimension=base.dimension,
        model_bytes=sum(p.nbytes for side in sides.values() for p in side.parameters()),
        opened_s=opened_s,
        table_bytes=sum(file.stat().st_size for file in tables) / len(data.corpus),
        free_bytes=shutil.disk_usage(folder).free,
        requests=config.generate.requests,
    )
    every = [amounts, *(amounts.of_size(count) for count in sizes)]
    return AdaptPlan(
        name=data.name,
        search=config.search,
        amounts=amounts,
        rates=rates,
        place=place,
        costs=tuple(cost_of(one, rates, place) for one in every),
        own_prices=prices is not None,
        reranks=amounts.bill is not None and config.generate.judge not in (None, LLM),
    )
