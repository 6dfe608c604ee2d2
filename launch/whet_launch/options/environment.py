"""What torch's libraries read when they are loaded, set before in every process of a job."""

from __future__ import annotations

from collections.abc import MutableMapping


def prepare_for_torch(environment: MutableMapping[str, str]) -> None:
    """Set what the user has not set; before torch is imported.

    >>> environment = {"OMP_WAIT_POLICY": "ACTIVE", "PYTORCH_CUDA_ALLOC_CONF": ""}
    >>> prepare_for_torch(environment)
    >>> environment
    {'OMP_WAIT_POLICY': 'ACTIVE', 'PYTORCH_CUDA_ALLOC_CONF': ''}
    """
    # Threads of OpenMP that spin while they wait take the cores from others' work, and each waits
    # for the other's.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # On a GPU every batch has another shape: blocks that grow leave no holes between them.
    if "PYTORCH_CUDA_ALLOC_CONF" not in environment:  # its older name
        environment.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
