"""Reviewing recordings in a real browser: by keys, by two people, the server killed between."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Page, expect

from soundx.audio.decoding import decode_clip
from soundx.review.answers import UNSURE, Answer, AnswersFile
from tests.browser.conftest import Viewer, free_port, make_project, serve, started
from tests.browser.helpers import expect_fits, expect_no_exception, settle, upload
from tests.conftest import run_kedro

NIGHTS = ("20240501_213000.wav", "20240502_213000.wav")


@pytest.fixture(scope="session")
def recordings(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings of a minute and a half: clips of the demo in soft noise."""
    folder = tmp_path_factory.mktemp("nights")
    rng = np.random.default_rng(3)
    clips = sorted((demo / "01_raw").glob("[A-Z]*/*"))
    for name in NIGHTS:
        samples = 0.002 * rng.standard_normal(90 * 16_000)
        for at_s in range(2, 86, 6):
            clip = decode_clip(clips[rng.integers(len(clips))])[: 3 * 16_000]
            samples[at_s * 16_000 : at_s * 16_000 + len(clip)] += 0.7 * clip
        soundfile.write(folder / name, np.clip(samples, -1, 1), 16_000)
    return folder


@pytest.fixture(scope="session")
def listened(demo: Path, recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the demo that has heard and kept them."""
    root = Path(shutil.copytree(demo, tmp_path_factory.mktemp("listened") / "data"))
    run_kedro(
        env="demo", pipelines=["listening"], recordings=str(recordings), data_root=str(root),
        embedder="logmel",
    )  # fmt: skip
    return root


@pytest.fixture
def project(listened: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A project of its own with a copy of that, and its table of answers."""
    root = Path(shutil.copytree(listened, tmp_path / "data"))
    return make_project(tmp_path / "project", root), root / "09_review" / "answers.csv"


@pytest.fixture
def viewer(project: tuple[Path, Path]):
    with serve(project[0]) as url:
        yield Viewer(url, project[0], project[1].parent.parent, "")


def begin(page: Page, name: str) -> None:
    page.goto("/review")
    settle(page)
    field = page.get_by_label("Your name")
    field.fill(name)
    field.press("Enter")
    expect(page.locator(".asking")).to_be_visible(timeout=60_000)
    settle(page)


def asked(page: Page) -> str:
    """The recording and the time that are asked about."""
    return page.get_by_test_id("stMarkdown").filter(has_text=" to ").first.inner_text()


def press(page: Page, key: str, says: str | re.Pattern[str]) -> None:
    page.keyboard.press(key)
    expect(page.locator(".said")).to_have_text(says)
    settle(page)


def part_of(page: Page, name: str) -> None:
    page.get_by_text(name, exact=True).first.click()
    settle(page)


def rows(table: Path) -> list[dict[str, str]]:
    if not table.exists():
        return []
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def test_ten_answers_by_keys_alone_one_taken_back_and_learnt(visit, project, shot):
    _, table = project
    page = visit()
    begin(page, "Ada")
    assert page.locator(".sound").evaluate("sound => sound.src.startsWith('data:audio/wav')")
    first = page.locator(".labels button").first.inner_text().split(maxsplit=1)[1]
    questions = [asked(page)]
    for key, says in [
        ("1", f"Answered: {first}"),
        ("b", "Answered: background"),
        ("u", "Answered: not sure"),
        ("2", re.compile("Answered: ")),
        ("3", re.compile("Answered: ")),
        ("s", "Skipped."),
        ("4", re.compile("Answered: ")),
        ("5", re.compile("Answered: ")),
        ("6", re.compile("Answered: ")),
        ("b", "Answered: background"),
        ("7", re.compile("Answered: ")),
    ]:
        press(page, key, says)
        questions.append(asked(page))
    assert len(set(questions)) == len(questions)
    found = rows(table)
    assert len(found) == 10
    assert [row["label"] for row in found[:3]] == [first, ":BACKGROUND", UNSURE]
    assert {row["answered_by"] for row in found} == {"Ada"}
    assert all(row["model_version"] and row["probability"] for row in found)
    press(page, "z", re.compile("Taken back: "))
    assert len(rows(table)) == 9
    assert asked(page) == questions[-2]
    page.keyboard.press("n")
    page.keyboard.type("owl </b>small")
    page.keyboard.press("Enter")
    expect(page.locator(".said")).to_have_text(re.compile("cannot be a label"))
    page.keyboard.press("n")
    page.keyboard.type("owl small")
    page.keyboard.press("Enter")
    expect(page.locator(".said")).to_have_text("Answered: owl small")
    settle(page)
    assert rows(table)[-1]["label"] == "owl small"
    expect(page.locator(".labels button").last).to_contain_text("owl small")
    before = page.get_by_text(re.compile("answers learnt"))
    page.keyboard.press("l")
    settle(page)
    expect(before).to_contain_text("9 answers learnt")  # one was not sure
    page.get_by_text("What answers changed, label by label").click()
    settle(page)
    shot(page, "review", 1100)
    expect_no_exception(page)


def test_two_people_are_asked_different_windows_and_lose_nothing(visit, project):
    _, table = project
    ada, bo = visit(), visit()
    begin(ada, "Ada")
    begin(bo, "Bo")
    shown = []
    for _ in range(5):
        assert asked(ada) != asked(bo)
        shown += [asked(ada), asked(bo)]
        ada.keyboard.press("b")
        bo.keyboard.press("1")
        for page in (ada, bo):
            expect(page.locator(".said")).to_have_text(re.compile("Answered: "))
            settle(page)
    found = rows(table)
    assert Counter(row["answered_by"] for row in found) == {"Ada": 5, "Bo": 5}
    assert len({(row["recording"], row["onset_s"]) for row in found}) == 10
    assert len(set(shown)) == 10
    ada.keyboard.press("l")  # for both, the queue is ordered anew
    settle(ada)
    bo.keyboard.press("s")
    settle(bo)
    assert asked(ada) != asked(bo)
    expect(bo.get_by_text(re.compile("answers learnt"))).to_contain_text("10 answers learnt")


def test_a_killed_server_costs_nothing_and_nothing_stands_twice(browser, project):
    folder, table = project
    port = free_port()
    context = browser.new_context(base_url=f"http://127.0.0.1:{port}", locale="en-GB")
    page = context.new_page()
    try:
        for number in range(3):
            with started(folder, port) as process:
                if number:
                    page.goto("/review?name=Ada")
                    expect(page.locator(".asking")).to_be_visible(timeout=60_000)
                else:
                    begin(page, "Ada")
                settle(page)
                for _ in range(3):
                    press(page, "b", "Answered: background")
                page.keyboard.press("1")
                page.wait_for_function("() => true")
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            found = rows(table)
            # the last one may or may not have arrived; it is whole or absent
            assert 3 * (number + 1) <= len(found) <= 4 * (number + 1)
            places = [(row["recording"], row["onset_s"]) for row in found]
            assert len(set(places)) == len(places)
            assert len(AnswersFile(table).read()) == len(found)
    finally:
        context.close()


def test_windows_are_searched_marked_and_reviewed(visit, project, recordings, tmp_path, shot):
    page = visit()
    begin(page, "Ada")
    part_of(page, "Search")
    settle(page)
    part = tmp_path / "part.wav"
    samples, rate_hz = soundfile.read(recordings / NIGHTS[0], start=8 * 16_000, frames=3 * 16_000)
    soundfile.write(part, samples, rate_hz)
    upload(page, part)
    settle(page)
    hits = page.get_by_text(re.compile("likeness"))
    expect(hits.first).to_be_visible()
    # the sound itself is found
    assert re.search(rf"{NIGHTS[0]} 0:(07|08|09)", hits.first.inner_text())
    page.get_by_text("more like this", exact=True).first.click()
    settle(page)
    page.get_by_text("less like this", exact=True).nth(3).click()
    settle(page)
    expect(page.get_by_text("1 window more like these, 1 less like those")).to_be_visible()
    shot(page, "review-search", 1300)
    page.get_by_role("button", name="Review windows like these").click()
    settle(page)
    expect(page.locator(".asking")).to_be_visible()
    press(page, "1", re.compile("Answered: "))
    expect_no_exception(page)


def test_answers_of_other_programs_are_taken_once(visit, project, recordings, tmp_path):
    _, table = project
    track = tmp_path / "20240501_213000.txt"
    track.write_text("1.0\t3.0\towl\n10.0\t12.0\tbackground\n")
    foreign = tmp_path / "answers-Eve.csv"
    foreign.write_text(
        "recording,onset_s,offset_s,label,answered_by\n"
        f"{recordings / NIGHTS[1]},3.84,5.76,owl,Eve\n/etc/passwd,0,1,owl,Eve\n"
    )
    page = visit()
    begin(page, "Ada")
    part_of(page, "Exchange")
    settle(page)
    page.locator("input[type=file]").set_input_files([str(track), str(foreign)])
    settle(page)
    expect(page.get_by_text("not a recording that was listened to here")).to_be_visible()
    for _ in range(2):
        page.get_by_role("button", name="Take them").first.click()
        settle(page)
    found = AnswersFile(table).read()
    assert [(a.answered_by, a.label) for a in found] == [
        ("Ada", "owl"),
        ("Ada", ""),
        ("Eve", "owl"),
    ]
    page.reload()
    settle(page)
    assert len(AnswersFile(table).read()) == 3


def test_false_alarms_become_background_in_one_press(visit, project):
    _, table = project
    page = visit()
    begin(page, "Ada")
    page.get_by_label("Order").click()
    page.get_by_text("One label's best first", exact=True).click()
    settle(page)
    page.get_by_text(re.compile("none of the next 8")).click()
    settle(page)
    page.get_by_role("button", name=re.compile("None of them")).click()
    settle(page)
    found = rows(table)
    assert len(found) == 8
    assert {row["label"] for row in found} == {":BACKGROUND"}


def test_estimates_and_drift_are_shown(visit, project, recordings, shot):
    _, table = project
    page = visit()
    begin(page, "Ada")
    page.get_by_label("Order").click()
    page.get_by_text("Spread over a label's scores", exact=False).click()
    settle(page)
    for _ in range(12):
        press(page, "b", "Answered: background")
    drawn = {answer.drawn_for for answer in AnswersFile(table).read()}
    assert len(drawn) == 1
    part_of(page, "What can be said")
    settle(page)
    expect(page.get_by_text("Share of windows that hold it")).to_be_visible()
    expect(page.get_by_text("95 % interval", exact=False).first).to_be_visible()
    expect(page.get_by_text("Drift:", exact=False)).to_be_visible()
    shot(page, "review-figures", 1100)
    expect_no_exception(page)


def test_it_fits_a_phone_and_hostile_names_are_only_shown(visit, project, recordings):
    _, table = project
    hostile = "<img src=x onerror=alert(1)>`$x$`"
    night = str(recordings / NIGHTS[0])
    AnswersFile(table).add([Answer(night, 0.0, 1.92, hostile.replace("/", ""), "Eve")])
    page = visit(width=420)
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    begin(page, "Ada")
    expect(page.locator(".labels button").last).to_contain_text("onerror")
    assert page.locator(".labels img").count() == 0
    expect_fits(page)


def test_without_recordings_it_says_how_to_keep_some(browser, demo, tmp_path):
    root = Path(shutil.copytree(demo, tmp_path / "data"))
    with serve(make_project(tmp_path / "project", root)) as url:
        context = browser.new_context(base_url=url)
        page = context.new_page()
        page.goto("/review")
        settle(page)
        expect(page.get_by_text("kedro run --pipelines=recordings")).to_be_visible()
        context.close()
