from __future__ import annotations

import numpy as np
import pytest

from soundx.errors import SoundxError
from soundx.labels import GENERAL, LabelTree, category_of

TREE = LabelTree.build([("B_x", "B"), ("A_2", "A"), ("A_1", "A"), ("C", "C"), ("A_1", "A")])


def test_the_category_ends_at_the_first_separator():
    assert category_of("NATURAL_WATER_OCEAN") == "NATURAL"
    assert category_of("a-b", separator="-") == "a"
    assert category_of("a_b", separator="") == "a_b"
    assert category_of("_odd") == "_odd"


def test_order_heads_and_targets():
    assert TREE.labels == ("A_1", "A_2", "B_x", "C")
    assert TREE.heads == {GENERAL: ("A", "B", "C"), "A": ("A_1", "A_2")}
    assert TREE.target(GENERAL, "B_x") == 1
    assert TREE.target("A", "A_2") == 1
    assert TREE.target("A", "C") is None


@pytest.mark.parametrize(
    "pairs", [[("dog", "dog"), ("cat", "cat")], [("B_robin", "B"), ("B_wren", "B")]]
)
def test_without_categories_that_tell_apart_one_head_tells_labels(pairs):
    tree = LabelTree.build(pairs)
    assert tree.heads == {GENERAL: tree.labels}
    probabilities = np.array([[0.3, 0.7]])
    np.testing.assert_array_equal(tree.joint_probabilities({GENERAL: probabilities}), probabilities)


def test_the_joint_model_multiplies_and_sums_to_one():
    joint = TREE.joint_probabilities(
        {GENERAL: np.array([[0.5, 0.3, 0.2]]), "A": np.array([[0.9, 0.1]])}
    )
    np.testing.assert_allclose(joint, [[0.45, 0.05, 0.3, 0.2]])
    np.testing.assert_allclose(TREE.category_probabilities(joint), [[0.5, 0.3, 0.2]])


def test_a_label_in_two_categories_and_a_category_called_general_are_refused():
    with pytest.raises(SoundxError, match="two categories, 'A' and 'B'"):
        LabelTree.build([("x", "A"), ("x", "B")])
    with pytest.raises(SoundxError, match="may not be called 'general'"):
        LabelTree.build([("x", "general"), ("y", "general"), ("z", "other")])
    with pytest.raises(SoundxError, match="no labels"):
        LabelTree.build([])
