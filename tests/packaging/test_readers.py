"""What other people's programs make of our files of events, and of our scores.

crowsetta, sed_eval and psds_eval, in an environment of its own of what ``readers.lock`` names;
sed_eval and the dcase_util below it have no wheels, and are built with the setuptools it names.
pandas opens what is meant for Kaleidoscope and BirdNET-Analyzer, which themselves are no library
(Kaleidoscope) or come with TensorFlow only to read a table (birdnet-analyzer 2.4.0).
OpenSoundscape 0.13 comes with PyTorch and CUDA, of several GB: what it asks of a selection table,
the two times and the two frequencies, is asked of ours here.

To make the lock again: ``uv pip compile -c requirements.lock --universal --python-version 3.11
--generate-hashes`` of crowsetta, sed_eval, psds_eval and setuptools<82.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soundx.listening.events import Event, Recording
from soundx.listening.formats import FORMATS, write_events
from soundx.listening.scores import score_events
from tests.packaging.conftest import plain_environment, run
from tests.packaging.locks import part_of

LOCK = Path(__file__).with_name("readers.lock")
LABELS = ("dog bark", "Ölsäge, rot", 'cat "Tom"', "=2+3")
RECORDINGS = [Recording(f"site{n}/rec ä.wav", 60.0) for n in range(4)]
DURATIONS = {recording.file: recording.duration_s for recording in RECORDINGS}

READ = """
import json, sys
from pathlib import Path
import crowsetta, pandas, sed_eval

def listed(path, **more):  # it guesses the separator: it may think it is the space in a label
    return sed_eval.io.load_event_list(str(path), delimiter="\\t", **more)

folder, found = Path(sys.argv[1]), {}
for path in sorted(folder.rglob("*.txt")):
    name = str(path.relative_to(folder))
    if path.stat().st_size and path.name.endswith(".selections.txt"):
        table = pandas.read_csv(path, sep="\\t")
        if len(table):
            boxes = crowsetta.formats.bbox.Raven.from_file(path, annot_col="Label").to_bbox()
            found[name] = [[b.onset, b.offset, b.label, b.low_freq, b.high_freq] for b in boxes]
    elif path.stat().st_size:
        sequence = crowsetta.formats.seq.AudSeq.from_file(path).to_seq()
        found[name] = [[s.onset_s, s.offset_s, s.label] for s in sequence.segments]
        found[name + " sed_eval"] = [[i.onset, i.offset, i.event_label]
                                     for i in listed(path)]
    else:
        found[name + " sed_eval"] = list(listed(path))
for path in folder.rglob("*.tsv"):
    found[path.name] = [[i.filename, i.onset, i.offset, i.event_label]
                        for i in listed(path, file_format="CSV")]
for path in folder.rglob("*.csv"):
    found[str(path.relative_to(folder))] = pandas.read_csv(path).fillna("").to_dict("split")
print(json.dumps(found))
"""

SCORE = """
import json, sys
import pandas, psds_eval, sed_eval

def psds(found, truth, durations):
    columns = ["filename", "onset", "offset", "event_label"]
    lengths = pandas.DataFrame(list(durations.items()), columns=["filename", "duration"])
    judge = psds_eval.PSDSEval(0.5, 0.5, ground_truth=pandas.DataFrame(truth, columns=columns),
                               metadata=lengths)
    return judge.compute_macro_f_score(pandas.DataFrame(found, columns=columns))

def sed(judge, found, truth, durations, **more):
    for file, duration_s in durations.items():
        lists = [[{"filename": f, "onset": a, "offset": b, "event_label": label}
                  for f, a, b, label in some if f == file] for some in (truth, found)]
        judge.evaluate(*lists, **({"evaluated_length_seconds": duration_s} if more else {}))
    names = ("f_measure", "precision", "recall")
    each = judge.results_class_wise_metrics()
    scores = {label: [each[label]["f_measure"][n] for n in names] for label in each}
    macro = judge.results_class_wise_average_metrics()["f_measure"]["f_measure"]
    everything = [judge.results_overall_metrics()["f_measure"][n] for n in names]
    if more:  # by segments, what is not found has no score with it, and is in no average
        scores = {label: [0.0 if v != v else v for v in each] for label, each in scores.items()}
        macro = sum(each[0] for each in scores.values()) / len(scores)
        everything = [0.0 if v != v else v for v in everything]
    return {"all": everything, "macro": macro, "each": scores}

answers = []
for found, truth, durations, share in json.load(sys.stdin):
    labels = sorted({e[3] for e in truth})
    told = {"event_label_list": labels, "empty_system_output_handling": "zero_score"}
    event = sed_eval.sound_event.EventBasedMetrics(t_collar=0.2, percentage_of_length=share, **told)
    segment = sed_eval.sound_event.SegmentBasedMetrics(event_label_list=labels, time_resolution=1.0)
    answers.append({"intersection": psds(found, truth, durations),
                    "event": sed(event, found, truth, durations),
                    "segment": sed(segment, found, truth, durations, length=True)})
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Python of an environment in which others' readers are."""
    tools = part_of(LOCK, ["setuptools"])
    folder = tmp_path_factory.mktemp("readers")
    with plain_environment(folder / "env", tools, LOCK.read_text()) as python:
        yield python


@pytest.fixture(scope="module")
def others(python: Path) -> Callable[[Path], dict[str, Any]]:
    """Return what others read of every file in a folder."""

    def read(folder: Path) -> dict[str, Any]:
        done = run(python, "-W", "ignore", "-c", READ, folder, cwd=folder, PYTHONUTF8="1")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    return read


