"""What a reader of the figures should doubt, in plain sentences.

Nothing is scored here: figures that were found elsewhere are held against each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

FEWEST_GROUPS = 3
"""Of fewer recordings than this, a label's own figures say next to nothing."""

_NAMED = 5


def doubts(
    metrics: Mapping[str, Any],
    groups_by_side: Mapping[str, int],
    groups_by_label: Mapping[str, int],
    *,
    expected: Mapping[str, float] | None = None,
) -> list[str]:
    """Say what makes the figures of a test less than they seem.

    Args:
        metrics: ``accuracy``, ``accuracy_ci95``, ``majority_class_accuracy``, ``n_labels``, and
            ``logistic_regression_accuracy`` where it is known.
        groups_by_side: Number of recordings on each side of the split.
        groups_by_label: Number of recordings scored, by label.
        expected: What else the accuracy was found to be, by the words for it: on validation,
            or cross-validated.

    Returns:
        Sentences; none where there is nothing to doubt.
    """
    said = []
    if metrics["n_labels"] == 1:
        said.append("There is only one label: any answer is right, and accuracy says nothing.")
    alone = [side for side, n_groups in groups_by_side.items() if n_groups == 1]
    if alone:
        said.append(
            f"All clips for {_listed(alone)} are of one recording: what holds for it may hold for "
            "no other."
        )
    few = [label for label, n_groups in groups_by_label.items() if n_groups < FEWEST_GROUPS]
    if few:
        have = "label has" if len(few) == 1 else "labels have"
        said.append(
            f"{len(few)} {have} been tested on fewer than {FEWEST_GROUPS} recordings, which says "
            f"next to nothing of each: {_listed(few)}."
        )
    said += _no_better(metrics)
    low, high = metrics["accuracy_ci95"]
    for words, accuracy in (expected or {}).items():
        if not low <= accuracy <= high:
            said.append(
                f"The accuracy {words} is {accuracy:.3f}, which the test "
                f"({metrics['accuracy']:.3f}, 95 % interval {low:.3f} to {high:.3f}) does not bear "
                "out: the sides differ, or luck played a part."
            )
    return said


def _no_better(metrics: Mapping[str, Any]) -> list[str]:
    accuracy = metrics["accuracy"]
    if metrics["n_labels"] > 1 and accuracy <= metrics["majority_class_accuracy"]:
        return [
            f"The model is right in {accuracy:.1%}; guessing the commonest label would be in "
            f"{metrics['majority_class_accuracy']:.1%}."
        ]
    simple = metrics.get("logistic_regression_accuracy")
    if metrics["n_labels"] > 1 and simple is not None and accuracy < simple:
        return [
            f"The model is right in {accuracy:.1%}, a logistic regression on mean embeddings in "
            f"{simple:.1%}: it adds nothing."
        ]
    return []


def _listed(names: Sequence[str]) -> str:
    """Return at most five names, and how many there are more."""
    listed = ", ".join(names[:_NAMED])
    return listed + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
