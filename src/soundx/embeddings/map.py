"""A map of clips: where their embeddings lie in a plane, and which clips are nearest.

A clip is the mean of its frames. The plane is t-SNE's (van der Maaten & Hinton, 2008) after
a principal component analysis; distances on it mean little, neighbourhoods much.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from soundx.audio import Float32
from soundx.embeddings.store import EmbeddingSet

_COMPONENTS = 50
_PERPLEXITY = 30.0
_FEW = 4  # fewer clips have no neighbourhoods to keep


class MapOptions(BaseModel):
    """How the map is drawn.

    Attributes:
        max_clips: More clips than this are drawn at random: the time grows with them.
        neighbours: Nearest clips listed for each.
        seed: Another seed is another layout.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_clips: int = Field(2000, gt=1)
    neighbours: int = Field(8, gt=0)
    seed: int = 7


def map_clips(clip_ids: Sequence[str], embedded: EmbeddingSet, options: MapOptions) -> pd.DataFrame:
    """Lay clips out in a plane.

    Args:
        clip_ids: The clips.
        embedded: Their embeddings.
        options: How.

    Returns:
        ``clip_id``, ``x``, ``y``, and of each clip's ``neighbours`` (clip ids, nearest
        first) the ``similarities`` (cosine).
    """
    # ids are hashes: the first ones in their order are a fair draw, and the same each time
    chosen = sorted(clip_ids)[: options.max_clips]
    vectors = _clip_vectors(chosen, embedded)
    places = _lay_out(vectors, options.seed)
    neighbours, similarities = _nearest(vectors, options.neighbours)
    return pd.DataFrame(
        {
            "clip_id": chosen,
            "x": places[:, 0],
            "y": places[:, 1],
            "neighbours": [[chosen[i] for i in row] for row in neighbours],
            "similarities": list(similarities),
        }
    )


def _clip_vectors(clip_ids: Sequence[str], embedded: EmbeddingSet) -> Float32:
    sums = np.zeros((len(clip_ids), embedded.info.dim), np.float64)
    for owners, frames in embedded.iter_frames(clip_ids):
        np.add.at(sums, owners, frames)
    counts = embedded.n_frames(clip_ids)
    return (sums / counts[:, None]).astype(np.float32)


def _lay_out(vectors: Float32, seed: int) -> Float32:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    n_clips = len(vectors)
    if n_clips < _FEW:
        return np.stack([np.arange(n_clips), np.zeros(n_clips)], axis=1).astype(np.float32)
    spread = vectors.std(axis=0)
    scaled = (vectors - vectors.mean(axis=0)) / np.where(spread > 0, spread, 1)
    n_components = min(_COMPONENTS, *vectors.shape)
    reduced = PCA(n_components, random_state=seed).fit_transform(scaled)
    perplexity = min(_PERPLEXITY, (n_clips - 1) / 3)
    drawn = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced)
    return np.asarray(drawn, np.float32)


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
