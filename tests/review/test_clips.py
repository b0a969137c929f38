"""Clips of answers: only what soundx cut there is ever taken away."""

from __future__ import annotations

import pytest

from soundx.errors import SoundxError
from soundx.review.clips import AnsweredClipsJob, answered_clips, cut_answers

HEADER = "filename,label,category,group\n"
CUT = "owl/night_000001.000_1.000.wav"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "01_raw/:ANSWERS/owl").mkdir(parents=True)
    return tmp_path / "01_raw/:ANSWERS"


@pytest.mark.parametrize(
    "name", ["{}/precious.wav", "../../precious.wav", "../{}", f"../{CUT.rpartition('/')[2]}"]
)
def test_a_table_that_names_files_elsewhere_removes_none(folder, tmp_path, name):
    precious = [tmp_path / "precious.wav", folder.parent / CUT.rpartition("/")[2]]
    for path in precious:
        path.write_bytes(b"precious")
    table = folder / "metadata.csv"
    table.write_text(f"{HEADER}{name.format(tmp_path)},owl,owl,night.wav\n")
    job = AnsweredClipsJob(folder, [])
    with pytest.raises(SoundxError, match=r"metadata\.csv is broken, or not of soundx's making"):
        cut_answers(job)
    with pytest.raises(SoundxError, match="not of soundx's making"):
        answered_clips(folder, folder.parent)
    assert all(path.read_bytes() == b"precious" for path in precious)


def test_nothing_is_taken_away_through_a_link(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (folder / "owl").rename(elsewhere)
    (folder / "owl").symlink_to(elsewhere)
    (folder / CUT).write_bytes(b"precious")
    (folder / "metadata.csv").write_text(f"{HEADER}{CUT},owl,owl,night.wav\n")
    cut_answers(AnsweredClipsJob(folder, []))
    assert [path.name for path in elsewhere.iterdir()] == [CUT.rpartition("/")[2]]


def test_what_no_answer_stands_for_is_taken_away(folder):
    (folder / CUT).write_bytes(b"a clip")
    (folder / "metadata.csv").write_text(f"{HEADER}{CUT},owl,owl,night.wav\n")
    assert answered_clips(folder, folder.parent) == {f":ANSWERS/{CUT}": "night.wav"}
    cut_answers(AnsweredClipsJob(folder, []))
    assert list(folder.iterdir()) == []
