"""What a visitor of the viewer does, in a real browser, on a project with one demo run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import expect

from soundx.audio.decoding import decode_clip
from tests.browser.conftest import make_project, serve
from tests.browser.helpers import (
    expect_fits,
    expect_no_exception,
    open_page,
    play,
    settle,
    tab_to,
    upload,
)

RATE_HZ = 16_000
PAGES = ["", "dataset", "evaluation", "model", "train"]
HEIGHTS = {
    "": 900,
    "dataset": 1100,
    "evaluation": 1150,
}


def metric(page, label):
    shown = page.get_by_test_id("stMetric").filter(has=page.get_by_text(label, exact=True))
    return shown.filter(visible=True).first.get_by_test_id("stMetricValue")


def clip_name(page):
    """The line above a player: label and file."""
    return page.get_by_test_id("stMarkdown").filter(has_text=" · ", visible=True).first


def player(page):
    """The audio of the first player that is shown."""
    frames = page.get_by_test_id("stIFrame").filter(visible=True)
    return frames.first.content_frame.locator("audio")


def click_until_another_clip_is_shown(page):
    """Click the marks of the chart that is shown; the first may be the clip that is there."""
    before = clip_name(page).inner_text()
    marks = page.locator(".js-plotly-plot .points path").filter(visible=True)
    for number in range(0, marks.count(), max(1, marks.count() // 10)):
        marks.nth(number).hover(force=True)
        # the chart's own layer lies above them
        marks.nth(number).click(force=True)
        settle(page)
        if clip_name(page).inner_text() != before:
            break
    expect(clip_name(page)).not_to_have_text(before)


def choose_tab(page, name):
    page.get_by_role("tab", name=name).click()
    settle(page)


@pytest.mark.parametrize("path", PAGES)
def test_every_page_opens_at_both_widths(page, phone, shot, path):
    for window in (page, phone):
        open_page(window, path)
        expect_fits(window)
        expect(window.get_by_role("heading", level=1)).to_have_count(1)
        expect(window.get_by_test_id("stAlertContentError")).to_have_count(0)
    if path not in ("model", "train"):  # their pictures are taken when they have something to show
        shot(page, f"viewer_{path or 'home'}", height=HEIGHTS[path])
    if not path:
        expect(metric(page, "Clips")).to_have_text("360")
        shot(phone, "viewer_phone")


def test_every_page_is_reached_by_keyboard(page):
    open_page(page)
    for name in ("Dataset", "Evaluation", "Model", "Train"):
        tab_to(page, name)
    page.keyboard.press("Enter")
    settle(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Train")


def test_a_clip_is_chosen_and_heard(page, shot):
    open_page(page, "dataset")
    choose_tab(page, "Listen")
    page.get_by_label("File name contains").fill("CRICKET")
    page.keyboard.press("Enter")
    settle(page)
    expect(page.get_by_text("30 clips")).to_be_visible()
    play(player(page))
    shot(page, "viewer_listen", height=1500)


def test_a_point_on_the_map_is_heard(page):
    open_page(page, "dataset")
    choose_tab(page, "Listen")
    click_until_another_clip_is_shown(page)
    play(player(page))


def test_a_square_of_the_confusion_is_clicked_and_heard(page, shot):
    open_page(page, "evaluation")
    choose_tab(page, "Confusions")
    click_until_another_clip_is_shown(page)
    expect(page.get_by_text("The model:")).to_be_visible()
    play(player(page))
    shot(page, "viewer_confusion", height=1500)
    choose_tab(page, "How sure")
    certain = page.get_by_role("tabpanel", name="How sure it is")
    expect(certain.get_by_text("Is it right as often as it is sure?")).to_be_visible()
    expect_no_exception(page)


def test_files_are_uploaded_answered_and_refused(page, write_clip, tmp_path):
    open_page(page, "model")
    for name in ("tone.wav", "tone.mp3"):
        upload(page, write_clip(name, seconds=2.0, rate_hz=44_100))
        expect(metric(page, "Answer")).to_be_visible()
        play(player(page))
    words = tmp_path / "words.wav"
    words.write_text("these are words, not a sound")
    upload(page, words)
    expect(page.get_by_text("it is a text file")).to_be_visible()
    expect_no_exception(page)


@pytest.fixture(scope="session")
def night(demo, tmp_path_factory):
    """Three minutes of next to nothing, with a clip of the demo every half a minute."""
    waveform = 0.001 * np.random.default_rng(1).standard_normal(180 * RATE_HZ)
    labels = ("ALARM_BEEPER", "ALARM_SIREN", "NATURE_RAIN", "ANIMAL_FROG", "MACHINE_DRILL")
    for number, label in enumerate(labels):
        clip = decode_clip(sorted((demo / "01_raw" / label).glob("*.wav"))[0])
        waveform[(10 + 30 * number) * RATE_HZ :][: len(clip)] += clip
    path = tmp_path_factory.mktemp("night") / "20260514_213000.wav"
    soundfile.write(path, np.clip(waveform, -1, 1), RATE_HZ)
    return path


def downloaded(page, name):
    with page.expect_download() as download:
        page.get_by_role("button", name=name, exact=True).filter(visible=True).first.click()
    return download.value.suggested_filename, Path(download.value.path()).read_text()


def test_events_of_a_recording_are_seen_played_and_taken_along(page, phone, shot, night):
    open_page(page, "model")
    upload(page, night)
    expect(page.get_by_role("heading", name="Events").filter(visible=True)).to_be_visible()
    expect(page.get_by_test_id("stAudio")).to_have_count(0)
    chart = page.locator(".js-plotly-plot").filter(visible=True).first
    for label in ("ALARM_SIREN", "ANIMAL_FROG"):
        expect(chart.get_by_text(label, exact=True)).to_be_visible()
    bar = chart.locator(".barlayer .points path").nth(1)
    bar.hover(force=True)
    bar.click(force=True)
    settle(page)
    audio = page.get_by_test_id("stAudio")
    expect(audio).to_have_count(1)
    play(audio)
    expect_fits(page)
    page.get_by_test_id("stMain").evaluate("main => main.scrollTo(0, 0)")
    shot(page, "viewer_model", height=1800)
    name, table = downloaded(page, "Raven")
    assert name == "20260514_213000.selections.txt"
    assert table.startswith("Selection\tView\tChannel\t")
    assert "ALARM_SIREN" in table
    name, table = downloaded(page, "CSV")
    assert name == "20260514_213000.events.csv"
    assert "2026-05-14T21:30:" in table
    name, table = downloaded(page, "Windows (CSV)")
    assert name == "20260514_213000.windows.csv"
    assert len(table.splitlines()) > 370
    # thresholds are obeyed without hearing it again
    page.get_by_text("When is it an event?").click()
    page.get_by_label("Shortest length, in s").fill("50")
    page.keyboard.press("Enter")
    settle(page)
    expect(page.get_by_text("There is no event").filter(visible=True)).to_be_visible()
    open_page(phone, "model")
    upload(phone, night)
    expect(phone.get_by_role("heading", name="Events").filter(visible=True)).to_be_visible()
    expect_fits(phone)


def test_two_clips_are_mixed(page, shot):
    open_page(page, "model")
    choose_tab(page, "Mix two")
    expect(metric(page, "Answer")).to_be_visible()
    play(player(page))
    shot(page, "viewer_mix", height=1400)


def sign_in(page, password):
    page.get_by_label("Password").first.fill(password)
    page.get_by_role("button", name="Sign in").click()


def test_a_model_is_trained_once_by_who_knows_the_password(visit, viewer, shot):
    page, other, stranger = visit(), visit(), visit()
    for window in (page, other, stranger):
        open_page(window, "train")
    for window in (page, other):
        sign_in(window, viewer.password)
        expect(window.get_by_role("button", name="Start")).to_be_visible()
        settle(window)
    # last: after a wrong password nobody at this address is let in for a while
    sign_in(stranger, "wrong password")
    expect(stranger.get_by_text("not the password")).to_be_visible()
    expect(stranger.get_by_role("button", name="Start")).to_have_count(0)
    before = set((viewer.data_root / "06_models/versions").iterdir())
    # both at once: neither waits for the other's answer
    for window in (page, other):
        window.get_by_role("button", name="Start").click()
    for window in (page, other):
        expect(window.get_by_text("Under way", exact=True)).to_be_visible()
    expect(page.get_by_text(re.compile(r"^Step \d+ of \d+"))).to_be_visible(timeout=60_000)
    shot(page, "viewer_train")
    for window in (page, other):
        expect(window.get_by_text("Finished after")).to_be_visible(timeout=300_000)
        accuracy = metric(window, "Accuracy on clips it never heard")
        expect(accuracy).to_have_text(re.compile(r"^\d+\.\d%$"))
    (new,) = set((viewer.data_root / "06_models/versions").iterdir()) - before
    page.get_by_role("link", name="See the evaluation").click()
    settle(page)
    # the new model is there without anything started again
    chosen = page.get_by_test_id("stSelectbox").first.locator("input")
    expect(chosen).to_have_value(new.name)


def test_an_empty_project_says_how_to_begin(browser, tmp_path):
    project = make_project(tmp_path / "project", tmp_path / "none")
    with serve(project) as url:
        context = browser.new_context(base_url=url)
        page = context.new_page()
        for path in PAGES:
            page.goto(f"/{path}")
            expect(page.get_by_test_id("stAlert")).to_be_visible()
            expect_no_exception(page)
        context.close()
