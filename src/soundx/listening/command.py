"""``soundx``: listen to recordings on the command line.

    soundx predict PATH...        what is in recordings: a row a file, timed events
    soundx listen                 the same of a microphone, as it is heard
    soundx evaluate EVENTS TRUTH  how well events agree with true ones

Of ``python soundx.pyz`` the commands are the same. What takes time to import is imported where it
is used: a clip is answered within a second.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from soundx import __version__
from soundx.audio import decoding
from soundx.errors import SoundxError
from soundx.markup import printable, unguarded
from soundx.progress import counted
from soundx.storage.whole import whole_file

if TYPE_CHECKING:
    from soundx.classifier.bundle import Classifier
    from soundx.listening.events import Event
    from soundx.listening.listen import Prediction
    from soundx.listening.recordings import Source

MODEL = "SOUNDX_MODEL"
"""The variable with the folder of the classifier, where ``--model`` does not name it."""
PLACE = Path("data/06_models/classifier")
OUTPUT = "soundx-results"

_STOPPED = 130  # as shells have it: 128 and the number of SIGINT
_FORMATS = ("csv", "audacity", "raven", "kaleidoscope", "birdnet", "dcase")
_WAYS = ("all", "random", "best", "balanced")


def main(
    arguments: Sequence[str] | None = None, *, add: Callable[[Any], None] | None = None
) -> int:
    """Carry out a command; return its exit code: 1 where something could not be done.

    Args:
        arguments: What was typed after the command's name; by default that of this process.
        add: Adds commands that are not of listening.
    """
    options = _parser(add).parse_args(arguments)
    try:
        return int(options.do(options))
    except SoundxError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Stopped. What was heard is kept: run it again to go on.\n")
        return _STOPPED
    except BrokenPipeError:  # whoever read our answers has gone
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  or the interpreter complains at its end
        return 1
    except OSError as error:
        where = printable(str(error.filename or ""))
        sys.stderr.write(f"Error: {where}: {error.strerror or error}\n")
        return 1


class Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Texts as they are written, defaults told."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"Error: {message}\nSee: {self.prog} --help\n")


def _parser(add: Callable[[Any], None] | None) -> argparse.ArgumentParser:
    parser = _Parser(prog="soundx", description="Listen to recordings.", formatter_class=Help)
    parser.add_argument("--version", action="version", version=f"soundx {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_predict(commands)
    _add_listen(commands)
    _add_evaluate(commands)
    if add is not None:
        add(commands)
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        metavar="DIR",
        help=f"folder of the classifier, or of the project's data (default: ${MODEL}, beside "
        f"soundx.pyz, or {PLACE})",
        default=argparse.SUPPRESS,
    )


def _add_rules(parser: argparse.ArgumentParser) -> None:
    rules = parser.add_argument_group("when a label is an event (else as labels.json says)")
    for name, what in (
        ("threshold", "probability at which an event begins, of every label"),
        ("off-threshold", "probability above which it goes on"),
        ("min-duration", "shorter events are left out, in seconds"),
        ("gap", "events of a label that are no further apart are one, in seconds"),
    ):
        suppress = argparse.SUPPRESS
        rules.add_argument(f"--{name}", type=float, metavar="X", default=suppress, help=what)


def _add_predict(commands: Any) -> None:
    parser = commands.add_parser(
        "predict",
        help="what is in recordings",
        formatter_class=Help,
        description="Tell what is in recordings: predictions.csv with a row a file, and timed "
        "events in the formats asked for. A run that was stopped goes on where it was.",
        epilog="examples:\n"
        "  soundx predict clip.wav\n"
        "  soundx predict nights/ --format audacity,raven --output found\n"
        "  soundx predict 'nights/*.flac' --segments clips --choose balanced --per-label 20",
    )
    parser.add_argument("path", nargs="+", help="file, folder, 'pattern*.wav' or s3:// URL")
    _add_model(parser)
    parser.add_argument("--output", metavar="DIR", default=OUTPUT, help="where results go")
    parser.add_argument(
        "--format",
        action="append",
        metavar="F[,F]",
        default=argparse.SUPPRESS,
        help=f"formats of events beside events.csv: {', '.join(_FORMATS[1:])}",
    )
    parser.add_argument("--combined", action="store_true", help="one Raven table over all files")
    parser.add_argument("--windows", action="store_true", help="windows.csv, a row a window")
    parser.add_argument("--workers", type=int, metavar="N", help="files heard at once")
    parser.add_argument("--quiet", action="store_true", help="no progress, no rows on the terminal")
    _add_rules(parser)
    cut = parser.add_argument_group("clips of events")
    cut.add_argument("--segments", metavar="DIR", help="cut events out, in a folder a label")
    cut.add_argument("--choose", choices=_WAYS, default="all", help="which of them")
    cut.add_argument("--per-label", type=int, metavar="N", help="how many of a label at most")
    cut.add_argument("--padding", type=float, default=0.0, metavar="S", help="seconds around them")
    cut.add_argument("--seed", type=int, default=7, help="what random choices are drawn by")
    parser.set_defaults(do=_predict)


def _add_listen(commands: Any) -> None:
    parser = commands.add_parser(
        "listen",
        help="what a microphone hears",
        formatter_class=Help,
        description="Tell what the microphone hears, a line as an event begins and ends. Needs the "
        "package sounddevice (pip install sounddevice). Ctrl-C ends it.",
    )
    _add_model(parser)
    parser.add_argument("--device", help="name or number of the input; 'list' lists them")
    parser.add_argument("--seconds", type=float, metavar="S", help="stop after so long")
    _add_rules(parser)
    parser.set_defaults(do=_listen)


def _add_evaluate(commands: Any) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="how well events agree with true ones",
        formatter_class=Help,
        description="Hold events against true ones: event F1, segment F1, intersection F1 and "
        "false alarms an hour. Both are files or folders of tables that soundx, Audacity, Raven, "
        "DCASE or BirdNET write.",
    )
    parser.add_argument("events", help="what was found")
    parser.add_argument("truth", help="what is true")
    parser.add_argument(
        "--predictions",
        metavar="CSV",
        help="table with the length of every recording (default: predictions.csv beside EVENTS)",
        default=argparse.SUPPRESS,
    )
    parser.add_argument("--collar", type=float, default=0.2, metavar="S", help="of onsets")
    parser.add_argument(
        "--offset-share", type=float, default=0.2, metavar="X", help="of the length, for offsets"
    )
    parser.add_argument("--label-column", metavar="NAME", help="of a Raven table")
    parser.add_argument("--output", metavar="JSON", help="write all figures there")
    parser.set_defaults(do=_evaluate)


# --- predict ------------------------------------------------------------------------------


def _predict(options: argparse.Namespace) -> int:
    decoding.start_ahead()  # a process of its own: it is ready when the model is
    from soundx.listening.formats import FORMATS, write_formats
    from soundx.listening.listen import Listener, event_rules
    from soundx.listening.recordings import find_recordings
    from soundx.listening.results import prediction_row, predictions_csv, windows_csv
    from soundx.parallel import n_workers

    output = place_on_disk("--output", options.output)
    if options.segments is not None:
        place_on_disk("--segments", options.segments)
        _cut([], [], options)  # of nothing: what cannot be meant is said before a night is heard
    # an older run's events.csv would not be of these predictions
    formats = _formats(["csv", *getattr(options, "format", ())], FORMATS)
    workers = n_workers() if options.workers is None else options.workers
    if workers < 1:
        raise SoundxError(f"--workers is {workers}: at least one has to work.")
    sources = find_recordings(options.path)
    classifier = _classifier(getattr(options, "model", None))
    rules = event_rules(classifier, **_rules(options))
    listener = Listener(classifier, output / ".heard", rules, workers=workers)
    heard: list[Prediction] = []
    rows = []
    with _progress(len(sources), quiet=options.quiet) as (tick, say):
        for prediction in listener.listen(sources, tick):
            heard.append(prediction)
            rows.append(prediction_row(prediction, classifier))
            say(_line(rows[-1]))
    recordings = [one.recording for one in heard if not one.error]
    events = [event for one in heard for event in one.events]
    _write(output / "predictions.csv", predictions_csv(rows))
    texts = write_formats(formats, recordings, events, combined=options.combined)
    for file, text in texts.items():
        _write(output / file, text)
    if options.windows:
        with whole_file(output / "windows.csv") as partial, partial.open("w", newline="") as table:
            table.writelines(windows_csv(heard, classifier))
    if options.segments is not None:
        cut = _cut(sources, events, options)
        if not options.quiet:
            sys.stderr.write(f"{counted(len(cut), 'clip')} in {options.segments}\n")
    n_broken = len(heard) - len(recordings)
    if not options.quiet:
        told = f"{counted(len(heard), 'recording')}, {counted(len(events), 'event')}"
        sys.stderr.write(f"{told}. Results: {output}\n")
    if n_broken:
        sys.stderr.write(f"{n_broken} could not be heard: see the column 'error'.\n")
    return 1 if n_broken else 0


def _cut(
    sources: Sequence[Source], events: Sequence[Event], options: argparse.Namespace
) -> list[Path]:
    from soundx.listening.segments import choose_segments, cut_segments

    chosen = choose_segments(
        events, how=options.choose, per_label=options.per_label, seed=options.seed
    )
    wanted = {event.file for event in chosen}
    with contextlib.ExitStack() as there:
        paths = {
            source.file: there.enter_context(source.on_disk())
            for source in sources
            if source.file in wanted
        }
        return cut_segments(paths, chosen, Path(options.segments), padding_s=options.padding)


def _line(row: Mapping[str, Any]) -> str:
    name = printable(row["file"])
    if row["error"]:
        return f"{name}\tcannot be heard: {row['error']}"
    return (
        f"{name}\t{printable(row['answer'])}\t{row['probability']:.3f}\t"
        f"{row['duration_s']:.1f} s\t{row['n_events']} events"
    )


def _rules(options: argparse.Namespace) -> dict[str, float]:
    names = {"threshold": "on", "off_threshold": "off", "min_duration": "min_s", "gap": "gap_s"}
    return {own: getattr(options, name) for name, own in names.items() if hasattr(options, name)}


def _formats(given: Sequence[str], known: Mapping[str, Any]) -> list[str]:
    names = [name.strip() for one in given for name in one.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise SoundxError(f"There is no format '{name}'. There are: {', '.join(known)}.")
    return list(dict.fromkeys(names))


def _classifier(given: str | None) -> Classifier:
    from soundx.classifier.bundle import LABELS, Classifier

    place = _model_folder(given)
    for folder in (place, place / "06_models" / "classifier", place.parent):
        if (folder / LABELS).is_file():
            return Classifier.of_folder(folder, threads=1)
    raise SoundxError(
        f"There is no classifier in {place}. Name the folder of one that was trained: --model DIR"
    )


def _model_folder(given: str | None) -> Path:
    if given == "":
        raise SoundxError("--model is empty. Name the folder of a classifier: --model DIR")
    if given is not None:
        return Path(given).expanduser()
    if os.environ.get(MODEL):
        return Path(os.environ[MODEL]).expanduser()
    started = Path(sys.argv[0])
    return started.resolve().parent if started.suffix == ".pyz" else PLACE


def place_on_disk(option: str, given: str, suffixes: Sequence[str] = ()) -> Path:
    """Return where an option says that something is to be written.

    Args:
        option: The option, as it is typed.
        given: What it was given.
        suffixes: What the name of a file that is written there may end in; any by default.

    Raises:
        SoundxError: It is empty, an address, or the name of something else.
    """
    if not given or "://" in given:
        raise SoundxError(
            f"{option} is '{printable(given)}': results go to a disk. Name a place on this machine."
        )
    path = Path(given)
    if suffixes and path.suffix.lower() not in suffixes:
        # what stands there is replaced: it might be one's own table
        raise SoundxError(
            f"{option} is '{printable(given)}': give a name that ends in {' or '.join(suffixes)}."
        )
    return path


def _write(path: Path, text: str) -> None:
    with whole_file(path) as partial:
        # the name of a recording need not be text: a byte that is none is written as its code
        partial.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")


class _Bar:
    """What has been heard, on one line of the terminal, with times real time."""

    WIDTH = 24

    def __init__(self, n_files: int, *, shown: bool) -> None:
        self._n_files = n_files
        self._shown = shown
        self._begin = time.monotonic()
        self._heard_s = 0.0
        self._done = 0
        self._lock = threading.Lock()
        self._drawn_s = 0.0

    def tick(self, seconds: float) -> None:
        with self._lock:
            self._heard_s += seconds
            now = time.monotonic()
            if self._shown and now - self._drawn_s > 0.2:  # noqa: PLR2004
                self._drawn_s = now
                self._draw(now)

    def say(self, line: str) -> None:
        with self._lock:
            self._done += 1
            if self._shown:
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()

    def end(self) -> None:
        if self._shown:
            self._draw(time.monotonic())
            sys.stderr.write("\n")

    def _draw(self, now: float) -> None:
        full = self.WIDTH * self._done // max(self._n_files, 1)
        speed = self._heard_s / max(now - self._begin, 1e-3)
        hours, rest = divmod(int(self._heard_s), 3600)
        sys.stderr.write(
            f"\r\x1b[KListening {'━' * full}{'─' * (self.WIDTH - full)} "
            f"{self._done}/{self._n_files}  {hours}:{rest // 60:02d}:{rest % 60:02d} heard, "
            f"{speed:,.0f} times real time"
        )
        sys.stderr.flush()


@contextlib.contextmanager
def _progress(n_files: int, *, quiet: bool) -> Iterator[tuple[Any, Any]]:
    if quiet:
        yield lambda _: None, lambda _: None
        return
    bar = _Bar(n_files, shown=sys.stderr.isatty())
    yield bar.tick, bar.say
    bar.end()


# --- listen -------------------------------------------------------------------------------


def _listen(options: argparse.Namespace) -> int:
    from soundx.listening.listen import event_rules
    from soundx.listening.microphone import Microphone, list_devices, watch

    if options.device == "list":
        sys.stdout.write(f"{list_devices()}\n")
        return 0
    classifier = _classifier(getattr(options, "model", None))
    rules = event_rules(classifier, **_rules(options))
    with Microphone(options.device) as microphone:
        sys.stderr.write(f"Listening to {microphone.name}. Ctrl-C ends it.\n")
        for line in watch(microphone.blocks(options.seconds), classifier, rules):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
    return 0


# --- evaluate -----------------------------------------------------------------------------


def _evaluate(options: argparse.Namespace) -> int:
    from soundx.listening.scores import score_events
    from soundx.listening.truth import read_events

    output = None
    if options.output is not None:
        output = place_on_disk("--output", options.output, (".json",))
    found = read_events(options.events, label_column=options.label_column)
    truth = read_events(options.truth, label_column=options.label_column)
    durations_s = _durations(options, [*found, *truth])
    scores = score_events(
        found,
        truth,
        durations_s,
        collar_s=options.collar,
        offset_share=options.offset_share,
    )
    if output is not None:
        _write(output, json.dumps(scores, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.write(_table(scores))
    return 0


def _durations(options: argparse.Namespace, events: Sequence[Event]) -> dict[str, float]:
    """Return the length of every recording: as was heard, else as far as events reach."""
    import csv

    place = Path(options.events)
    beside = (place if place.is_dir() else place.parent) / "predictions.csv"
    given = Path(getattr(options, "predictions", beside))
    if given.is_file():
        with given.open(encoding="utf-8", newline="") as file:
            try:
                rows = [row for row in csv.DictReader(file) if row["duration_s"]]
                return {unguarded(row["file"]): float(row["duration_s"]) for row in rows}
            except (KeyError, ValueError, TypeError, csv.Error):
                raise SoundxError(
                    f"{given} is no table of predictions: it needs the columns file and duration_s."
                ) from None
    if hasattr(options, "predictions"):
        raise SoundxError(f"{given} is not there.")
    sys.stderr.write(
        f"There is no {beside}: recordings are taken to end with their last event, and those "
        "without one are not counted.\n"
    )
    longest: dict[str, float] = {}
    for event in events:
        longest[event.file] = max(longest.get(event.file, 0.0), event.offset_s)
    return longest


def _table(scores: Mapping[str, Any]) -> str:
    ways = {
        "event": "event (onset within {collar_s:g} s, offset within that or {offset_share:.0%})",
        "segment": "segments of {segment_s:g} s",
        "intersection": "intersection (DTC {dtc:g}, GTC {gtc:g})",
    }
    lines = [f"{'':54}    F1  precision  recall  macro F1"]
    for way, title in ways.items():
        one = scores[way]
        lines.append(
            f"{title.format(**scores['conventions']):54}{one['f1']:6.3f}  {one['precision']:9.3f}"
            f"  {one['recall']:6.3f}  {one['macro_f1']:8.3f}"
        )
    lines.append(
        f"{scores['n_found']} found, {scores['n_true']} true, "
        f"{scores['false_alarms_per_hour']:.2f} false alarms an hour in {scores['hours']:.2f} h"
    )
    for label, one in scores["labels"].items():
        lines.append(
            f"  {printable(label):50}  {one['event']['f1']:6.3f}  (segments "
            f"{one['segment']['f1']:.3f}, {one['n_found']} found, {one['n_true']} true)"
        )
    told = scores["recordings"]
    for name in told["truth_not_listened_to"]:
        lines.append(f"not listened to: {printable(name)}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