def random_events(seed: int, labels: tuple[str, ...] = LABELS[:3]) -> list[Event]:
    """Draw events, of each label one after the other, as psds_eval wants them."""
    rng = np.random.default_rng(seed)
    events = []
    for recording in RECORDINGS[:3]:
        for label in labels:
            n = 2 * int(rng.integers(1, 6))
            edges = np.sort(rng.uniform(0, recording.duration_s, n)).reshape(-1, 2)
            events += [Event(recording.file, *map(float, e), label, label, 0.5, 0.5) for e in edges]
    return events


def heard_as(truth: list[Event], seed: int) -> list[Event]:
    """Draw what a fair detector finds: edges a little off, some missed, some made up."""
    rng = np.random.default_rng(seed)
    moved = []
    for event in random_events(seed + 1000) if seed % 2 else []:
        moved.append(event)
    for event in truth:
        onset_s, offset_s = np.clip(
            np.array([event.onset_s, event.offset_s]) + rng.normal(0, 0.15, 2), 0, 60
        )
        if onset_s < offset_s and rng.random() < 0.8:
            own = Event(
                event.file, float(onset_s), float(offset_s), event.label, event.category, 0.5, 0.5
            )
            moved.append(own)
    apart: list[Event] = []
    for event in sorted(moved, key=lambda e: (e.file, e.label, e.onset_s)):
        last = apart[-1] if apart else None
        alike = last and (last.file, last.label) == (event.file, event.label)
        if not alike or event.onset_s >= last.offset_s:
            apart.append(event)
    return apart


def plain(events: list[Event]) -> list[list[Any]]:
    return [[e.file, e.onset_s, e.offset_s, e.label] for e in events]


def rounded(events: list[Event]) -> list[list[Any]]:
    """What a table separated by tabs can say."""
    label = {name: name.replace('"', "'") for name in LABELS}
    return [[e.file, round(e.onset_s, 3), round(e.offset_s, 3), label[e.label]] for e in events]


def test_others_open_what_we_write(others, tmp_path):
    events = random_events(1, LABELS)
    for format in FORMATS:
        for name, text in write_events(format, RECORDINGS, events).items():
            path = tmp_path / format / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
    found = others(tmp_path)

    expected = rounded(events)
    assert found["dcase.tsv"] == expected
    for recording in RECORDINGS[:3]:
        own = [row[1:] for row in expected if row[0] == recording.file]
        name = recording.file.removesuffix(".wav")
        assert found[f"audacity/{name}.txt"] == own
        assert found[f"audacity/{name}.txt sed_eval"] == own
        boxes = found[f"raven/{name}.selections.txt"]
        assert boxes == [[*row, 0, 8000] for row in own]
        table = found[f"birdnet/{name}.BirdNET.results.csv"]
        assert [row[:2] for row in table["data"]] == [row[:2] for row in own]
        assert {row[5] for row in table["data"]} == {recording.file}
    assert found[f"audacity/{RECORDINGS[3].file.removesuffix('.wav')}.txt sed_eval"] == []

    table = found["kaleidoscope/kaleidoscope.csv"]
    assert table["columns"][:5] == ["INDIR", "FOLDER", "IN FILE", "OFFSET", "DURATION"]
    assert [f"{row[1]}/{row[2]}" for row in table["data"]] == [e.file for e in events]
    table = found["csv/events.csv"]
    labels = [row[3] for row in table["data"]]
    assert labels == [f"'{e.label}" if e.label == "=2+3" else e.label for e in events]


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_scores_are_those_of_sed_eval_and_psds_eval(python, tmp_path, share):
    truths = [random_events(seed) for seed in range(6)]
    founds = [heard_as(truth, seed) for seed, truth in enumerate(truths)]
    # nothing of one label is found; nothing at all is found
    founds += [[e for e in founds[0] if e.label != LABELS[0]], []]
    truths += [truths[0], truths[1]]
    given = tmp_path / "given.json"
    given.write_text(
        json.dumps(
            [
                [plain(found), plain(truth), DURATIONS, share]
                for found, truth in zip(founds, truths, strict=True)
            ]
        )
    )
    script = SCORE.replace("sys.stdin", f"open({str(given)!r})")
    done = run(python, "-W", "ignore", "-c", script, cwd=tmp_path, PYTHONUTF8="1")
    answers = json.loads(done.stdout.splitlines()[-1])
    hits = 0
    for found, truth, answer in zip(founds, truths, answers, strict=True):
        ours = score_events(found, truth, DURATIONS, offset_share=share)
        hits += ours["event"]["n_true_positives"]
        macro, each = answer["intersection"]
        # a label without a hit has no score with psds_eval, and is in no average; with us 0
        hit = {label: f1 for label, f1 in each.items() if not math.isnan(f1)}
        if hit:
            of_labels = len(hit) / len(each)
            assert ours["intersection"]["macro_f1"] == pytest.approx(macro * of_labels, abs=1e-9)
        for label in each:
            f1 = ours["labels"][label]["intersection"]["f1"]
            assert f1 == pytest.approx(hit.get(label, 0.0), abs=1e-9)
        for way in ("event", "segment"):
            theirs = answer[way]
            assert three(ours[way]) == pytest.approx(theirs["all"], abs=1e-9)
            assert ours[way]["macro_f1"] == pytest.approx(theirs["macro"], abs=1e-9)
            for label, scores in theirs["each"].items():
                assert three(ours["labels"][label][way]) == pytest.approx(scores, abs=1e-9)
    assert hits > 50


def three(scores: dict[str, float]) -> list[float]:
    return [scores[name] for name in ("f1", "precision", "recall")]
