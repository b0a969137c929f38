from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.helpers import expect_fits, open_page


def expect_clips(page):
    label = page.get_by_text("Clips", exact=True)
    clips = page.get_by_test_id("stMetric").filter(has=label)
    expect(clips.get_by_test_id("stMetricValue")).to_have_text("360")


def test_the_first_page_shows_the_project(page, shot):
    open_page(page)
    expect_clips(page)
    expect_fits(page)
    shot(page, "viewer_overview")


def test_the_first_page_fits_a_phone(phone):
    open_page(phone)
    expect_clips(phone)
    expect_fits(phone)
