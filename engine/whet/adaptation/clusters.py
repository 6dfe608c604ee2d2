"""Vectors in clusters, so that what is drawn of a corpus is drawn from all of its topics.

Shape suffixes: N vectors, K centres, D dimensions.
"""

from __future__ import annotations

import numpy as np

ROUNDS = 8
LEARNED_FROM = 50_000  # vectors the centres are made from
AT_ONCE = 8192  # vectors compared with the centres at a time


def clusters_of(vector_ND: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """The cluster of each vector, int64 [N], of at most `count`: spherical k-means, by cosine
    (Dhillon and Modha, 2001), begun at `count` vectors drawn by seed.
    """
    random = np.random.default_rng(seed)
    count = min(count, len(vector_ND))
    drawn = np.sort(random.permutation(len(vector_ND))[:LEARNED_FROM])
    sample_SD = np.asarray(vector_ND[drawn], np.float32)
    centre_KD = _unit(sample_SD[np.sort(random.permutation(len(sample_SD))[:count])])
    for _ in range(ROUNDS):
        nearest_S = _nearest(sample_SD, centre_KD)
        sum_KD = np.zeros_like(centre_KD)
        np.add.at(sum_KD, nearest_S, sample_SD)
        full_K = np.bincount(nearest_S, minlength=count) > 0
        centre_KD = np.where(full_K[:, None], _unit(sum_KD), centre_KD)
    return _nearest(vector_ND, centre_KD)


def evenly(cluster_N: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """At most `count` places, one of each cluster in turn, int64; within a cluster by seed.

    >>> np.array([0, 0, 0, 0, 1])[evenly(np.array([0, 0, 0, 0, 1]), 3, seed=0)].tolist()
    [0, 1, 0]
    """
    order_N = np.random.default_rng(seed).permutation(len(cluster_N))
    by_cluster_N = order_N[np.argsort(cluster_N[order_N], kind="stable")]
    sorted_N = cluster_N[by_cluster_N]
    turn_N = np.arange(len(sorted_N)) - np.searchsorted(sorted_N, sorted_N)
    return by_cluster_N[np.lexsort((sorted_N, turn_N))][:count]


def _nearest(vector_ND: np.ndarray, centre_KD: np.ndarray) -> np.ndarray:
    parts = [
        (np.asarray(vector_ND[start : start + AT_ONCE], np.float32) @ centre_KD.T).argmax(1)
        for start in range(0, len(vector_ND), AT_ONCE)
    ]
    return np.concatenate(parts)


def _unit(vector_ND: np.ndarray) -> np.ndarray:
    length_N1 = np.linalg.norm(vector_ND, axis=1, keepdims=True)
    unit_ND: np.ndarray = vector_ND / np.maximum(length_N1, 1e-9)
    return unit_ND
