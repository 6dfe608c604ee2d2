"""An option says all that holds for it at its field, and the field stays an ordinary one."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from whet.config.option import Rules, option, recorded_option, rules_of
from whet.config.ranges import check_options
from whet.errors import ConfigError


@dataclass
class Inner:
    share: float | None = recorded_option(None, "a share", least=0, most=1)
    kind: str | None = recorded_option(None, "which", choices=("this", "that"))


@dataclass
class Outer:
    inner: Inner = field(default_factory=Inner)
    names: list[str] = option(["a"], "some names", path=True)


INF = float("inf")


def test_the_rules_are_found_by_key() -> None:
    assert rules_of(Outer) == {
        "inner.share": Rules("a share", (), 0, 1, recorded=True, path=False),
        "inner.kind": Rules("which", ("this", "that"), None, INF, recorded=True, path=False),
        "names": Rules("some names", (), None, INF, recorded=False, path=True),
    }


def test_two_configurations_share_no_list() -> None:
    one = Outer()
    one.names.append("b")
    assert (one.names, Outer().names) == (["a", "b"], ["a"])


@pytest.mark.parametrize("inner", [Inner(), Inner(0, "this"), Inner(1, "that"), Inner(0.5)])
def test_what_the_field_says_is_allowed(inner: Inner) -> None:
    check_options(Outer(inner))


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (Inner(-0.1), "inner.share=-0.1 is out of range. It takes 0 to 1."),
        (Inner(float("nan")), "inner.share=nan is out of range. It takes 0 to 1."),
        (Inner(kind="thus"), "inner.kind=thus is unknown. Did you mean this? It takes this, that."),
    ],
)
def test_anything_else_is_refused(inner: Inner, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_options(Outer(inner))
    assert str(refused.value) == message
