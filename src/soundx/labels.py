"""Names to category and label, and the one order in which labels are counted.

A label is a folder's name; ``NATURAL_WATER_OCEAN`` belongs to the category ``NATURAL``.
Nothing here touches files or models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from soundx.errors import SoundxError

BACKGROUND = ""
"""What stands for a label where a clip holds sounds of none."""

BACKGROUND_NAME = "background"
"""What people are shown in its place."""

UNKNOWN = "unknown"
"""The answer where no label is sure enough, or background is nearer."""

GENERAL = "general"
"""Name of the head that tells categories apart (or labels, where there are none)."""


def category_of(label: str, *, separator: str = "_") -> str:
    """Return the part of a label before the first separator.

    A label without a separator is a category of its own.

    >>> category_of("NATURAL_WATER_OCEAN")
    'NATURAL'
    >>> category_of("siren")
    'siren'
    """
    head, found, _ = label.partition(separator) if separator else (label, "", "")
    return head if found and head else label


def shown_label(label: str) -> str:
    """Return what people are shown of a label: background has a word for itself.

    >>> shown_label("siren"), shown_label(BACKGROUND)
    ('siren', 'background')
    """
    return BACKGROUND_NAME if label == BACKGROUND else label


@dataclass(frozen=True)
class LabelTree:
    """Which labels there are, in which order, and to which category each belongs.

    The order is alphabetical, by category and then by label, so that it depends on
    nothing but the names.

    Attributes:
        category_by_label: Category of each label, in label order.
    """

    category_by_label: Mapping[str, str]

    @classmethod
    def build(cls, pairs: Iterable[tuple[str, str]]) -> LabelTree:
        """Build the tree from (label, category) pairs, one a clip or one a label.

        Raises:
            SoundxError: There is no label, one label stands in two categories, or a
                category is called ``general``, the name of the head over categories.
        """
        found: dict[str, str] = {}
        for label, category in pairs:
            known = found.setdefault(label, category)
            if known != category:
                raise SoundxError(
                    f"Label '{label}' is put under two categories, '{known}' and '{category}'. "
                    "Give it one category in metadata.csv."
                )
        if not found:
            raise SoundxError("There are no labels: no clip could be used.")
        order = sorted(found, key=lambda label: (found[label], label))
        tree = cls({label: found[label] for label in order})
        if GENERAL in tree.categories and not tree.is_flat:
            raise SoundxError(
                f"A category may not be called '{GENERAL}': the head over categories has that "
                "name. Rename the folders, or set categories in metadata.csv."
            )
        return tree

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """All labels, in order."""
        return tuple(self.category_by_label)

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """All categories, in order."""
        return tuple(dict.fromkeys(self.category_by_label.values()))

    @cached_property
    def is_flat(self) -> bool:
        """True where categories tell nothing: all labels alone in theirs, or all in one."""
        return len(self.categories) in (1, len(self.labels))

    @cached_property
    def heads(self) -> dict[str, tuple[str, ...]]:
        """The heads to train and the classes of each, in order: ``{head: classes}``.

        ``general`` tells categories apart; each category with two labels or more has a
        head of its own. A flat tree has ``general`` alone, over the labels.
        """
        if self.is_flat:
            return {GENERAL: self.labels}
        heads = {GENERAL: self.categories}
        for category in self.categories:
            labels = self.labels_in(category)
            if len(labels) > 1:
                heads[category] = labels
        return heads

    def labels_in(self, category: str) -> tuple[str, ...]:
        """Return the labels of one category, in order."""
        return tuple(label for label, c in self.category_by_label.items() if c == category)

    def target(self, head: str, label: str) -> int | None:
        """Return the class index of a label for a head, or None where it is not its concern."""
        classes = self.heads[head]
        name = label if head != GENERAL or self.is_flat else self.category_by_label.get(label)
        return classes.index(name) if name in classes else None

    def category_index(self) -> npt.NDArray[np.int64]:
        """Return the index of each label's category [shape=(n_labels,)]."""
        return np.array([self.categories.index(c) for c in self.category_by_label.values()])

    def by_head(
        self, probabilities: npt.NDArray[np.floating]
    ) -> dict[str, npt.NDArray[np.float64]]:
        """Return what each head would say: the inverse of ``joint_probabilities``.

        Categories are the sums of their labels, and inside a category stands the share of each.

        Args:
            probabilities: Of all labels, in order [shape=(n_clips, n_labels)].

        Returns:
            Class probabilities of every head [shape=(n_clips, n_classes)].
        """
        if self.is_flat:
            return {GENERAL: np.asarray(probabilities, np.float64)}
        by_category = self.category_probabilities(probabilities)
        heads = {GENERAL: by_category}
        for category, labels in self.heads.items():
            if category == GENERAL:
                continue
            columns = [self.labels.index(label) for label in labels]
            total = by_category[:, self.categories.index(category)]
            heads[category] = probabilities[:, columns] / np.maximum(total, 1e-12)[:, None]
        return heads

    def joint_probabilities(
        self, by_head: Mapping[str, npt.NDArray[np.float64]]
    ) -> npt.NDArray[np.float64]:
        """Combine the heads: ``P(label) = P(category) x P(label | category)``.

        Args:
            by_head: Class probabilities of every head [shape=(n_clips, n_classes)].

        Returns:
            Probabilities over all labels, in order; every row sums to one
            [shape=(n_clips, n_labels)].
        """
        general = np.asarray(by_head[GENERAL], np.float64)
        if self.is_flat:
            return general
        joint = general[:, self.category_index()]
        for column, (label, category) in enumerate(self.category_by_label.items()):
            if category in by_head:
                joint[:, column] *= by_head[category][:, self.heads[category].index(label)]
        return joint

    def hard_routed(self, joint: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Return the best label inside the best category, where one wrong step is the last.

        The way soundx replaces, for comparison [shape=(n_clips,)].
        """
        category = self.category_probabilities(joint).argmax(axis=1)
        inside = self.category_index()[None, :] == category[:, None]
        return np.asarray(np.where(inside, joint, -1.0).argmax(axis=1))

    def category_probabilities(self, joint: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Sum label probabilities by category [shape=(n_clips, n_categories)]."""
        by_category = np.zeros((len(joint), len(self.categories)))
        np.add.at(by_category.T, self.category_index(), joint.T)
        return by_category


def usable_as_label(name: object) -> bool:
    """Tell whether a name can serve as a label: text, printable, no path separators."""
    return (
        isinstance(name, str)
        and bool(name.strip())
        and name.isprintable()
        and not set(name) & set("/\\")
        and name not in (".", "..")
    )
