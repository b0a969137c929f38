"""The page that is sent to a person without soundx: opened from disk, answered, sent back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, expect

from soundx.errors import SoundxError
from soundx.labels import BACKGROUND
from soundx.markup import guarded
from soundx.review.answers import (
    UNSURE,
    Answer,
    check_label,
    check_person,
    read_answers,
    write_answers,
)
from soundx.review.page import PageItem, review_page
from tests.browser.helpers import tab_to

LABELS = ["siren", "ANIMAL_dog", "=1+1", "'tis", '"quoted", and more', "🦉 鳥"]
ATTACKS = [
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<!--<script>alert(1)",
    "javascript:alert(1)\u2028alert(1)",
]
NO_STORAGE = """Object.defineProperty(window, "localStorage", {
  get() { throw new DOMException("denied", "SecurityError"); }
});"""


def item(number: int, **changes: object) -> PageItem:
    samples = 0.05 * np.random.default_rng(number).standard_normal(32_000)
    samples[12_000:20_000] += 0.5 * np.sin(np.arange(8_000) * (0.3 + number / 20))
    whole = PageItem(
        recording=f"site/rec {number}.wav",
        onset_s=60.0 * number + 0.7,
        offset_s=60.0 * number + 1.3,
        samples=samples.astype(np.float32),
        stretch_begin_s=0.7,
        stretch_end_s=1.3,
        guesses=(("siren", 0.9), (BACKGROUND, 0.1)),
        probability=(0.03125, 0.5, None)[number % 3],
        drawn_for=("siren", "")[number % 2],
    )
    return replace(whole, **changes)


ITEMS = [item(number) for number in range(7)]

COUNT_PLAYS = """
let plays = 0;
document.addEventListener("play", () => {
  plays += 1;
  document.documentElement.dataset.plays = plays;
}, true);
"""
# what an attack would do that had got into the page: does any of it work?
BROKEN_INTO = """async () => {
  const tried = [];
  try { document.body.insertAdjacentHTML("beforeend", "<b id=b>x</b>"); } catch {}
  tried.push(document.getElementById("b") !== null);
  try {
    const script = document.createElement("script");
    script.append("window.struck = 1");
    document.body.append(script);
  } catch {}
  try { document.body.setAttribute("onclick", "window.struck = 1"); } catch {}
  document.body.click();
  tried.push("struck" in window);
  const loaded = (url) => fetch(url).then(() => true, () => false);
  tried.push(await loaded("data:,x"), await loaded(location.href));
  return tried;
}"""


@dataclass
class Expert:
    """Who opens a page, and what happened in their browser meanwhile."""

    context: BrowserContext
    path: Path
    wrong: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    warned: int = 0

    def open(self) -> Page:
        page = self.context.new_page()
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", lambda message: self.wrong.append(message.text))
        page.on("dialog", self._answer)
        page.goto(self.path.as_uri())
        return page

    def _answer(self, dialog: Dialog) -> None:
        if dialog.type == "beforeunload":
            self.warned += 1
        else:
            self.wrong.append(f"{dialog.type}: {dialog.message}")
        dialog.accept()


@pytest.fixture
def expert(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Expert]]:
    """Write a page to disk, and give the browser it is to be opened in, without a network."""
    experts: list[Expert] = []

    def invite(
        items: list[PageItem] = ITEMS,
        labels: list[str] = LABELS,
        title: str = "Which sounds?",
        **options: object,
    ) -> Expert:
        path = tmp_path / f"page{len(experts)}.html"
        path.write_text(review_page(items, labels, title=title, model_version="=v1"))
        options = {"viewport": {"width": 1280, "height": 900}, **options}
        experts.append(Expert(browser.new_context(offline=True, **options), path))
        return experts[-1]

    yield invite
    for one in experts:
        one.context.close()
        assert one.wrong == []
        assert [url for url in one.asked if not re.match("(file|data|blob):", url)] == []


def begin(page: Page, name: str = "Ana") -> None:
    expect(page.get_by_label("Your name")).to_be_focused()
    page.keyboard.press("Control+A")
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    expect(page.locator("#work")).to_be_visible()


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def downloaded(page: Page, press_: str = "d") -> tuple[str, str]:
    """Return the name and the text of what a key downloads."""
    with page.expect_download() as download:
        page.keyboard.press(press_)
    return download.value.suggested_filename, Path(download.value.path()).read_bytes().decode()


def answers_in(page: Page) -> list[tuple[str, str]]:
    """Return recordings and labels of what is downloaded."""
    _, text = downloaded(page)
    return [(answer.recording, answer.label) for answer in read_answers(text.encode(), "sent")]


def test_answered_by_keys_alone_and_read_back(expert: Callable[..., Expert]):
    page = expert().open()
    before = datetime.now(UTC).replace(microsecond=0)
    begin(page, " -Ana Müller ")
    expect(page.locator("#where")).to_have_text("1 of 7")
    press(page, "3", "b", "s", "u", "5", "z")  # the answer to the fifth is taken back
    expect(page.locator("#said")).to_have_text('Taken back 5: "quoted", and more')
    expect(page.locator("#where")).to_have_text("5 of 7")
    press(page, "4", "n")
    page.keyboard.type(' \'=new, "label"')
    press(page, "Enter", "7")  # the new one's key
    expect(page.get_by_label("Another label")).to_have_value("")
    expect(page.locator("#count")).to_have_text("6 answered, 1 to go")
    expect(page.locator("#where")).to_have_text("3 of 7")  # what was skipped
    press(page, "ArrowLeft", "6")  # another answer to the second
    expect(page.locator("#where")).to_have_text("3 of 7")
    name, text = downloaded(page)
    assert name == "answers--Ana_Müller.csv"
    sent = read_answers(text.encode(), name)
    given = [
        (0, "=1+1"),
        (3, UNSURE),
        (4, "'tis"),
        (5, '\'=new, "label"'),
        (6, '\'=new, "label"'),
        (1, "🦉 鳥"),
    ]
    assert [replace(answer, answered_at="") for answer in sent] == [
        Answer(
            recording=ITEMS[number].recording,
            onset_s=ITEMS[number].onset_s,
            offset_s=ITEMS[number].offset_s,
            label=label,
            answered_by="-Ana Müller",
            model_version="=v1",
            probability=None if (p := ITEMS[number].probability) is None else round(p, 4),
            drawn_for=ITEMS[number].drawn_for,
        )
        for number, label in given
    ]
    times = [datetime.fromisoformat(answer.answered_at) for answer in sent]
    assert before <= min(times) <= max(times) <= datetime.now(UTC)
    assert all(answer.answered_at.endswith("Z") for answer in sent)
    assert text == write_answers(sent)
    press(page, "b")
    expect(page.get_by_text("All are answered. Download your answers")).to_be_visible()
    assert answers_in(page)[-1] == (ITEMS[2].recording, BACKGROUND)


def test_background_and_not_sure_by_their_words_in_the_table(expert: Callable[..., Expert]):
    page = expert().open()
    begin(page)
    press(page, "b", "u")
    lines = downloaded(page)[1].splitlines()
    assert [line.split(",")[3] for line in lines[1:]] == [":BACKGROUND", ":UNSURE"]


def test_nothing_is_lost_when_the_tab_closes(expert: Callable[..., Expert]):
    visitor = expert()
    page = visitor.open()
    begin(page)
    press(page, "1", "s", "n")
    page.keyboard.type("new")
    press(page, "Enter")
    page.reload()
    assert visitor.warned == 1
    expect(page.get_by_label("Your name")).to_have_value("Ana")
    press(page, "Enter")
    expect(page.locator("#where")).to_have_text("2 of 7")
    expect(page.get_by_role("button", name="new", exact=True)).to_be_visible()
    expected = [(ITEMS[0].recording, "siren"), (ITEMS[2].recording, "new")]
    assert answers_in(page) == expected
    page.reload()
    assert visitor.warned == 1  # they are downloaded
    begin(page, "Ana")
    assert answers_in(page) == expected
    press(page, "z")
    page.reload()
    assert visitor.warned == 2


def test_answers_to_another_page_or_of_another_person_are_not_taken(
    expert: Callable[..., Expert],
):
    visitor = expert()
    page = visitor.open()
    begin(page)
    press(page, "1")
    page.get_by_role("button", name="change").click()
    begin(page, "Ben")
    press(page, "2", "2")
    assert answers_in(page) == [(one.recording, "ANIMAL_dog") for one in ITEMS[:2]]
    page.get_by_role("button", name="change").click()
    page.get_by_role("button", name="Ana (1 answered)").click()
    assert answers_in(page) == [(ITEMS[0].recording, "siren")]
    visitor.path.write_text(review_page(ITEMS[:3], LABELS, title="t", model_version=""))
    page = visitor.open()
    begin(page)
    expect(page.locator("#count")).to_have_text("0 answered, 3 to go")


def test_a_second_tab_of_the_same_person_does_not_undo_the_first(expert: Callable[..., Expert]):
    visitor = expert()
    first, second = visitor.open(), visitor.open()
    second.bring_to_front()
    begin(second)
    first.bring_to_front()
    begin(first)
    press(first, "1")
    second.bring_to_front()
    expect(second.locator("#count")).to_have_text("1 answered, 6 to go")
    press(second, "ArrowRight", "2")
    assert answers_in(second) == [
        (ITEMS[0].recording, "siren"),
        (ITEMS[1].recording, "ANIMAL_dog"),
    ]


def test_a_browser_that_keeps_nothing_will_do(expert: Callable[..., Expert]):
    visitor = expert()
    visitor.context.add_init_script(NO_STORAGE)
    page = visitor.open()
    begin(page)
    expect(page.get_by_text("This browser keeps nothing for this page")).to_be_visible()
    press(page, "1")
    page.get_by_role("button", name="change").click()
    begin(page, "Ben")
    press(page, "d")  # there is nothing
    expect(page.locator("#said")).to_have_text("Nothing is answered yet.")
    page.get_by_role("button", name="change").click()
    begin(page, "Ana")
    assert answers_in(page) == [(ITEMS[0].recording, "siren")]


def test_what_else_stands_in_the_browsers_store_is_passed_over(expert: Callable[..., Expert]):
    page = expert().open()
    good = {"i": 1, "label": "siren", "at": "2024-05-01T04:30:00Z"}
    spoilt = [
        *({"i": i} for i in (-1, 7, 0.5, "0", None)),
        *({"label": label} for label in (":x", "a/b", 1, None)),
        *({"at": at} for at in ("=1", "2024", None, "2024-05-01T04:30:00Z\n=1")),
    ]
    answers = [good, good, None, 1, *({**good, "i": 2, **one} for one in spoilt)]
    store = "value => localStorage.setItem(PREFIX + 'Ana', value)"
    for value in ("{", "null", "[]", '{"answers": 1, "labels": {}}'):
        page.evaluate(store, value)
        begin(page)
        expect(page.locator("#count")).to_have_text("0 answered, 7 to go")
        page.reload()
    kept = {"answers": answers, "labels": ["new", "new", "siren", "/", 1], "open": False}
    page.evaluate("value => localStorage.setItem(PREFIX + 'Ana', JSON.stringify(value))", kept)
    begin(page)
    assert answers_in(page) == [(ITEMS[1].recording, "siren")]
    names = page.locator("#labels button").all_inner_texts()
    assert [name.split("\n")[-1] for name in names] == [*LABELS, "new"]


def test_hostile_names_are_shown_and_not_obeyed(expert: Callable[..., Expert]):
    labels = [attack.replace("/", "").replace("\u2028", " ") for attack in ATTACKS]
    asked = [
        item(k, recording=attack, guesses=((attack, 0.5),)) for k, attack in enumerate(ATTACKS)
    ]
    for title in ATTACKS:
        visitor = expert(asked, labels, title)
        page = visitor.open()
        assert page.locator("#start .title").text_content() == title
        begin(page, "<b>Ana")
        page.locator("#so-far summary").click()
        for number, attack in enumerate(ATTACKS):
            assert page.locator("#recording").text_content() == attack
            page.get_by_role("button", name="Show what the model thinks").click()
            assert page.locator("#guesses bdi").text_content() == attack
            press(page, str(number + 1))
        press(page, "z", "n")
        page.keyboard.type("<i>new")
        press(page, "Enter")
        expect(page.locator("#answered")).to_contain_text("<i>new")
        name, text = downloaded(page)
        assert name == "answers-_b_Ana.csv"
        sent = read_answers(text.encode(), name)
        assert [answer.recording for answer in sent] == ATTACKS
        assert [answer.label for answer in sent] == [*labels[:3], "<i>new"]
        tags = page.evaluate("[...document.body.querySelectorAll('*')].map(e => e.localName)")
        assert tags.count("script") == 2
        assert tags.count("img") == 1
        assert not {"b", "i"} & set(tags)
        assert visitor.wrong == []


def test_the_policy_stops_what_would_get_past_all_that(expert: Callable[..., Expert]):
    visitor = expert()
    page = visitor.open()
    assert page.evaluate(BROKEN_INTO) == [False, False, False, False]
    assert len([text for text in visitor.wrong if "Content Security Policy" in text]) >= 4
    visitor.wrong.clear()


CANDIDATES = [
    *("", " ", "a", " a ", ".a", ":a", "..", "a.b", "a/b", "a\\b", "a b", "a\tb", "a\nb", "a\x00"),
    *("a\x85b", "a\u00a0b", "a\u2028b", "a\u200db", "a\ufeffb", "a\u3000b", "a\x1cb", "\u00ada"),
    *(
        "é" * 100,
        "é" * 101,
        "🦉" * 50,
        "🦉" * 51,
        "a" * 60,
        "a" * 61,
        "🦉" * 60,
        "\ue000",
        "-",
        "'",
    ),
]


def test_what_is_typed_is_checked_as_soundx_does(expert: Callable[..., Expert]):
    page = expert().open()

    def allowed(check: Callable[[str], str], text: str) -> bool:
        try:
            check(text)
        except SoundxError:
            return False
        return True

    for name, check in (("wrongLabel", check_label), ("wrongName", check_person)):
        wrong = page.evaluate(f"texts => texts.map(text => {name}(text.trim()))", CANDIDATES)
        found = {text: not why for text, why in zip(CANDIDATES, wrong, strict=True)}
        assert found == {text: allowed(check, text) for text in CANDIDATES}
    texts = [f"{sign}1" for sign in "=+-@\t\r\n＝＋－＠a'.,1"]  # noqa: RUF001
    texts += ["'" + text for text in texts] + ["''=", "'''", "", "a=1", "a\n=1"]
    assert page.evaluate("texts => texts.map(guarded)", texts) == [guarded(text) for text in texts]


def test_what_cannot_be_a_name_or_label_is_said(expert: Callable[..., Expert]):
    page = expert().open()
    press(page, "Enter")
    expect(page.get_by_role("alert").filter(has_text="A name has 1 to 60")).to_be_visible()
    begin(page)
    for label, why in (("", "Type a label"), ("a/b", "no slash"), (".a", "no dot or colon")):
        press(page, "n")
        page.keyboard.type(label)
        press(page, "Enter")
        expect(page.get_by_role("alert").filter(has_text=why)).to_be_visible()
        expect(page.get_by_label("Another label")).to_be_focused()
        press(page, "Escape")
    expect(page.locator("#label-wrong")).to_have_text("")
    expect(page.locator("#count")).to_have_text("0 answered, 7 to go")
    press(page, "n")
    page.keyboard.type("siren")  # it is there already: no second one
    press(page, "Enter")
    expect(page.locator("#labels button")).to_have_count(len(LABELS))
    assert answers_in(page) == [(ITEMS[0].recording, "siren")]


def test_it_plays_by_itself_and_again(expert: Callable[..., Expert]):
    visitor = expert()
    visitor.context.add_init_script(COUNT_PLAYS)
    page = visitor.open()
    sound, head, whole = page.locator("#sound"), page.locator("#head"), page.locator("html")
    begin(page)
    for number, key in enumerate(("1", "s", "ArrowLeft", "z"), 1):
        expect(whole).to_have_attribute("data-plays", str(number))
        press(page, key)
    expect(sound).to_have_js_property("ended", True)
    expect(head).to_have_attribute("style", re.compile("left: (100|99)"))
    press(page, " ")
    expect(whole).to_have_attribute("data-plays", "6")
    sound.evaluate("audio => { audio.pause(); audio.currentTime = 0; }")
    expect(head).to_have_attribute("style", re.compile("left: 0"))
    width = page.locator("#view").bounding_box()["width"]
    page.locator("#view").click(position={"x": width * 0.75, "y": 20})
    expect(whole).to_have_attribute("data-plays", "7")
    expect(head).to_have_attribute("style", re.compile("left: (7[5-9]|[89]|100)"))
    expect(page.locator("#count")).to_have_text("0 answered, 7 to go")


def test_the_stretch_in_question_is_marked_where_it_is_heard(expert: Callable[..., Expert]):
    samples = np.full(32_000, 1e-4, np.float32)
    samples[11_200:11_300] = 0.9  # where the stretch begins
    page = expert([item(1, samples=samples, onset_s=3725.75, offset_s=3726.35)]).open()
    begin(page)
    heard_s = page.evaluate(
        """async () => {
          const bytes = Uint8Array.from(atob(data.items[0].sound), (c) => c.charCodeAt(0));
          const decoded = await new OfflineAudioContext(1, 1, 16000).decodeAudioData(bytes.buffer);
          const loud = decoded.getChannelData(0).findIndex((x) => Math.abs(x) > 0.3);
          return loud / decoded.sampleRate;
        }"""
    )
    assert abs(heard_s - 0.7) < 0.01
    view, left, right = (
        page.locator(name).bounding_box() for name in ("#view", "#before", "#after")
    )
    assert abs(left["width"] / view["width"] - 0.35) < 0.01
    assert abs(right["width"] / view["width"] - 0.35) < 0.01
    expect(page.locator("#stretch")).to_have_text("in question: 1:02:05.8 to 1:02:06.4")
    expect(page.locator("#from")).to_have_text("1:02:05.1")


def test_what_the_model_thinks_is_told_when_asked_for(expert: Callable[..., Expert]):
    page = expert().open()
    begin(page)
    toggle = page.get_by_role("button", name="what the model thinks")
    for _ in range(2):
        expect(page.locator("#guesses li")).to_have_count(0)
        toggle.click()
        press(page, " ")  # plays, and does not click again
        expect(page.locator("#guesses li")).to_have_text(["siren: 90 %", "background: 10 %"])
        press(page, "1")  # the next one's are not told
    assert page.locator("body").inner_text().count("%") == 0


def test_by_mouse_alone(expert: Callable[..., Expert]):
    page = expert().open()
    page.get_by_label("Your name").fill("Ana")
    page.get_by_role("button", name="Begin").click()
    page.get_by_role("button", name="siren", exact=True).click()
    press(page, " ")  # plays: what was clicked last is not clicked again
    expect(page.locator("#count")).to_have_text("1 answered, 6 to go")
    for name in ("none of these (background)", "not sure", "Skip", "Undo", "Back", "Forward"):
        page.get_by_role("button", name=name, exact=True).click()
    expect(page.locator("#where")).to_have_text("3 of 7")
    page.get_by_label("Another label").fill("new")
    page.get_by_role("button", name="Answer with it").click()
    page.get_by_text("Answered so far").click()
    expect(page.locator("#tally")).to_have_text("siren 1, background 1, new 1")
    page.get_by_role("button", name="2: background").click()
    expect(page.locator("#where")).to_have_text("2 of 7: background")
    own = page.get_by_role("button", name="none of these (background)", pressed=True)
    expect(own).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download (3)").click()
    assert download.value.suggested_filename == "answers-Ana.csv"


def test_only_what_is_asked_stands_in_the_page(expert: Callable[..., Expert]):
    page = expert().open()
    begin(page)
    press(page, "1", "1")
    for tag in ("img", "audio"):
        expect(page.locator(tag)).to_have_count(1)
    assert page.locator("body").inner_text().count("site/rec") == 1


def test_every_key_has_its_meaning_on_other_keyboards(expert: Callable[..., Expert]):
    page = expert(labels=[f"label {number}" for number in range(32)]).open()
    begin(page)
    for key, code in (("и", "KeyB"), ("&", "Digit1"), ("B", "KeyB"), ("a", "KeyQ")):
        page.evaluate(
            """([key, code]) => document.activeElement.dispatchEvent(
                new KeyboardEvent("keydown", {key, code, bubbles: true}))""",
            [key, code],
        )
    for options in ("repeat", "ctrlKey", "metaKey", "altKey", "isComposing"):
        page.evaluate(
            """(option) => document.activeElement.dispatchEvent(
                new KeyboardEvent("keydown", {key: "1", bubbles: true, [option]: true}))""",
            options,
        )
    press(page, "F1", "PageDown", "Shift", "y")
    given = [label for _, label in answers_in(page)]
    assert given == [BACKGROUND, "label 0", BACKGROUND, "label 10", "label 28"]
    keys = page.locator("#labels kbd").all_inner_texts()
    assert len(keys) == 29  # three have none, and can be clicked or typed
    assert not set("".join(keys)) & set("buzsndl")


def test_keys_reach_everything_and_are_seen_to(expert: Callable[..., Expert]):
    page = expert(viewport={"width": 420, "height": 600}).open()
    begin(page)

    def expect_seen() -> None:
        focused, picture = page.locator(":focus"), page.locator("figure").bounding_box()
        assert focused.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
        box = focused.bounding_box()
        above = box["y"] + box["height"] <= picture["y"] + 1
        assert above or box["y"] >= picture["y"] + picture["height"] - 1, focused.inner_text()

    for name in ("Play again", "Undo", "siren", "not sure", "Answer with it", "what the model"):
        tab_to(page, name)
        expect_seen()
    for _ in range(len(LABELS) + 10):
        press(page, "Shift+Tab")
        expect_seen()
    tab_to(page, "not sure")
    press(page, " ")  # what has the focus by keys is pressed by it
    assert answers_in(page) == [(ITEMS[0].recording, UNSURE)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_can_be_read(expert: Callable[..., Expert], tmp_path: Path, scheme):
    labels = [*LABELS, "NATURAL_WATER_OCEAN", "x" * 200]
    long = [item(0, recording="deep/" * 60 + "rec.wav"), *ITEMS[1:]]
    viewport = {"width": 420, "height": 900}
    page = expert(long, labels, "T" * 120, viewport=viewport, color_scheme=scheme).open()
    page.screenshot(path=tmp_path / f"{scheme}-start.png")
    begin(page, "N" * 60)
    page.locator("#so-far summary").click()
    page.get_by_text("Keys", exact=True).click()
    press(page, "8", "ArrowLeft")
    page.get_by_role("button", name="Show what the model thinks").click()
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.screenshot(path=tmp_path / f"{scheme}.png")
    contrast = page.evaluate(CONTRAST)
    assert len(contrast) > 20
    assert {text: ratio for text, ratio in contrast.items() if ratio < 4.5} == {}


# of every text with what lies behind it, by the formula of WCAG 2
CONTRAST = """() => {
  const rgb = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => rgb(colour).slice(0, 3).map((x) => x / 255)
    .map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4))
    .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    const colour = element ? getComputedStyle(element).backgroundColor : "rgb(255, 255, 255)";
    return (rgb(colour)[3] ?? 1) ? colour : behind(element.parentElement);
  };
  const found = {};
  for (const element of document.querySelectorAll("body *:not(#view *)")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility()) continue;
    const [a, b] = [light(getComputedStyle(element).color), light(behind(element))];
    found[element.textContent.trim()] = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }
  return found;
}"""
