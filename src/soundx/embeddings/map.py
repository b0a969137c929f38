"""A map of clips: where their embeddings lie in a plane, and which clips are nearest.

A clip is its pooled vector. The plane is t-SNE's (van der Maaten & Hinton, 2008) after
a principal component analysis; distances on it mean little, neighbourhoods much. t-SNE lays
out some hundred clips, and the others are put between those most like them: its time grows
faster than the number of clips, and a map is looked at, not measured.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field
from threadpoolctl import threadpool_limits

from soundx.audio import Float32
from soundx.options import Options, Seed

logger = logging.getLogger(__name__)

_COMPONENTS = 50
_PERPLEXITY = 30.0
_LANDMARKS = 300
_ITERATIONS = 500
_ANCHORS = 4
_FEW = 4  # fewer clips have no neighbourhoods to keep


class MapOptions(Options):
    """How the map is drawn.

    Attributes:
        max_clips: More clips than this are drawn at random: the time grows with them.
        neighbours: Nearest clips listed for each.
        seed: Another seed is another layout.
    """

    max_clips: int = Field(2000, gt=1)
    neighbours: int = Field(8, gt=0)
    seed: Seed = 7


def clips_on_map(clip_ids: Iterable[str], options: MapOptions) -> list[str]:
    """Return which clips are laid out: all, or as many as the options allow."""
    # ids are hashes: the first ones in their order are a fair draw, and the same each time
    return sorted(clip_ids)[: options.max_clips]


def map_clips(clip_ids: Sequence[str], vectors: Float32, options: MapOptions) -> pd.DataFrame:
    """Lay clips out in a plane.

    Args:
        clip_ids: The clips.
        vectors: One a clip, standardised: what is alike has a high cosine
            [shape=(n_clips, dim)].
        options: How.

    Returns:
        ``clip_id``, ``x``, ``y``, and of each clip's ``neighbours`` (clip ids, nearest
        first) the ``similarities`` (cosine).
    """
    logger.info("Laying out a map of %d clips ...", len(clip_ids))
    vectors = np.nan_to_num(vectors, nan=0.0, posinf=0.0, neginf=0.0)
    places = _lay_out(vectors, options.seed)
    neighbours, similarities = _nearest(vectors, options.neighbours)
    return pd.DataFrame(
        {
            "clip_id": list(clip_ids),
            "x": places[:, 0],
            "y": places[:, 1],
            "neighbours": [[clip_ids[i] for i in row] for row in neighbours],
            "similarities": list(similarities),
        }
    )


def _lay_out(vectors: Float32, seed: int) -> Float32:
    # t-SNE divides by how far the clips lie apart, and ends in a segmentation fault where many
    # lie in one place: each place is laid out once
    number: dict[bytes, int] = {}
    place = [number.setdefault(vector.tobytes(), len(number)) for vector in vectors]
    _, first = np.unique(place, return_index=True)
    return _lay_out_different(vectors[first], seed)[place]


def _lay_out_different(vectors: Float32, seed: int) -> Float32:
    n_clips = len(vectors)
    if n_clips < _FEW:
        return np.stack([np.arange(n_clips), np.zeros(n_clips)], axis=1).astype(np.float32)
    # the others' threads would only get into each other's way
    with threadpool_limits(1):
        return _lay_out_many(vectors, seed)


def _lay_out_many(vectors: Float32, seed: int) -> Float32:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    n_components = min(_COMPONENTS, *vectors.shape)
    reduced = PCA(n_components, svd_solver="randomized", random_state=seed).fit_transform(vectors)
    landmarks = reduced[:_LANDMARKS]
    perplexity = min(_PERPLEXITY, (len(landmarks) - 1) / 3)
    laid_out = TSNE(
        2,
        perplexity=perplexity,
        init="pca",
        method="exact",
        max_iter=_ITERATIONS,
        random_state=seed,
    ).fit_transform(landmarks)
    return np.concatenate([laid_out, _between(reduced[_LANDMARKS:], landmarks, laid_out)])


def _between(
    points: Float32,
    landmarks: Float32,
    places: Float32,
) -> Float32:
    """Put each point between the places of the landmarks that are nearest to it."""
    if not len(points):
        return np.empty((0, 2), np.float32)
    from sklearn.neighbors import NearestNeighbors

    distances, near = NearestNeighbors(n_neighbors=_ANCHORS).fit(landmarks).kneighbors(points)
    # fast enough that a clip lies in its neighbourhood, not in the middle of all
    weights = (distances[:, :1] / np.maximum(distances, 1e-9)) ** 4
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
    return np.asarray((places[near] * weights[:, :, None]).sum(axis=1), np.float32)


def _nearest(vectors: Float32, n_neighbours: int) -> tuple[npt.NDArray[np.int64], Float32]:
    from sklearn.neighbors import NearestNeighbors

    count = min(n_neighbours + 1, len(vectors))
    search = NearestNeighbors(n_neighbors=count, metric="cosine").fit(
        vectors - vectors.mean(axis=0)
    )
    distances, found = search.kneighbors(vectors - vectors.mean(axis=0))
    rows, similarities = [], []
    for own, (near, far) in enumerate(zip(found, distances, strict=True)):
        others = near != own  # itself, wherever twins put it
        rows.append(near[others][: count - 1])
        similarities.append(1 - far[others][: count - 1])
    return np.array(rows, np.int64), np.array(similarities, np.float32)
