from __future__ import annotations

import json

import pytest

from soundx.progress import PROGRESS_FILE, counted, progress_bar, tell_progress, track


def test_progress_is_told_to_another_process(tmp_path, monkeypatch):
    file = tmp_path / "progress.json"
    monkeypatch.setenv(PROGRESS_FILE, str(file))
    assert list(track("abc", description="Reading")) == list("abc")
    tell_progress(at_once=True, nodes_done=1, nodes=2)
    assert json.loads(file.read_text()) == {
        "step": "Reading",
        "done": 3,
        "total": 3,
        "nodes_done": 1,
        "nodes": 2,
    }


def test_what_comes_faster_than_it_is_shown_is_counted_all_the_same():
    with progress_bar() as bar:
        some, others = bar.add_task("Some", total=1000), bar.add_task("Others", total=2)
        for _ in range(1000):
            bar.advance(some)
        bar.advance(others, 2)
    assert [task.completed for task in bar.tasks] == [1000, 2]


def test_what_is_set_is_not_counted_on_top_of_what_came_before():
    with progress_bar() as bar:
        task = bar.add_task("Epochs", total=50)
        for _ in range(3):
            bar.advance(task)
        bar.update(task, total=3, completed=3)
    assert bar.tasks[0].completed == 3


@pytest.mark.parametrize(
    ("n", "nouns", "said"),
    [
        (0, ("file",), "0 files"),
        (1, ("file",), "1 file"),
        (1234, ("file",), "1,234 files"),
        (1, ("category", "categories"), "1 category"),
        (2, ("category", "categories"), "2 categories"),
    ],
)
def test_a_count_agrees_with_its_noun(n, nouns, said):
    assert counted(n, *nouns) == said
