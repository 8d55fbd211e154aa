"""Clusters of images by k-means with the cosine similarity, for DnC (methods/dnc.py)."""

import warnings

import numpy as np


def unit_rows(x: np.ndarray) -> np.ndarray:
    """Rows [N, C] at length 1, float32; a row of zeros stays."""
    x = np.asarray(x, np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float32).tiny)


def cosine_k_means(features: np.ndarray, k: int, most: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """k-means of rows at length 1, whose centres are then brought to length 1; each row is of the most similar one.

    Args:
        features: [N, C], N >= k. most: rows that the centres are found with, drawn where there are more; all are
            assigned. seed: of the draw and of k-means' ten beginnings.

    Returns:
        Clusters [N] in 0..k-1, some perhaps empty, and centres [k, C].
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    rows = unit_rows(features)
    some = rows
    if len(rows) > most:
        some = rows[np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than clusters: some are empty
        found = KMeans(k, n_init=10, random_state=seed % 2**32).fit(some)
    centres = unit_rows(found.cluster_centers_)
    blocks = np.array_split(rows, len(rows) // 65536 + 1)
    return np.concatenate([(block @ centres.T).argmax(1) for block in blocks]), centres


def join_small(clusters: np.ndarray, centres: np.ndarray, least: int) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """Let clusters of fewer than `least` images join the one whose centre is most similar, the smallest first.

    Args:
        clusters: [N], each in 0..k-1. centres: [k, C] at length 1; the centre of a joined cluster is left out.

    Returns:
        Clusters [N], and of each that joined another its number, its images and the other's number.
    """
    clusters, joined = clusters.copy(), []
    while True:
        sizes = np.bincount(clusters, minlength=len(centres))
        there = np.flatnonzero(sizes)
        small = there[sizes[there].argmin()]
        if sizes[small] >= least or len(there) == 1:
            return clusters, joined
        others = there[there != small]
        near = others[(centres[others] @ centres[small]).argmax()]
        joined.append((int(small), int(sizes[small]), int(near)))
        clusters[clusters == small] = near
