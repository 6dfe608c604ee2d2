"""The cases of the search page: a file of their own, so that another process can run them."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_cases import OF_THE_PAGE, run_case
from test_cases import shared as shared  # the fixture


@pytest.mark.slow
@pytest.mark.parametrize("case", OF_THE_PAGE)
def test_all_is_as_it_must_be(case: Path, shared: Path) -> None:
    run_case(case, shared)
