"""The model card: what the classifier is, what it was made from, how good it was found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from soundx.modelling.joint import TrainedHeads


def model_card(
    heads: TrainedHeads,
    *,
    tflite_difference: float | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> str:
    """Return the card as Markdown.

    Args:
        heads: The heads it was exported from.
        tflite_difference: Largest difference between the exported and the Keras model.
        metrics: Content of ``metrics.json``, once the model was evaluated.
    """
    embedder = heads.embedder
    level = "as recorded" if embedder.level_dbfs is None else f"{embedder.level_dbfs} dBFS RMS"
    splits = ", ".join(f"{n} {name}" for name, n in sorted(heads.clips_per_split.items()))
    lines = [
        "# Model card",
        "",
        f"Sound classifier made by soundx, version `{heads.version}`.",
        "",
        "## What it does",
        "",
        f"One clip in (16 kHz, mono, float32 in [-1, 1], level {level}), probabilities over "
        f"{len(heads.tree.labels)} labels out: P(label) = P(category) x P(label | category).",
        "",
        f"- Embedder: **{embedder.name}** (`{embedder.fingerprint}`), {embedder.dim} numbers every "
        f"{embedder.hop_s} s",
        f"- Categories: {', '.join(heads.tree.categories)}",
        f"- Heads: {', '.join(heads.tree.heads)}",
    ]
    if tflite_difference is not None:
        lines.append(f"- TFLite against Keras: {tflite_difference:.1e} at most, in probability")
    lines += ["", "## What it was made from", "", f"- Clips: {splits}"]
    lines += [f"- {name}: {value}" for name, value in heads.training.items()]
    lines += ["", "## How good it was found", ""]
    lines += _results(metrics) if metrics else ["Not evaluated yet."]
    lines += [
        "",
        "## What to keep in mind",
        "",
        _when_unknown(heads),
        "- The figures hold for clips recorded as the test clips were.",
        "",
    ]
    if embedder.caveat:
        lines.insert(3, f"\n> {embedder.caveat}\n")
    return "\n".join(lines)


def _when_unknown(heads: TrainedHeads) -> str:
    said = "- Its answer is `unknown` below the label's threshold in `labels.json`"
    if heads.background:
        return f"{said}, or where background is more probable; probabilities sum to less than one."
    return (
        f"{said}. It has not heard sounds of none of its labels: `:BACKGROUND*` folders are "
        "there for them."
    )


def _results(metrics: Mapping[str, Any]) -> list[str]:
    low, high = metrics["accuracy_ci95"]
    return [
        f"On {metrics['n_test_clips']} test clips of recordings it never heard:",
        "",
        "| | |",
        "| --- | --- |",
        f"| accuracy | {metrics['accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f}) |",
        f"| balanced accuracy | {metrics['balanced_accuracy']:.3f} |",
        f"| macro F1 | {metrics['macro_f1']:.3f} |",
        f"| category accuracy | {metrics['category_accuracy']:.3f} |",
        f"| top-3 accuracy | {metrics['top3_accuracy']:.3f} |",
        f"| guessing the commonest label | {metrics['majority_class_accuracy']:.3f} |",
        f"| calibration error | {metrics['calibration_error']:.3f} |",
    ]
