"""The price list: what a device costs per hour, and how fast its processes talk to each other."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from whet.errors import ConfigError


@dataclass(frozen=True)
class Price:
    """One row: the name it was found by, US dollars per hour, bytes per second between
    processes.
    """

    name: str
    usd_an_hour: float
    link_bytes_s: float


def price_of(
    device: str, path: str | None = None, *, option: str = "launch.prices"
) -> Price | None:
    """The row whose name is part of the device's, the longest such; None where there is none.

    `path` is a list of one's own, which `option` names; the one that comes with Whet holds
    examples. Raises ConfigError for a file that is no price list.

    >>> price_of("NVIDIA A100-SXM4-80GB").name
    'A100'
    >>> price_of("an unknown device")
    """
    import yaml

    where = Path(path) if path else files("whet_conf") / "prices.yaml"
    try:
        rows = yaml.safe_load(where.read_text(encoding="utf-8"))["devices"]
        prices = {
            str(name): (float(row["usd_an_hour"]), float(row["link_gb_a_second"]))
            for name, row in rows.items()
        }
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"{option}={path}: no price list ({type(error).__name__}: {reason}). Write it "
            "like conf/whet_conf/prices.yaml."
        ) from error
    fitting = [name for name in prices if name.casefold() in device.casefold()]
    if not fitting:
        return None
    # The longest is the most exact: an A100 is no A10.
    name = max(fitting, key=len)
    dollars, link = prices[name]
    return Price(name, dollars, link * 1e9)
