"""How far the exported model strays from the heads it was made of."""

from __future__ import annotations

import numpy as np

from soundx.audio import Float32
from soundx.classifier.bundle import Classifier
from soundx.modelling.joint import TrainedHeads


def largest_difference(
    classifier: Classifier, heads: TrainedHeads, clips: list[tuple[Float32, Float32]]
) -> float:
    """Return how far the exported joint model strays from the Keras heads.

    Args:
        classifier: The exported model.
        heads: The heads it was exported from.
        clips: Waveform [shape=(n_samples,)] and embeddings [shape=(n_frames, dim)] of some
            clips.

    Returns:
        The largest absolute difference of a label's probability.
    """
    differences = []
    for waveform, embeddings in clips:
        ours = heads.predict(embeddings, np.array([len(embeddings)]))[0]
        differences.append(np.abs(classifier.predict(waveform) - ours).max())
    # NaN where the exported model answers with NaN: max() alone would hide it
    return float(np.max(differences))
