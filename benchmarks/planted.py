"""Plant wrong labels and copies among real clips, and see whether they are found.

Wrong labels: 3 % of the labels are drawn anew; how well suspicion ranks them, as average
precision. Copies: some clips once more as Ogg Vorbis, at half the amplitude, and with noise 60 dB
below them; how many are found, and how many pairs are found that were not planted. Embeddings are
those of a run that is there; only copies are embedded.

    SOUNDX_YAMNET=DIR python benchmarks/planted.py DATA_ROOT [DATA_ROOT ...]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from sklearn.metrics import average_precision_score

from soundx.audio import Float32
from soundx.audio.decoding import decode_clip
from soundx.embedders import EmbedderSettings, load_embedder
from soundx.embedders.base import with_layers_of
from soundx.embeddings.store import EmbeddingSet, EmbeddingStore
from soundx.modelling.cross_validation import Labelled, predict_left_out
from soundx.modelling.folds import CrossValidationOptions, assign_folds
from soundx.modelling.heads import TrainingOptions
from soundx.modelling.pooling import pool_frames, pooled_widths
from soundx.modelling.ridge import Standardiser
from soundx.modelling.suspects import near_duplicates, suspect_labels
from soundx.modelling.vectors import all_vectors
from soundx.storage.folder import Folder

RATE_HZ = 16_000


def main() -> None:
    """Print a line of each kind for every data root."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data_roots", nargs="+", type=Path, metavar="DATA_ROOT")
    parser.add_argument("--copies", type=int, default=12, help="clips that are copied")
    parser.add_argument("--seeds", type=int, default=3, help="draws of wrong labels")
    options = parser.parse_args()
    for root in options.data_roots:
        manifest = pd.read_parquet(root / "02_intermediate/clip_manifest.parquet")
        embedded = EmbeddingStore(Folder(str(root / "04_feature/embeddings"))).current
        manifest = manifest[~manifest["clip_id"].isin(list(embedded.rejected))]
        folds = assign_folds(manifest, CrossValidationOptions())
        print(f"{root.name}: {len(folds)} clips")
        copies(root, folds, embedded, options.copies)
        for seed in range(options.seeds):
            wrong_labels(folds, embedded, seed)


def wrong_labels(folds: pd.DataFrame, embedded: EmbeddingSet, seed: int) -> None:
    """Draw 3 % of the labels anew, and print how well they are found."""
    rng = np.random.default_rng(seed)
    planted = rng.choice(len(folds), max(1, round(0.03 * len(folds))), replace=False)
    labels = folds["label"].to_numpy(object).copy()
    category = dict(zip(folds["label"], folds["category"], strict=True))
    for clip in planted:
        labels[clip] = rng.choice(sorted(set(category) - {labels[clip]}))
    table = folds.assign(label=labels, category=[category[label] for label in labels])
    probabilities, _ = predict_left_out(table, embedded, TrainingOptions())
    known = Labelled.of(table)
    rows = np.arange(len(table))
    guess = probabilities.argmax(axis=1)
    ranked = suspect_labels(
        table.assign(
            predicted_label=np.array(known.tree.labels, object)[guess],
            probability=probabilities[rows, guess],
            certainty=probabilities[rows, known.targets],
        )
    )
    suspicion = ranked.set_index("clip_id")["suspicion"].reindex(table["clip_id"], fill_value=-1)
    precision = average_precision_score(np.isin(rows, planted), suspicion)
    found = suspicion.to_numpy()[planted] > 0
    print(
        f"  {len(planted)} wrong labels, seed {seed}: average precision {precision:.3f}, "
        f"{found.mean():.0%} listed"
    )


def copies(root: Path, folds: pd.DataFrame, embedded: EmbeddingSet, n_clips: int) -> None:
    """Copy some clips in three ways, and print how many are found at which likeness."""
    settings = EmbedderSettings(yamnet_handle=os.environ["SOUNDX_YAMNET"])
    embedder = with_layers_of(load_embedder("yamnet", settings), embedded.info)
    rng = np.random.default_rng(7)
    chosen = np.sort(rng.choice(len(folds), n_clips, replace=False))
    heard = [decode_clip(root / "01_raw" / folds["path"].iloc[clip]) for clip in chosen]
    whole = all_vectors(embedded, folds["clip_id"].tolist()).whole
    standardise = Standardiser.of(iter([whole]), pooled_widths(embedded.info.parts))
    clips = folds.reset_index(drop=True)
    print(f"  unplanted pairs: {len(near_duplicates(standardise(whole), clips))}")
    ways = {
        "as Ogg": [_as_ogg(clip) for clip in heard],
        "half as loud": [np.asarray(0.5 * clip, np.float32) for clip in heard],
        "with noise": [_with_noise(clip, rng) for clip in heard],
    }
    for way, waveforms in ways.items():
        frames = embedder.embed(waveforms)
        counts = np.array([len(some) for some in frames], np.int64)
        pooled = pool_frames(np.concatenate(frames), counts, embedded.info.parts)
        copied = clips.iloc[chosen].assign(
            clip_id=[f"copy of {name}" for name in clips["clip_id"].iloc[chosen]],
            group=[f"copy {number}" for number in range(n_clips)],
        )
        vectors = standardise(np.concatenate([whole, pooled]))
        pairs = near_duplicates(vectors, pd.concat([clips, copied], ignore_index=True))
        found = ("copy of " + pairs["clip_id"] == pairs["other_clip_id"]).sum()
        alike = pairs["similarity"][pairs["other_clip_id"].str.startswith("copy of ")]
        print(
            f"  {n_clips} copies {way}: recall {found / n_clips:.2f}, least alike "
            f"{alike.min():.3f}, {len(pairs) - found} other pairs"
        )


def _as_ogg(clip: Float32) -> Float32:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "copy.ogg")
        soundfile.write(path, clip, RATE_HZ, format="OGG", subtype="VORBIS")
        return decode_clip(path)


def _with_noise(clip: Float32, rng: np.random.Generator) -> Float32:
    loudness = float(np.sqrt(np.mean(clip**2)))
    noise = rng.standard_normal(len(clip)) * loudness * 10 ** (-60 / 20)
    return np.asarray(clip + noise, np.float32)


if __name__ == "__main__":
    main()
