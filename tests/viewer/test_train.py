from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from soundx.errors import SoundxError
from soundx.running.runs import PASSWORD, PIPELINES
from soundx.viewer import gate as gate_module
from soundx.viewer.gate import Gate

SECRET = "correct hörse"

PAGE = """
from pathlib import Path
from soundx.viewer.train import page

page(Path({project!r}), {env!r})
"""


@pytest.fixture
def open_page(monkeypatch):
    """Open the page in a browser of its own, where nobody has typed a password yet."""
    monkeypatch.setenv(PASSWORD, SECRET)
    monkeypatch.setattr(gate_module, "_GATE", Gate(lambda: 0.0))
    monkeypatch.setattr(gate_module, "_address", lambda: None)  # AppTest has none

    def open_(project, env=None):
        script = PAGE.format(project=str(project.folder), env=env)
        return AppTest.from_string(script, default_timeout=60).run()

    return open_


def sign_in(app, password=SECRET):
    app.text_input[0].input(password)
    return app.button[0].click().run()


def button(app, label):
    return next(button for button in app.button if button.label == label)


def labels(app):
    return [button.label for button in app.button]


def shown(app):
    parts = (app.info, app.warning, app.error, app.success, app.caption, app.code, app.text)
    return "\n".join(str(element.value) for part in parts for element in part)


@pytest.mark.parametrize("password", [None, ""])
def test_without_a_password_it_explains_and_can_start_nothing(
    project, open_page, monkeypatch, password
):
    monkeypatch.setenv(PASSWORD, "")
    if password is None:
        monkeypatch.delenv(PASSWORD)
    app = open_page(project)
    assert not app.exception
    assert PASSWORD in shown(app)
    assert not app.button
    assert not app.text_input


def test_a_wrong_password_opens_nothing_and_slows_every_browser_of_its_address(project, open_page):
    app = sign_in(open_page(project), "guess")
    assert not app.exception
    assert "not the password" in app.error[0].value
    other = sign_in(open_page(project))
    assert "Too soon" in other.error[0].value
    assert labels(other) == ["Sign in"]


def test_wrong_passwords_cost_ever_more_up_to_a_limit():
    now_s = 0.0
    gate = Gate(lambda: now_s)
    for wait_s in (1, 2, 4, 8, 8):
        assert not gate.passes("guess", SECRET)
        now_s += wait_s - 0.01
        with pytest.raises(SoundxError, match="Too soon"):
            gate.passes(SECRET, SECRET)
        now_s += 0.01
    assert gate.passes(SECRET, SECRET)
    assert not gate.passes("", SECRET)


def test_who_guesses_elsewhere_keeps_nobody_out():
    gate = Gate(lambda: 0.0)
    for attacker in ("192.0.2.66", "2001:db8::1", "::ffff:192.0.2.67"):
        assert not gate.passes("guess", SECRET, attacker)
    for guess_again in ("192.0.2.66", "2001:db8::2", "192.0.2.67"):
        with pytest.raises(SoundxError, match="Too soon"):
            gate.passes(SECRET, SECRET, guess_again)
    assert gate.passes(SECRET, SECRET, "192.0.2.10")
    assert gate.passes(SECRET, SECRET, "2001:db8:0:1::1")
    assert gate.passes(SECRET, SECRET)
    with pytest.raises(SoundxError, match="Too soon"):
        gate.passes("guess", SECRET, "192.0.2.66")


def test_what_is_no_address_is_one():
    gate = Gate(lambda: 0.0)
    assert not gate.passes("guess", SECRET, "unknown")
    with pytest.raises(SoundxError, match="Too soon"):
        gate.passes("guess", SECRET, "unknown, too")
    assert gate.passes(SECRET, SECRET)


def test_many_addresses_take_no_more_memory():
    gate = Gate(lambda: 0.0)
    for number in range(5000):
        gate.passes("guess", SECRET, f"10.0.{number // 256}.{number % 256}")
    assert len(gate._closed) == 4096
    with pytest.raises(SoundxError, match="Too soon"):
        gate.passes(SECRET, SECRET, "10.0.19.135")


def test_the_right_password_shows_what_can_be_run(project, open_page):
    app = sign_in(open_page(project))
    assert not app.exception
    assert labels(app) == ["Sign out", "Start"]
    assert app.multiselect[0].value == list(PIPELINES)
    values = {field.label: field.value for field in app.number_input}
    assert values["Stretches a clip"] == 2
    assert values["Seed of the split"] == 7
    button(app, "Sign out").click().run()
    assert labels(app) == ["Sign in"]


