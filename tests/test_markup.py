from __future__ import annotations

import html
import re

import numpy as np
import pandas as pd
import pytest

from soundx.datasets.previews import preview_table
from soundx.datasets.tables import TextDataset
from soundx.figures.confusion import confusion_picture, draw_confusion
from soundx.figures.curves import draw_training_curves
from soundx.markup import card_text, escaped, preview_name
from soundx.modelling.heads import History

ATTACKS = [
    '[x](y" onmouseover="alert(1)")',
    "[x](javascript:alert(1))",
    "<img src=x onerror=alert(1)>",
    "**b** `c` _d_ |e|",
    "line\nbreak\x07\u2028",
    "$a_{$ $\\frac{$",
    "www.evil.example mail@evil.example http://evil.example/1 &lt;b&gt; ~~x~~",
]
LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")  # as Kedro-Viz finds them, in what is HTML already


def after_kedro_viz(preview: str) -> str:
    """What of a preview stands in the page's text: entities are gone before Markdown is read."""
    return html.unescape(preview)


@pytest.mark.parametrize("name", ATTACKS)
def test_a_name_in_a_preview_is_neither_markup_nor_markdown(name):
    preview = preview_name(name)
    assert "<" not in preview
    assert '"' not in preview
    assert not LINK.search(after_kedro_viz(preview))
    assert not set("*`_|\n") & set(after_kedro_viz(preview))


@pytest.mark.parametrize("name", ATTACKS)
def test_a_name_in_a_card_stays_in_its_line_and_is_inert_in_the_preview(name, tmp_path):
    text = card_text(name)
    assert text.replace("\N{WORD JOINER}", "").isprintable()
    assert not re.search(r"(?<!\\)[*`<>|\[\]&~$]", text.replace("\\\\", ""))
    card = tmp_path / "card.md"
    card.write_text(f"# Card\n\n- Labels: {text}\n")
    shown = TextDataset(filepath=str(card)).preview()
    assert "<" not in shown
    assert not LINK.search(after_kedro_viz(shown))
    assert shown.startswith("# Card\n")


def test_a_name_in_streamlits_markdown_is_escaped():
    assert escaped("![i](x&y)") == "\\!\\[i\\]\\(x\\&y\\)"


# as GitHub's Markdown finds links that nobody marked, in text whose escapes are resolved
BY_ITSELF = re.compile(r"www\.|\w://|[\w.+-]@\w|(?<!\w)@\w|(mailto|xmpp):", re.IGNORECASE)


@pytest.mark.parametrize("show", [escaped, card_text])
@pytest.mark.parametrize(
    "name",
    ["www.evil.example", "WWW.evil.example", "mail@evil.example", "http://evil.example/1",
     "ftp://evil.example", "@somebody", "xmpp:me@evil.example", "MAILTO:me@evil.example"],
)  # fmt: skip
def test_a_name_becomes_no_link_by_itself(show, name):
    assert BY_ITSELF.search(name)
    resolved = show(name).replace("\\", "")
    assert not BY_ITSELF.search(resolved)
    assert resolved.replace("\N{WORD JOINER}", "") == name


def test_charts_and_tables_show_hostile_names_as_text():
    n = len(ATTACKS)
    table = pd.DataFrame(np.eye(n, dtype=int), index=ATTACKS, columns=ATTACKS)
    page = draw_confusion(table).to_html(include_plotlyjs=False)
    assert "<img src=x" not in page
    curves = draw_training_curves(
        {name: History([1.0], [1.0], [1.0], [1.0], 1) for name in ATTACKS}
    )
    assert "<img" not in curves.to_json()
    confusion_picture(table).draw_without_rendering()
    preview = preview_table(pd.DataFrame({"label": ATTACKS}))
    assert [len(row) for row in preview["data"]] == [1] * n
