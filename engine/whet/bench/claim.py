"""A published figure, and whether ours is the same."""

from __future__ import annotations

from whet.config import ClaimConfig
from whet.data.load import Dataset
from whet.errors import DataError


def check_data(claim: ClaimConfig, data: Dataset) -> None:
    """DataError where a recipe is about other data than these."""
    if claim.digest is not None and claim.digest != data.digest:
        raise DataError(
            f"{data.path}: the recipe is about data of the digest {claim.digest[:12]}, and these "
            f"have {data.digest[:12]}: texts or judgments differ. Take the files the recipe names, "
            "or set claim.digest=null to measure these."
        )


def applies(claim: ClaimConfig, model: str) -> bool:
    """Whether the claim has a figure, and of this model."""
    return claim.value is not None and claim.model == model


def claim_verdict(claim: ClaimConfig, value: float) -> str:
    """What a claimed figure and ours say together: reproduced, differs (why), or not published.

    >>> claim_verdict(ClaimConfig(value=0.645, tolerance=0.005), 0.6481)
    'reproduced'
    >>> claim_verdict(ClaimConfig(value=0.645), 0.6601)
    'differs by +0.0151'
    """
    if claim.value is None:
        return "none published"
    if abs(value - claim.value) <= claim.tolerance:
        return "reproduced"
    difference = f"differs by {value - claim.value:+.4f}"
    return f"{difference}: {claim.reason}" if claim.reason else difference