def test_fields_are_those_of_the_chosen_head(project, open_page):
    app = sign_in(open_page(project))
    seen = {}
    for head in ("ridge", "dense", "seed"):
        app.selectbox[0].select(head).run()
        seen[head] = {field.label: field.value for field in app.number_input}
    assert not app.exception
    assert "Learning rate" not in seen["ridge"]
    assert seen["dense"]["Learning rate"] == seen["seed"]["Learning rate"] == 2e-4
    assert seen["dense"]["Epochs at most"] == 100
    assert "Stretches a clip" in seen["dense"]
    assert "Stretches a clip" not in seen["seed"]


def test_the_chosen_head_and_its_fields_are_what_runs(project, open_page):
    app = sign_in(open_page(project, "waiting"))
    app.selectbox[0].select("dense").run()
    next(f for f in app.number_input if f.label == "Epochs at most").set_value(5).run()
    app.multiselect[0].set_value(["ingestion"])
    button(app, "Start").click().run()
    project.wait_until_it_waits()
    runs = project.runs("waiting")
    assert "--params=training.head=dense,training.max_epochs=5" in runs.current().command
    runs.stop()


def test_what_another_head_has_no_use_for_is_not_sent(project, open_page):
    app = sign_in(open_page(project, "waiting"))
    app.selectbox[0].select("seed").run()
    next(f for f in app.number_input if f.label == "Epochs at most").set_value(5).run()
    app.selectbox[0].select("ridge").run()
    app.multiselect[0].set_value(["ingestion"])
    button(app, "Start").click().run()
    project.wait_until_it_waits()
    runs = project.runs("waiting")
    assert not any(part.startswith("--params") for part in runs.current().command)
    runs.stop()


@pytest.mark.slow
def test_two_browsers_start_one_run_and_either_stops_it(project, open_page):
    first, second = (sign_in(open_page(project, "waiting")) for _ in range(2))
    for app in (first, second):
        app.multiselect[0].set_value(["ingestion"])
        next(f for f in app.number_input if f.label == "Seed of the training").set_value(11)
    button(first, "Start").click().run()
    project.wait_until_it_waits()
    button(second, "Start").click().run()
    for app in (first.run(), second):
        assert not app.exception
        assert "Stop" in labels(app)
        assert button(app, "Start").disabled
        assert "Step 1 of 3" in shown(app)
    runs = project.runs("waiting")
    assert len(list(runs.folder.glob("*/run.json"))) == 1
    assert runs.current().command[2:] == (
        "--pipelines=ingestion",
        "--params=training.seed=11",
        "--env=waiting",
    )
    button(second, "Stop").click().run()
    assert not runs.current().running
    assert "Stopped after" in shown(first.run())
    assert not button(first, "Start").disabled


def test_a_finished_run_shows_what_it_came_to(own_demo, project_on, open_page):
    project = project_on(own_demo)
    app = sign_in(open_page(project))
    assert app.multiselect[0].value == ["training", "evaluation"]
    app.multiselect[0].set_value(["evaluation"])
    button(app, "Start").click().run()
    project.wait_until_it_is_over()
    app.run()
    assert not app.exception
    assert "Finished after" in app.success[0].value
    assert app.metric[0].value.endswith("%")


def test_a_failed_run_says_why(project, open_page):
    project.runs().start(["evaluation"])
    project.wait_until_it_is_over()
    app = sign_in(open_page(project))
    assert "Failed after" in app.error[0].value
    assert "--pipelines=training" in app.code[0].value


def test_what_a_run_prints_is_text_and_never_markup(project, open_page):
    project.runs("waiting").start(["ingestion"])
    project.wait_until_it_waits()
    project.let_it_go_on()
    project.wait_until_it_is_over("waiting")
    app = sign_in(open_page(project, "waiting"))
    assert "<b>told</b> to go on" in app.code[0].value
    assert not any("told" in markdown.value for markdown in app.markdown)
    assert "Traceback" not in app.code[0].value


def test_a_press_that_starts_nothing_says_why(project, open_page):
    app = sign_in(open_page(project))
    app.multiselect[0].set_value([])
    button(app, "Start").click().run()
    assert "Choose one pipeline" in app.warning[0].value
    assert project.runs().current() is None


def test_a_broken_configuration_is_told_in_words(project, open_page):
    conf = project.folder / "conf/local/parameters.yml"
    conf.write_text("training: { max_epochs: many }\n")
    app = sign_in(open_page(project))
    assert not app.exception
    assert "max_epochs" in app.code[0].value
    assert "Start" not in labels(app)
