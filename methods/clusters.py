"""Clusters of images by k-means with cosine similarity, for DnC (methods/dnc.py)."""

import warnings

import numpy as np


def unit_rows(x: np.ndarray) -> np.ndarray:
    """Rows [N, C] normalised to length 1, float32; a row of zeros stays 0."""
    x = np.asarray(x, np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float32).tiny)


def cosine_k_means(features: np.ndarray, k: int, most: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """k-means of normalised rows. Its centres are normalised, too, and each row belongs to the most similar one.

    Args:
        features: [N, C], N >= k. most: rows for k-means, a random subset if there are more; all rows are assigned.
            seed: of the subset and of k-means' ten initialisations.

    Returns:
        Clusters [N] in 0..k-1, some perhaps empty, and centres [k, C].
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    rows = unit_rows(features)
    sample = rows
    if len(rows) > most:
        sample = rows[np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than clusters: some are empty
        k_means = KMeans(k, n_init=10, random_state=seed % 2**32).fit(sample)
    centres = unit_rows(k_means.cluster_centers_)
    blocks = np.array_split(rows, len(rows) // 65536 + 1)
    return np.concatenate([(block @ centres.T).argmax(1) for block in blocks]), centres


def join_small(clusters: np.ndarray, centres: np.ndarray, least: int) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """Merge each cluster of fewer than `least` images into the one with the most similar centre, smallest first.

    Args:
        clusters: [N], each in 0..k-1. centres: [k, C] of length 1; a merged cluster's centre is not used any more.

    Returns:
        Clusters [N], and for each merge the cluster's number, its number of images and the other cluster's number.
    """
    clusters, joined = clusters.copy(), []
    while True:
        sizes = np.bincount(clusters, minlength=len(centres))
        filled = np.flatnonzero(sizes)
        smallest = filled[sizes[filled].argmin()]
        if sizes[smallest] >= least or len(filled) == 1:
            return clusters, joined
        others = filled[filled != smallest]
        nearest = others[(centres[others] @ centres[smallest]).argmax()]
        joined.append((int(smallest), int(sizes[smallest]), int(nearest)))
        clusters[clusters == smallest] = nearest
