"""The processes that do one job together, and what they say to each other.

Every process runs the same code on the same inputs; `world()` says which of them this one is. What
they exchange here goes through the CPU (gloo), whatever carries the gradients. One process alone
needs none of it, and torch is not imported for it.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from whet.errors import WhetError

Value = TypeVar("Value")
LONGEST_WAIT_S = 86_400.0


@dataclass(frozen=True)
class World:
    """This process among those of the job.

    `device_index` is its GPU among those it sees. `group` carries messages between CPUs.
    """

    rank: int = 0
    size: int = 1
    device_index: int = 0
    group: Any = None

    @property
    def leader(self) -> bool:
        """Whether this process writes the run folder and speaks to the user."""
        return self.rank == 0


_here = World()


def world() -> World:
    """The job's processes: one, unless a launcher has joined more."""
    return _here


@contextmanager
def joined(device_index: int = 0, *, seconds: float = LONGEST_WAIT_S) -> Iterator[World]:
    """Be one of the processes of torch's process group, which must be there, for the block.

    A process that waits longer than `seconds` for the others gives up with an error: long, since
    one that is gone is found by its heartbeat (whet.processes.heartbeat), and one that is slow may
    have ten hours of encoding to do.
    """
    import datetime

    import torch.distributed as dist

    global _here
    group = dist.new_group(backend="gloo", timeout=datetime.timedelta(seconds=seconds))
    before = _here
    _here = World(dist.get_rank(), dist.get_world_size(), device_index, group)
    try:
        yield _here
    finally:
        _here = before


def barrier() -> None:
    """Wait until every process is here."""
    gathered(None)


def gathered(value: Value) -> list[Value]:
    """Every process's value (anything that can be pickled), by rank."""
    if _here.size == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * _here.size
    dist.all_gather_object(values, value, group=_here.group)
    return values


def together(do: Callable[[], Value]) -> Value:
    """Do it in every process; if it fails in one, all raise its error instead of waiting for it."""
    if _here.size == 1:
        return do()
    result, error = _attempt(do)
    _raise_first(gathered(error))
    return result  # type: ignore[return-value]


def from_leader(make: Callable[[], Value]) -> Value:
    """Make it in the leader alone; every process gets what it made, or raises its error."""
    if _here.size == 1:
        return make()
    import torch.distributed as dist

    made: list[Any] = [_attempt(make) if _here.leader else (None, None)]
    dist.broadcast_object_list(made, src=0, group=_here.group)
    value: Value
    value, error = made[0]
    _raise_first([error])
    return value


def summed(array: np.ndarray) -> np.ndarray:
    """The element-wise sum over processes of arrays of one shape."""
    if _here.size == 1:
        return array
    import torch
    import torch.distributed as dist

    total = torch.from_numpy(np.ascontiguousarray(array).copy())
    dist.all_reduce(total, group=_here.group)
    return total.numpy()


def stacked(array: np.ndarray) -> np.ndarray:
    """The arrays of all processes, of one shape each, as [size, ...]."""
    if _here.size == 1:
        return array[None]
    import torch
    import torch.distributed as dist

    mine = torch.from_numpy(np.ascontiguousarray(array))
    parts = [torch.empty_like(mine) for _ in range(_here.size)]
    dist.all_gather(parts, mine, group=_here.group)
    return torch.stack(parts).numpy()


def exchanged(array: np.ndarray) -> np.ndarray:
    """Each process's array divided by rows over the processes: what all have of this one's share,
    as [size, n, ...]. All arrays have one shape.
    """
    if _here.size == 1:
        return array[None]
    import torch
    import torch.distributed as dist

    places = -(-len(array) // _here.size)
    padded = np.zeros((_here.size * places, *array.shape[1:]), array.dtype)
    parts = [array[share(len(array), rank=rank)] for rank in range(_here.size)]
    for rank, part in enumerate(parts):
        padded[rank * places : rank * places + len(part)] = part
    sent = torch.from_numpy(padded)
    got = torch.empty_like(sent)
    dist.all_to_all_single(got, sent, group=_here.group)
    return got.numpy().reshape(_here.size, places, *array.shape[1:])[:, : len(parts[_here.rank])]


def concatenated(array: np.ndarray) -> np.ndarray:
    """The arrays of all processes, equal but for their first dimension, one after the other."""
    lengths = gathered(len(array))
    padded = np.zeros((max(lengths), *array.shape[1:]), array.dtype)
    padded[: len(array)] = array
    parts = stacked(padded)
    return np.concatenate([part[:length] for part, length in zip(parts, lengths, strict=True)])


def share(count: int, rates_W: np.ndarray | None = None, *, rank: int | None = None) -> slice:
    """This process's (or a rank's) contiguous part of `count` things: equal parts, or in proportion
    to rates.

    >>> share(10)
    slice(0, 10, None)
    """
    rates_W = np.ones(_here.size) if rates_W is None else rates_W
    ends = np.round(count * np.cumsum(rates_W) / np.sum(rates_W)).astype(int)
    mine = _here.rank if rank is None else rank
    return slice(int(ends[mine - 1]) if mine else 0, int(ends[mine]))


def _attempt(do: Callable[[], Value]) -> tuple[Value | None, Exception | None]:
    try:
        return do(), None
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            return None, WhetError(f"process {_here.rank}: {type(error).__name__}: {error}")
        return None, error


def _raise_first(errors: list[Exception | None]) -> None:
    for error in errors:
        if error is not None:
            raise error
