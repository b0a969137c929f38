"""How far the exported model strays from the heads it was made of."""

from __future__ import annotations

import numpy as np

from soundx.audio import Float32
from soundx.classifier.bundle import Classifier
from soundx.modelling.joint import TrainedHeads


def largest_difference(
    classifier: Classifier, heads: TrainedHeads, clips: list[tuple[Float32, Float32]]
) -> float:
    """Return how far the exported models stray from the Keras heads: joint, and each head exported.

    Args:
        classifier: The exported models.
        heads: The heads they were exported from.
        clips: Waveform [shape=(n_samples,)] and embeddings [shape=(n_frames, dim)] of some
            clips.

    Returns:
        The largest absolute difference of a probability; NaN where an answer is NaN.
    """
    differences = []
    for waveform, embeddings in clips:
        n_frames = np.array([len(embeddings)])
        ours = heads.predict(embeddings, n_frames)[0]
        differences.append(np.abs(classifier.predict(waveform) - ours).max())
        for head, answer in heads.predict_heads(embeddings, n_frames).items():
            if "file" not in classifier.info["heads"][head]:
                continue  # worked out from the joint answer
            differences.append(np.abs(classifier.predict_head(head, waveform) - answer[0]).max())
    # NaN where the exported model answers with NaN: max() alone would hide it
    return float(np.max(differences))
