"""``soundx`` on the command line: what listens, and what asks people about recordings.

What listens loads no more than NumPy, soundfile, soxr and LiteRT; all else is loaded by the
command that needs it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from soundx.errors import SoundxError
from soundx.listening import command
from soundx.markup import printable

_OF_A_LABEL = ("best", "spread")
_ORDERS = ("usual", "uncertain", "best", "spread", "oldest", "random")


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command; return its exit code: 1 where something could not be done."""
    return command.main(arguments, add=_add)


def _add(commands: Any) -> None:
    parser = commands.add_parser(
        "review-page",
        help="windows of recordings as one HTML file, for somebody to answer",
        formatter_class=command.Help,
        description="Write one HTML file with windows of the project's recordings in it. It needs "
        "no network and no soundx: whoever opens it answers by keys, and sends back the CSV file "
        "that it gives.",
        epilog="examples:\n"
        "  soundx review-page --n 100 --output for-ada.html\n"
        "  soundx review-page --order spread --label ANIMALS_DOG --n 100",
    )
    _add_project(parser)
    parser.add_argument(
        "--order", choices=_ORDERS, default="usual", help="which windows come first"
    )
    parser.add_argument("--label", default="", help="of the orders best and spread")
    parser.add_argument("--n", type=int, default=50, metavar="N", help="how many windows")
    parser.add_argument("--title", default="Review of recordings", help="what the page is called")
    parser.add_argument("--output", metavar="FILE", default="review.html", help="where to")
    parser.set_defaults(do=_review_page)
    parser = commands.add_parser(
        "review-answers",
        help="take answers from a review page, or from other programs",
        formatter_class=command.Help,
        description="Take answers that were given on a review page, or marked in Audacity, Raven, "
        "BirdNET or Kaleidoscope, into the project's table of answers.",
    )
    parser.add_argument("file", nargs="+", help="CSV file of a page, label track, selection table")
    _add_project(parser)
    parser.add_argument("--name", default="", help="who answered, where the file does not say so")
    parser.add_argument("--label-column", metavar="NAME", help="of a Raven table")
    parser.set_defaults(do=_review_answers)


def _add_project(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--env", default=None, help="environment of the project in this folder")
    parser.add_argument("--data-root", default=None, metavar="DIR", help="where its data are")


def _review_page(options: argparse.Namespace) -> int:
    from soundx.running.reviewing import write_page

    if options.order in _OF_A_LABEL and not options.label:
        raise SoundxError(f"Name the label that --order {options.order} is of: --label LABEL")
    output = command.place_on_disk("--output", options.output, (".html", ".htm"))
    with _told(options.env):
        n, size = write_page(
            Path.cwd(),
            options.env,
            options.data_root,
            order=options.order,
            label=options.label,
            n=options.n,
            title=options.title,
            output=output,
        )
    sys.stderr.write(f"{n} windows, {size / 1e6:.1f} MB: {options.output}\n")
    return 0


def _review_answers(options: argparse.Namespace) -> int:
    from soundx.running.reviewing import take_answers

    files = [Path(one) for one in options.file]
    with _told(options.env):
        n, n_older, why_not = take_answers(
            Path.cwd(),
            options.env,
            options.data_root,
            files,
            options.name,
            options.label_column,
        )
    for why in why_not:
        sys.stderr.write(f"{printable(why)}\n")
    told = f"; {n_older} were older than what stands" if n_older else ""
    sys.stderr.write(f"{n} answers taken{told}.\n")
    return 1 if why_not else 0


@contextmanager
def _told(env: str | None) -> Iterator[None]:
    """Have errors say which command mends them."""
    from soundx.running.messages import message_for_people

    try:
        yield
    except Exception as error:
        message = message_for_people(error, env)
        if message is None:
            raise
        raise SoundxError(message) from None


if __name__ == "__main__":
    sys.exit(main())
