"""Names that others chose, where terminals, Markdown, HTML or spreadsheets read them.

They are shown, never obeyed. Folders, files, labels, categories, licences and messages about them
come from outside. This is the one place that makes them safe; who writes them into Markdown, a
page, a preview or a CSV file asks here.
"""

from __future__ import annotations

import contextlib
import html
import re

_FORMULA = r"[=+\-@\t\r\n＝＋－＠]"  # noqa: RUF001  full-width signs begin formulas, too
_MARKDOWN = "\\`*_{}[]()<>#+-.!|~$:&"
_IN_A_CARD = "\\`*[]<>|&~$"
_PUNCTUATION = re.escape("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
# where Markdown of today begins links and mentions that nobody marked: www. :// xmpp: @
_ADDRESS = re.compile(r"www(?=\.)|:(?=//)|\b(?:mailto|xmpp)(?=:)|@", re.IGNORECASE)
_LOOK_ALIKE = str.maketrans(
    {
        "_": "\N{MODIFIER LETTER LOW MACRON}",
        "*": "\N{LOW ASTERISK}",
        "`": "\N{MODIFIER LETTER GRAVE ACCENT}",
        "|": "\N{LIGHT VERTICAL BAR}",
    }
)


def printable(name: str) -> str:
    r"""Return a name as it can be printed and stored, whatever bytes it is made of.

    >>> printable("dog/caf\udce9.wav")
    'dog/caf\\xe9.wav'
    """
    text = name
    with contextlib.suppress(UnicodeEncodeError):  # halves of characters, which a bucket may hold
        text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str) -> str:
    r"""Return text of several lines, each as it can be printed.

    >>> printable_lines("Error: \x1b[31mred\nand more")
    'Error: \\x1b[31mred\nand more'
    """
    return "\n".join(map(printable, text.split("\n")))


def guarded(text: str) -> str:
    """Return a text as a CSV file may hold it, that no spreadsheet runs as a formula.

    One that begins as formulas do (``=``, ``+``, ``-``, ``@``, a line break or a tab) gets an
    apostrophe in front, as OWASP advises, and so does one that looks as if it had got one:
    ``unguarded`` gives every text back.

    >>> guarded("=1+1"), guarded("'tis"), guarded("'=1+1")
    ("'=1+1", "'tis", "''=1+1")
    """
    return f"'{text}" if re.match(f"'*{_FORMULA}", text) else text


def unguarded(text: str) -> str:
    """Return the text that ``guarded`` was given."""
    return text[1:] if re.match(f"'+{_FORMULA}", text) else text


def escaped(text: object) -> str:
    """Return text such that Streamlit's Markdown shows it as it is, over several lines too."""
    return _escaped(_unaddressed(str(text)), _MARKDOWN).replace("\n", "  \n")


def card_text(text: object) -> str:
    """Return a name for a line of a Markdown file: as plain to read as it can be and inert."""
    return _escaped(_unaddressed(one_line(text)), _IN_A_CARD)


def one_line(text: object) -> str:
    """Return text without what breaks a line or cannot be printed."""
    return "".join(c if c.isprintable() else " " for c in str(text))


def preview_name(text: object) -> str:
    """Return a name for a page that is read as HTML first and as Markdown after, as Kedro-Viz does.

    Entities and backslashes do not last through both, so marks are replaced by what looks
    alike, and a bracket and a parenthesis that would make a link are kept apart.
    """
    return _unlinked(html.escape(one_line(text).translate(_LOOK_ALIKE)))


def preview_markdown(text: str) -> str:
    """Return a Markdown file of ours for such a page: its headings, tables, no link."""
    plain = html.unescape(re.sub(rf"\\([{_PUNCTUATION}])", r"\1", text))
    plain = re.sub(r"(?<=\w)_(?=\w)", "\N{MODIFIER LETTER LOW MACRON}", plain)
    return _unlinked(html.escape(plain))


def _unlinked(text: str) -> str:
    return text.replace("](", "]\N{WORD JOINER}(")


def _unaddressed(text: str) -> str:
    """Return text without what becomes a link by itself, after escapes are resolved."""
    return _ADDRESS.sub(lambda found: f"{found[0]}\N{WORD JOINER}", text)


def _escaped(text: str, marks: str) -> str:
    return "".join(f"\\{c}" if c in marks else c for c in text)
