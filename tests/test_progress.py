from __future__ import annotations

import json

from soundx.progress import PROGRESS_FILE, tell_progress, track


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
