"""The model card: what the classifier is, what it was made from, how good it was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

import soundx
from soundx.classifier.bundle import MODEL_CARD, Classifier
from soundx.labels import BACKGROUND
from soundx.markup import card_text
from soundx.modelling.joint import TrainedHeads
from soundx.progress import counted

_WORST = 10
_LISTED = 30


@dataclass(frozen=True)
class ClipFacts:
    """What is told of the clips of a project.

    Attributes:
        n_clips: Clips with a label.
        n_labels: Their labels.
        n_groups: Recordings they were cut from.
        hours: Their length.
        n_background: Clips of sounds of none of the labels.
        licences: Number of clips by licence, where ``metadata.csv`` has them.
    """

    n_clips: int
    n_labels: int
    n_groups: int
    hours: float
    n_background: int = 0
    licences: Mapping[str, int] = field(default_factory=dict)


def clip_facts(manifest: pd.DataFrame) -> ClipFacts:
    """Gather what is told of the clips that models learn from and are tested on."""
    ours = manifest[~manifest["evaluation_only"].astype(bool)]
    labelled = ours[ours["label"] != BACKGROUND]
    licences: dict[str, int] = {}
    if "licence" in ours and (ours["licence"] != "").any():
        counts = ours["licence"].replace("", "not told").value_counts()
        licences = {str(name): int(n) for name, n in counts.items()}
    return ClipFacts(
        n_clips=len(labelled),
        n_labels=labelled["label"].nunique(),
        n_groups=labelled["group"].nunique(),
        hours=float(labelled["duration_s"].sum()) / 3600,
        n_background=len(ours) - len(labelled),
        licences=licences,
    )


def model_card(
    heads: TrainedHeads,
    *,
    tflite_difference: float | None = None,
    clips: ClipFacts | None = None,
    metrics: Mapping[str, Any] | None = None,
    per_class: pd.DataFrame | None = None,
    cross_validation: Mapping[str, Any] | None = None,
    review: Mapping[str, Any] | None = None,
) -> str:
    """Return the card as Markdown.

    Args:
        heads: The heads it was exported from.
        tflite_difference: Largest difference between the exported and the Keras model.
        clips: What is told of the clips.
        metrics: Content of ``metrics.json``, once the model was evaluated.
        per_class: Content of ``per_class_metrics.csv``, likewise.
        cross_validation: Content of ``cross_validation.json``, where it is of such a model.
        review: Content of ``review.json``, where it is of this model.
    """
    lines = ["# Model card", ""]
    if heads.embedder.caveat:
        lines += [f"> {heads.embedder.caveat}", ""]
    lines += [f"Sound classifier made by soundx, version `{heads.version}`.", ""]
    lines += _what_it_does(heads, tflite_difference)
    lines += _made_from(heads, clips)
    lines += ["## How good it was found", ""]
    lines += _results(metrics) if metrics else ["Not evaluated yet.", ""]
    if cross_validation:
        lines += _cross_validated(cross_validation)
    if per_class is not None:
        lines += _by_label(per_class)
    if metrics and metrics.get("warnings"):
        doubts = [f"- {card_text(doubt)}" for doubt in metrics["warnings"]]
        lines += ["## What to doubt", "", *doubts, ""]
    if review:
        lines += _reviewed(review)
    lines += _limits(heads)
    lines += _reproduce(heads)
    return "\n".join(lines)


_REVIEWED = "## What answers tell of it"
_LIMITS = "## What to keep in mind"


def with_review(classifier: Classifier, review: Mapping[str, Any]) -> Classifier:
    """Return a classifier with what answers tell of it beside its labels and on its card.

    Args:
        classifier: The classifier.
        review: Content of ``review.json``, of this classifier.
    """
    files = {}
    if MODEL_CARD in classifier.files:
        # for people alone, so that it has no checksum: what cannot be read of it is shown as such
        card = classifier.files[MODEL_CARD].decode(errors="replace")
        before, limits, after = card.partition(_LIMITS)
        before = before.partition(_REVIEWED)[0]
        section = "\n".join(_reviewed(review))
        files[MODEL_CARD] = f"{before}{section}\n{limits}{after}".encode()
    return classifier.with_files(files, {"review": dict(review)})


def _reviewed(review: Mapping[str, Any]) -> list[str]:
    lines = [
        _REVIEWED,
        "",
        f"In {review['hours']:.1f} hours of {counted(review['recordings'], 'recording')} that "
        f"nobody labelled, by windows of {review['window_s']:g} s drawn over its scores:",
        "",
    ]
    rows = []
    most = review["max_false_alarms_per_day"]
    for label, known in review["labels"].items():
        low, high = known["density_ci95"]
        density = "?" if known["density"] is None else f"{known['density']:.2%}"
        threshold = "none yet" if known["threshold"] is None else f"{known['threshold']:g}"
        rows.append(
            (
                card_text(label),
                str(known["n_answers"]),
                f"{density} ({low:.2%} to {high:.2%})",
                threshold,
            )
        )
    if not rows:
        return [*lines[:2], "No answers were drawn for its estimates.", ""]
    heading = ["label", "answers", "share of windows that hold it (95 % interval)"]
    return [*lines, *_table([*heading, f"threshold for {most:g} false alarms a day"], rows), ""]


def _what_it_does(heads: TrainedHeads, tflite_difference: float | None) -> list[str]:
    embedder = heads.embedder
    level = "as recorded" if embedder.level_dbfs is None else f"{embedder.level_dbfs} dBFS RMS"
    parts = ", ".join(f"{part.name} ({part.width})" for part in embedder.parts)
    lines = [
        "## What it does",
        "",
        f"One clip in (16 kHz, mono, float32 in [-1, 1], level {level}), probabilities over "
        f"{counted(len(heads.tree.labels), 'label')} out: P(label) = P(category) x "
        "P(label | category).",
        "",
        f"- Embedder: **{card_text(embedder.name)}** (`{embedder.fingerprint}`), "
        f"{embedder.dim} numbers every {embedder.hop_s} s, made of {parts}",
        f"- Head: {heads.training.get('head', 'seed')}",
        f"- Labels: {_some(heads.tree.labels)}",
    ]
    if not heads.tree.is_flat:
        lines.append(f"- Categories: {_some(heads.tree.categories)}")
    if tflite_difference is not None:
        lines.append(f"- TFLite against Keras: {tflite_difference:.1e} at most, in probability")
    return [*lines, ""]


def _made_from(heads: TrainedHeads, clips: ClipFacts | None) -> list[str]:
    sides = ", ".join(f"{n:,} {name}" for name, n in sorted(heads.clips_per_split.items()))
    lines = ["## What it was made from", ""]
    if clips is not None:
        lines += [
            f"- {counted(clips.n_clips, 'clip')} of {counted(clips.n_labels, 'label')}, cut from "
            f"{counted(clips.n_groups, 'recording')}, {clips.hours:.2f} hours",
            f"- Background, sounds of none of the labels: {counted(clips.n_background, 'clip')}",
        ]
    lines.append(f"- Clips by side of the split: {sides}")
    if heads.training.get("refit") == "all":
        lines.append("- It learned from all of them, test clips too")
    if clips is not None and clips.licences:
        told = ", ".join(f"{card_text(name)}: {n:,}" for name, n in clips.licences.items())
        lines.append(f"- Licences of the clips: {told}")
    elif clips is not None:
        lines.append("- Licences of the clips: not told")
    return [*lines, ""]


def _when_unknown(heads: TrainedHeads) -> str:
    said = "- Its answer is to be `unknown` below the label's threshold (`labels.json`)"
    if heads.background:
        return f"{said}, or where background is more probable; probabilities sum to less than one."
    return (
        f"{said}. It has not heard sounds of none of its labels: `:BACKGROUND*` folders are "
        "there for them."
    )


def _results(metrics: Mapping[str, Any]) -> list[str]:
    low, high = metrics["accuracy_ci95"]
    n_clips = counted(metrics["n_test_clips"], "clip")
    where = f"On {n_clips} of recordings it never heard (intervals by bootstrap over recordings):"
    if metrics.get("refit"):
        where = (
            "The test clips were learnt from, so there is no test. Cross-validated instead: each "
            f"of {n_clips} predicted by a model that had not heard its recording:"
        )
    rows = {
        "accuracy": f"{metrics['accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f})",
        **{
            words: f"{metrics[name]:.3f}"
            for name, words in {
                "balanced_accuracy": "balanced accuracy",
                "macro_f1": "macro F1",
                "category_accuracy": "category accuracy",
                "hard_routed_accuracy": "accuracy by best category first",
                "top3_accuracy": "top-3 accuracy",
                "accuracy_0_96_s": "accuracy on stretches of 0.96 s",
                "accuracy_2_4_s": "accuracy on stretches of 2.4 s",
                "majority_class_accuracy": "guessing the commonest label",
                "logistic_regression_accuracy": "a logistic regression on mean embeddings",
                "calibration_error": "calibration error",
                "log_loss": "log loss in nats",
                "field_accuracy": "accuracy on field recordings",
            }.items()
            if name in metrics
        },
    }
    return [where, "", *_table(["", ""], list(rows.items())), ""]


def _cross_validated(found: Mapping[str, Any]) -> list[str]:
    low, high = found["accuracy_ci95"]
    rows = [
        (
            "accuracy",
            f"{found['accuracy_mean']:.3f} (95 % interval {low:.3f} to {high:.3f}; "
            f"{found['accuracy_std']:.3f} from fold to fold)",
        ),
        ("balanced accuracy", f"{found['balanced_accuracy_mean']:.3f}"),
        ("calibration error", f"{found['calibration_error']:.3f}"),
    ]
    knowing = found.get("rejection") or {}
    for name, words in {
        "coverage": "share of clips answered at the thresholds",
        "precision": "precision at the thresholds",
        "auroc_of_labels_left_out": "AUROC of known against left-out labels",
    }.items():
        if knowing.get(name) is not None:
            rows.append((words, f"{knowing[name]:.3f}"))
    if knowing.get("false_alarms_per_hour") is not None:
        rows.append(("false alarms an hour", f"{knowing['false_alarms_per_hour']:.1f}"))
    return [
        f"Cross-validated, {counted(found['k'], 'fold')} over "
        f"{counted(found['n_groups'], 'recording')} and {counted(found['n_clips'], 'clip')}:",
        "",
        *_table(["", ""], rows),
        "",
    ]


def _by_label(per_class: pd.DataFrame) -> list[str]:
    known = per_class[per_class["recall"].notna()]
    worst = known.sort_values(["f1", "label"], kind="stable").head(_WORST)
    if worst.empty:
        return []
    shown = f"The {len(worst)} hardest of {counted(len(per_class), 'label')}"
    rows = [
        (
            card_text(row.label),
            str(row.n_test_clips),
            f"{row.precision:.3f}",
            f"{row.recall:.3f} ({row.recall_ci95_low:.3f} to {row.recall_ci95_high:.3f})",
            f"{row.f1:.3f}",
        )
        for row in worst.itertuples()
    ]
    heading = ["label", "clips", "precision", "recall (95 % interval)", "F1"]
    return [f"{shown}, by F1:", "", *_table(heading, rows), ""]


def _limits(heads: TrainedHeads) -> list[str]:
    return [
        _LIMITS,
        "",
        _when_unknown(heads),
        "- The figures hold for clips recorded as these clips were: another microphone, another "
        "room or another place may be worse.",
        "- One clip has one label here; of several sounds at once it tells the likeliest.",
        "",
    ]


def _reproduce(heads: TrainedHeads) -> list[str]:
    """Tell what has to be the same for the same model."""
    return [
        "## How to make it again",
        "",
        "The same clips, parameters and version of soundx, on the same kind of machine:",
        "",
        f"- soundx {soundx.__version__}",
        f"- Digest of clips, labels and sides: `{heads.manifest_digest}`",
        f"- Embedder: `{heads.embedder.fingerprint}`",
        *(f"- {name}: {card_text(value)}" for name, value in heads.training.items()),
        "",
    ]


def _table(heading: list[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines: list[Sequence[str]] = [heading, ["---"] * len(heading), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _some(names: tuple[str, ...]) -> str:
    more = len(names) - _LISTED
    return ", ".join(map(card_text, names[:_LISTED])) + (f" and {more} more" if more > 0 else "")
