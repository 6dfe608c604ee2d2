"""What a language model will be asked, told before it is, and asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np

from whet.adaptation.generate.address import HERE
from whet.adaptation.generate.prompt import READ, Messages, to_judge, to_write
from whet.config import GenerateConfig
from whet.data.table import TextTable
from whet.errors import ConfigError
from whet.printable import printable
from whet.progress import paragraph, say

LOOKED_AT = 500  # documents whose length is looked at
BYTES_A_TOKEN = 4  # of UTF-8, as tokenizers of today have it in the mean of prose
FRAME = 8  # tokens around a message
OF_A_QUERY, OF_A_VERDICT = 16, 2  # tokens that are written
TYPICAL = "a query of about as many words as this one"
LLM = "llm"  # as judge


@dataclass(frozen=True)
class Bill:
    """At most so many requests, and about so many tokens sent and written."""

    requests: int
    tokens_in: int
    tokens_out: int

    def money(self, price_in: float, price_out: float) -> float:
        """What that costs by prices of a million tokens each."""
        return (self.tokens_in * price_in + self.tokens_out * price_out) / 1e6


def estimated(corpus: TextTable, examples: Sequence[str], config: GenerateConfig) -> Bill:
    """The bill of a query, and where the model judges too of a verdict, for each document."""
    count = min(config.documents, len(corpus))
    rows = np.arange(0, len(corpus), max(1, len(corpus) // LOOKED_AT))[:LOOKED_AT]
    texts = corpus.texts(rows)
    each = _mean([_tokens(to_write(text, examples, turn)) for turn, text in enumerate(texts)])
    written, requests = OF_A_QUERY, count
    if config.judge == LLM:
        each += _mean([_tokens(to_judge(TYPICAL, text)) for text in texts])
        written, requests = OF_A_QUERY + OF_A_VERDICT, 2 * count
    return Bill(requests, round(count * each), count * written)


def _mean(numbers: list[int]) -> float:
    return sum(numbers) / len(numbers)


def _tokens(messages: Messages) -> int:
    return sum(len(one["content"].encode()) // BYTES_A_TOKEN + FRAME for one in messages)


def agreed(bill: Bill, examples: Sequence[str], config: GenerateConfig, where: str) -> None:
    """Tell the bill; return where it is agreed to, by generate.yes=true or on a terminal.
    ConfigError where it is not: nothing was sent.
    """
    say(paragraph(told_bill(bill, examples, config, where)))
    if config.yes:
        return
    if sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty():
        say("Send it? [y/N]")
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return
    raise ConfigError(
        "Nothing was sent. To agree to the cost above, add generate.yes=true; for less, "
        "generate.documents=N."
    )


def told_bill(bill: Bill, examples: Sequence[str], config: GenerateConfig, where: str) -> str:
    """What is asked of which model, how much of it, and what is sent."""
    sent = f"the first {READ:,} characters of each document"
    if examples:
        sent += f" and {len(examples)} queries of the log"
    prices = config.price_in, config.price_out
    if None not in prices:
        money = f"{bill.money(*prices):,.2f} at the prices given"  # type: ignore[arg-type]
    else:
        money = "generate.price_in= and generate.price_out= (per million tokens) tell the money"
    return (
        f"{printable(config.model or config.local)} at {printable(where)} will be asked at most "
        f"{bill.requests:,} times: about {_roughly(bill.tokens_in)} tokens sent and "
        f"{_roughly(bill.tokens_out)} written, more where a model thinks aloud; {money}. Sent are "
        f"{sent}. What was answered before is not asked again." + _in_the_clear(config)
    )


def _in_the_clear(config: GenerateConfig) -> str:
    """A warning where a key leaves this machine unencrypted."""
    parts = urlsplit(config.url or "")
    if config.key is None or parts.scheme != "http" or parts.hostname in HERE:
        return ""
    return " The key goes there unencrypted: https:// would hide it."


def _roughly(count: int) -> str:
    """A number of which three digits are meant.

    >>> _roughly(619_356), _roughly(42)
    ('619,000', '42')
    """
    return f"{round(count, min(0, 3 - len(str(count)))):,}"
