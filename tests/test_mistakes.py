"""What people do wrong, and what they are told: one line with the thing and the remedy.

A row of the table is a mistake: how it is made, and words that the answer must have. Nothing is
lost by any: what was there before is there after it.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from tests.clips.test_listing import STRANGE, strange_files
from tests.conftest import ROOT, command

LABELS = ("cat", "dog")
EACH = 4
INGEST = "run --pipelines=ingestion"
EMBED = "run --pipelines=ingestion,preprocessing"


@dataclass
class World:
    """A project with clips of its own in ``clips``, and whatever is done to it."""

    folder: Path
    patch: pytest.MonkeyPatch

    @property
    def clips(self) -> Path:
        return self.folder / "clips"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def write(self, name: str, content: str | bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def add(self, name: str) -> None:
        """Write one more clip, unlike all others."""
        path = self.clips / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tone(path, sum(name.encode()))

    def keep(self, *names: str) -> None:
        """Take all folders of clips away but these."""
        for folder in self.clips.iterdir():
            if folder.name not in names:
                shutil.rmtree(folder)

    def run(self, line: str):
        before = set(self.folder.rglob("*"))
        done = command(*shlex.split(line.format(here=self.folder)), project=self.folder)
        assert before <= set(self.folder.rglob("*"))
        return done

    def labels(self) -> dict[str, int]:
        manifest = pd.read_parquet(self.data / "02_intermediate/clip_manifest.parquet")
        return manifest["label"].value_counts().to_dict()

    def rejected(self) -> dict[str, str]:
        table = pd.read_csv(self.data / "08_reporting/rejected_clips.csv")
        return dict(zip(table["path"], table["reason"], strict=True))


def write_tone(path: Path, pitch: int) -> None:
    samples = 0.3 * np.sin(np.arange(3200) * (0.02 + 0.0007 * pitch))
    soundfile.write(path, samples, 16_000, format="WAV")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    for number, label in enumerate(LABELS):
        (root / label).mkdir()
        for clip in range(EACH):
            write_tone(root / label / f"{clip}.wav", number * EACH + clip)
    return root


@pytest.fixture
def world(tmp_path, clips, monkeypatch) -> Iterator[World]:
    folder = tmp_path / "project"
    (folder / "conf/local").mkdir(parents=True)
    (folder / "src").mkdir()
    for name in ("pyproject.toml", "conf/base", "conf/demo", "conf/s3", "conf/logging.yml"):
        (folder / name).symlink_to(ROOT / name)
    settings = "embedder: logmel\nsource: clips\nreleases: releases\n"
    (folder / "conf/local/globals.yml").write_text(settings)
    shutil.copytree(clips, folder / "clips")
    # no server is asked, and no key of somebody's is found
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("SOUNDX_YAMNET", "")
    monkeypatch.delenv("KEDRO_ENV", raising=False)
    return World(folder, monkeypatch)


Make = Callable[[World], object]


def metadata(content: str | bytes) -> Make:
    return lambda world: world.write("clips/metadata.csv", content)


def settings(content: str) -> Make:
    return lambda world: world.write("conf/local/globals.yml", content)


def parameters(content: str) -> Make:
    return lambda world: world.write("conf/local/parameters.yml", content)


def failing(place: str, error: BaseException) -> Make:
    """Let a function raise, as the system would."""

    def raise_it(*_: object, **__: object) -> None:
        raise error

    return lambda world: world.patch.setattr(place, raise_it)


def only(*names: str) -> Make:
    return lambda world: world.keep(*names)


def pictures(world: World) -> None:
    world.keep()
    world.write("clips/cat/a.png", b"\x89PNG\r\n\x1a\n" + bytes(100))


def an_archive(world: World) -> None:
    with zipfile.ZipFile(world.folder / "clips.zip", "w") as file:
        file.write(world.clips / "cat/0.wav")


def one_label_above_others(world: World) -> None:
    shutil.move(world.clips, world.folder / "below")
    shutil.move(world.folder / "below", world.clips / "sounds")


DISK = "soundx.datasets.tables.whole_file"

# (what was done, how, words of the answer[, what made it so])
Mistake = tuple[str, str, tuple[str, ...]] | tuple[str, str, tuple[str, ...], Make]

MISTAKES: list[Mistake] = [
    # names of parameters
    ("a misspelt group", "run --params=trainning.max_epochs=3", ("'trainning.max_epochs'", "mean training.max_epochs?")),
    ("no group", "run --params=max_epochs=3", ("'max_epochs'", "mean training.max_epochs?")),
    ("a misspelt name", "run --params=training.max_epoch=3", ("'training.max_epoch'", "mean training.max_epochs?")),
    ("an older name", "run --params=training.epochs=3", ("'training.epochs'", "mean training.max_epochs?")),
    ("a name of many groups", "run --params=seed=3", ("'seed'", "cross_validation.seed or embedding_map.seed or splits.seed")),
    ("a misspelt setting", "run --params=embeder=logmel", ("'embeder'", "mean embedder?")),
    ("a name like none", "run --params=qqqq=1", ("'qqqq'", "There are: ", "training")),
    ("a name below a value", "run --params=data_root.x=1", ("'data_root' is one value",)),
    ("a name below a switch", "run --params=dry_run.x=1", ("'dry_run' is one value",)),
    ("a misspelt name of a class", "run --params=dask.schedulr=x", ("'dask.schedulr'", "mean dask.scheduler?")),
    ("a value for a group", "run --params=training=3", ("'training' is a group", "--params=training.NAME=VALUE")),
    ("a setting of files alone", "run --params=s3.region=x", ("'s3'", "conf/local/globals.yml")),
    ("a misspelt name in a file", "run", ("parameters.yml", "'splits.sed'", "mean splits.seed?"), parameters("splits: {sed: 3}\n")),
    ("a misspelt group in a file", "run", ("parameters.yml", "'split.seed'", "mean splits.seed?"), parameters("split: {seed: 3}\n")),
    ("a misspelt setting in a file", "run", ("globals.yml", "'dataroot'", "mean data_root?"), settings("dataroot: x\n")),
    ("a misspelt setting of S3", "run", ("globals.yml", "'s3.endpoint'", "s3.endpoint_url"), settings("s3: {endpoint: x}\n")),
    ("a setting among parameters", "run", ("parameters.yml", "'data_root' belongs in conf/local/globals.yml"), parameters("data_root: x\n")),
    ("a group among settings", "run", ("globals.yml", "'splits' belongs in conf/local/parameters.yml"), settings("splits: {seed: 3}\n")),
    ("a name with dots in a file", "run", ("parameters.yml", "write 'splits.seed' as a group", "splits: {seed: VALUE}"), parameters("splits.seed: 3\n")),
    ("nothing for a group", "run --params=splits=null", ("'splits' is a group", "--params=splits.NAME=VALUE")),
    ("a misspelt file", "run", ("conf/local/global.yml is not read", "Call it globals.yml"), lambda world: world.write("conf/local/global.yml", "data_root: x\n")),
    ("another ending of a file", "run", ("conf/local/globals.yaml is not read", "Call it globals.yml"), lambda world: world.write("conf/local/globals.yaml", "data_root: x\n")),
    # how they are written
    ("no value", "run --params=source", ("'source' cannot be read", "NAME=VALUE")),
    ("no name", "run --params==3", ("cannot be read", "NAME=VALUE")),
    ("a bare star", "run --params=ingestion.exclude=*", ("'ingestion.exclude=*'", "Quote")),
    ("a list of two", "run --params=ingestion.exclude=[a,b]", ("[a,b]", "conf/local/parameters.yml")),
    ("a version without a name", "run --load-versions=x", ("'x' cannot be read", "DATASET:VERSION")),
    ("a file of options that is not there", "run --config=nope.yml", ("'nope.yml' does not exist", "--config")),
    ("a file of no options", "run --config=/dev/null", ("/dev/null", "cannot be read", "run: {env: demo}")),
    ("a file of options that are none", "run --config=options.yml", ("options.yml", "cannot be read", "run: {env: demo}"), lambda world: world.write("options.yml", "run:\n")),
    ("bytes that are no text", "run --params=source=k\udce4fer", ("cannot be read", "NAME=VALUE")),
    ("an argument too many", "run ingestion", ("ingestion", "--help")),
    # values
    ("a word for a number", "run --params=training.max_epochs=many", ("training.max_epochs", "'many'", "valid integer")),
    ("no epochs", "run --params=training.max_epochs=0", ("training.max_epochs", "greater than 0")),
    ("no units", "run --params=training.hidden_units=[0]", ("training.hidden_units[0]", "greater than 0")),
    ("units below none", "run --params=training.hidden_units=[-1]", ("training.hidden_units[0]", "greater than 0")),
    ("a number for a list", "run --params=training.hidden_units=512", ("training.hidden_units", "--params='training.hidden_units=[512]'")),
    ("text for a list", "run --params=ingestion.exclude=noise", ("ingestion.exclude", "[noise]")),
    ("a step without end", "run --params=training.learning_rate=inf", ("training.learning_rate", "finite")),
    ("a step that is no number", "run --params=training.learning_rate=.nan", ("training.learning_rate", "finite")),
    ("all units silenced", "run --params=training.dropout=1", ("training.dropout", "less than 1")),
    ("an unknown head", "run --params=training.head=forest", ("training.head", "'forest'", "ridge")),
    ("a seed below 0", "run --params=splits.seed=-1", ("splits.seed", "greater than or equal to 0")),
    ("a seed too large", "run --params=training.seed=4294967296", ("training.seed", "less than 4294967296")),
    ("a seed for the map", "run --params=embedding_map.seed=-7", ("embedding_map.seed", "greater than or equal to 0")),
    ("half a seed", "run --params=cross_validation.seed=1.5", ("cross_validation.seed", "integer")),
    ("fractions over 1", "run --params=splits.validation_fraction=0.6,splits.test_fraction=0.5", ("splits", "leave nothing to train on")),
    ("percents", "run --params=splits.test_fraction=20", ("splits.test_fraction", "less than 1")),
    ("a fold on two sides", "run --params=splits.by=fold,splits.test_folds=[4]", ("splits", "both for validation and for test")),
    ("one fold", "run --params=cross_validation.k=1", ("cross_validation.k", "greater than or equal to 2")),
    ("a switch that is neither", "run --params=dry_run=maybe", ("dry_run is true or false", "'maybe'")),
    ("a switch for a share", "run --params=mirror.max_removed_share=true", ("mirror.max_removed_share cannot be True", "a number, not a switch")),
    ("a switch for a rate", "run --params=training.learning_rate=on", ("training.learning_rate cannot be True", "a number, not a switch")),
    ("a switch for a level", "run --params=level_dbfs=off", ("level_dbfs cannot be False", "a number, not a switch")),
    ("a level in words", "run --params=level_dbfs=abc", ("level_dbfs", "'abc'", "number")),
    ("a level above full scale", "run --params=level_dbfs=3", ("level_dbfs", "less than or equal to 0")),
    ("a level of silence", "run --params=level_dbfs=-1000", ("level_dbfs", "greater than or equal to -100")),
    ("a misspelt embedder", "run --params=embedder=yamnett", ("'yamnett'", "mean yamnet?")),
    ("an embedder of no module", f"{EMBED} --params=embedder=my.module.Own", ("'my.module.Own'", "dotted path")),
    ("no embedder", "run --params=embedder=", ("embedder is empty", "--params=embedder=")),
    ("values of pipelines that do not run", f"{INGEST} --params=training.seed=-1", ("training.seed",)),
    # what is to run
    ("an unknown pipeline", "run --pipelines=trainning", ("'trainning'", "mean training?")),
    ("an unknown pipeline, the old way", "run --pipeline=nope", ("'nope'", "There are: ", "ingestion")),
    ("pipelines in two ways", "run --pipeline=training --pipelines=training", ("--pipelines", "leave --pipeline out")),
    ("an unknown node", "run --nodes=training.train_head", ("'training.train_head'", "mean training.train_heads?")),
    ("a node of another pipeline", "run --pipelines=training --nodes=ingestion.scan_clips", ("'ingestion.scan_clips'", "training.train_heads")),
    ("an unknown first node", "run --from-nodes=nope", ("no node 'nope'", "ingestion.scan_clips")),
    ("an unknown last node", "run --to-nodes=scan_clips", ("no node 'scan_clips'", "ingestion.scan_clips")),
    ("an unknown tag", "run --tags=plots", ("'plots'", "mean plot?")),
    ("an unknown input", "run --from-inputs=clip_manifst", ("'clip_manifst'", "mean clip_manifest?")),
    ("an unknown output", "run --to-outputs=metric", ("'metric'", "mean metrics?")),
    ("an unknown namespace", "run --namespaces=train", ("'train'", "mean training?")),
    ("nothing in common", "run --tags=model --nodes=ingestion.scan_clips", ("Nothing is left to run", "--tags")),
    ("an unknown runner", "run --runner=SequentalRunner", ("'SequentalRunner'", "mean SequentialRunner?")),
    ("a runner of no module", "run --runner=my.Runner", ("no runner 'my.Runner'", "'my'")),
    ("a runner that a module has not", "run --runner=kedro.runner.Nope", ("no runner 'kedro.runner.Nope'",)),
    ("a class that is no runner", "run --runner=pathlib.Path", ("'pathlib.Path' is no runner", "SequentialRunner")),
    ("half a runner", "run --runner=kedro.runner.AbstractRunner", ("AbstractRunner cannot be made", "SequentialRunner")),
    ("other processes", "run --runner=ParallelRunner", ("ParallelRunner cannot", "leave --runner out")),
    ("an unknown value of a runner", "run --runner-params=foo=1", ("'foo'", "Mend --runner-params")),
    ("saving aside", "run --async", ("--async", "leave it out")),
    ("an unknown environment", "run --env=dmeo", ("'dmeo'", "mean demo?")),
    ("an unknown environment in a variable", "run", ("'dmeo'", "mean demo?"), lambda world: world.patch.setenv("KEDRO_ENV", "dmeo")),
    ("an unknown command", "trian", ("trian", "--help")),
    ("no configuration there", "run --conf-source={here}/clips", ("no configuration in", "--conf-source=PATH")),
    ("no configuration at an address", "run --conf-source=http://127.0.0.1:9/x.zip", ("http://127.0.0.1:9/x.zip cannot be fetched", "--conf-source=PATH")),
    # files of conf/
    ("broken YAML", "run", ("conf/", "parameters.yml", "Mend"), parameters("splits: {seed: 3\n")),
    ("a variable in a file", "run", ("NOWHERE", "${oc.env:NAME}"), settings("data_root: ${NOWHERE}/data\n")),
    ("settings of another encoding", "run", ("conf/local/globals.yml is not UTF-8", "save it as UTF-8"), lambda world: world.write("conf/local/globals.yml", "source: Käfer\n".encode("latin-1"))),
    ("parameters of another encoding", "run", ("conf/local/parameters.yml is not UTF-8", "save it as UTF-8"), lambda world: world.write("conf/local/parameters.yml", "splits: {seed: 3}\n".encode("utf-16"))),
    ("variables of another encoding", INGEST, (".env is not UTF-8", "save it as UTF-8"), lambda world: world.write(".env", "NAME=Käfer\n".encode("latin-1"))),
    ("a list of parameters", "run", ("conf/local/parameters.yml cannot be read", "NAME: VALUE"), parameters("- splits\n")),
    ("a number of parameters", "run", ("conf/local/parameters.yml cannot be read", "NAME: VALUE"), parameters("5\n")),
    ("a list of settings", "run", ("conf/local/globals.yml cannot be read", "NAME: VALUE"), settings("- source\n")),
    ("a number for a name", "run", ("conf/local/globals.yml cannot be read", "NAME: VALUE"), settings("1: 2\n")),
    ("a setting twice", "run", ("conf/local/globals.yml cannot be read", "twice (line 2)"), settings("source: a\nsource: b\n")),
    ("a parameter in two files", "run", ("parameters.yml", "parameters_b.yml", "splits.seed", "Leave one"), lambda world: (parameters("splits: {seed: 3}\n")(world), world.write("conf/local/parameters_b.yml", "splits: {seed: 4}\n"))),
    ("a key without its names", INGEST, ("credentials.yml", "s3: {key: ..., secret: ...}"), lambda world: world.write("conf/local/credentials.yml", "s3: planted\n")),
    ("a region without its name", INGEST, ("globals.yml", "s3: {endpoint_url: ..., region: "), settings("s3: planted\n")),
    ("keys that are not there", INGEST, ("Unable to find credentials 'nope'", "conf/local/credentials.yml"), lambda world: world.write("conf/local/catalog.yml", "own: {type: pandas.CSVDataset, filepath: x.csv, credentials: nope}\n")),
    # places
    ("a place that is read as a number", "run --params=data_root=007", ("data_root was read as the number 7", "--params=\"data_root='NAME'\"")),
    ("a place that is read as a time", "run --params=source=12:30", ("source was read as the number 750", "in quotes")),
    ("a place that is read as a switch", "run --params=source=on", ("source was read as a switch, true", "--params=\"source='NAME'\"")),
    ("a number for a place in a file", "run", ("data_root was read as the number 7", "in quotes"), settings("data_root: 007\n")),
    ("a place that nothing can be called", "run", ("data_root cannot be 'a\\x00b'", "No file can be called that"), settings('data_root: "a\\0b"\n')),
    ("data in a file", "run --params=data_root=pyproject.toml", ("pyproject.toml is a file", "--params=data_root=DIR")),
    ("data below a file", "run --params=data_root=pyproject.toml/x", ("pyproject.toml is a file", "--params=data_root=DIR")),
    ("data where nothing can be", f"{INGEST} --params=data_root=/proc/soundx", ("/proc/soundx cannot be made", "--params=data_root=DIR")),
    ("data nowhere", "run --params=data_root=", ("data_root is empty", "--params=data_root=")),
    ("data in an unknown variable", "run '--params=data_root=${{NOWHERE}}/x'", ("NOWHERE", "--params=data_root=DIR")),
    ("a folder that is not there", f"{INGEST} --params=source=/no/such/folder", ("/no/such/folder is not a folder", "--params=source=DIR")),
    ("a home without clips", f"{INGEST} --params=source=~/no/such", (str(Path.home()), "is not a folder", "--params=source=DIR")),
    ("one clip for a folder", f"{INGEST} --params=source=clips/cat/0.wav", ("0.wav is a file", "--params=source=DIR")),
    ("an archive for a folder", f"{INGEST} --params=source=clips.zip", ("clips.zip is a file", "--params=source=DIR"), an_archive),
    ("one slash", f"{INGEST} --params=source=s3:/bucket", ("'s3:/bucket'", "s3://BUCKET")),
    ("a web page", f"{INGEST} --params=source=https://example.org/clips", ("not an S3 address", "s3://bucket")),
    ("no bucket", f"{INGEST} --params=source=s3://", ("not an S3 address", "s3://bucket")),
    ("no keys", f"{INGEST} --params=source=s3://bucket", ("no credentials were found", "conf/local/credentials.yml")),
    ("data among the clips", f"{INGEST} --params=data_root=clips/data", ("lie inside each other", "--params=data_root=DIR")),
    # the disk
    ("a full disk", INGEST, ("The disk is full", "/data/x", "Make room", "--params=data_root=DIR"), failing(DISK, OSError(errno.ENOSPC, "No space left on device", "/data/x"))),
    ("a read-only disk", INGEST, ("may not be read or written", "/data/x", "--params=data_root=DIR"), failing(DISK, OSError(errno.EROFS, "Read-only file system", "/data/x"))),
    ("somebody else's folder", INGEST, ("may not be read or written", "Permission denied"), failing(DISK, PermissionError(errno.EACCES, "Permission denied", "/data/x"))),
    ("a file where a folder is needed", INGEST, ("A file stands where a folder is needed", "02_intermediate"), lambda world: world.write("data/02_intermediate", "")),
    # clips
    ("no clips", INGEST, ("lists as empty", "folder per label", "--params=source=DIR"), only()),
    ("no clips and no source", f"{INGEST} --params=source=", ("Four ways to begin",)),
    ("pictures", INGEST, ("none can be used", "cat/a.png", "folder per label"), pictures),
    ("clips without folders", INGEST, ("none can be used", "loose.wav", "folder per label"), lambda world: (world.keep(), world.add("loose.wav"))),
    ("all set apart", f"{INGEST} '--params=ingestion.exclude=[\"*\"]'", ("none can be used", "ingestion.exclude")),
    ("all of background", f"{INGEST} '--params=ingestion.background=[\"*\"]'", ("none can be used", "ingestion.background")),
    ("all too short", f"{INGEST} --params=ingestion.min_duration_s=60", ("none can be used", "too short: 0.200 s")),
    ("one label", EMBED, ("one label, 'dog'", "another label"), only("dog")),
    ("a folder too high", EMBED, ("one label, 'sounds'", "If cat, dog are the labels"), one_label_above_others),
    ("one clip a label", EMBED, ("No clip is left for", "three recordings"), lambda world: [(world.clips / f"{label}/{n}.wav").unlink() for label in LABELS for n in (1, 2, 3)]),
    # metadata.csv
    ("a folder where a table belongs", INGEST, ("A folder stands where a file is needed", "/clip_manifest.parquet)"), lambda world: (world.data / "02_intermediate/clip_manifest.parquet").mkdir(parents=True)),
    ("a folder where the ledger belongs", INGEST, ("/ledger.sqlite cannot be opened", "See what stands there"), lambda world: (world.data / "01_raw/.soundx/ledger.sqlite").mkdir(parents=True)),
    ("two columns of filenames", INGEST, ("two columns 'filename'", "leave one"), metadata("filename,filename,label\ncat/0.wav,x,dog\n")),
    ("two columns of labels", INGEST, ("two columns 'label'", "leave one"), metadata("filename,label,Label\ncat/0.wav,x,dog\n")),
    ("no column of filenames", INGEST, ("no column 'filename'", "Expected: filename,label"), metadata("name,label\ncat/0.wav,dog\n")),
    ("a field too many", INGEST, ("3 fields in row 2", "in quotes"), metadata("filename,label\ncat/0.wav,a,b\n")),
    ("a file named twice", INGEST, ("'cat/0.wav' twice", "leave one"), metadata("filename,label\ncat/0.wav,a\ncat/0.wav,b\n")),
    ("nothing in it", INGEST, ("metadata.csv is empty", "Expected: filename,label"), metadata("")),
    ("another encoding", INGEST, ("not UTF-8 text (line 3)", "CSV UTF-8"), metadata("filename,label\ncat/0.wav,a\ncat/1.wav,Käfer\n".encode("latin-1"))),
    ("paths of another machine", INGEST, ("names no file that is there", "'/home/x/cat/0.wav'", "'cat/0.wav'"), metadata("filename,label\n/home/x/cat/0.wav,bird\n")),
    ("names without folders", INGEST, ("names no file that is there", "'0.wav'"), metadata("filename,label\n0.wav,bird\n")),
    ("a label in two categories", EMBED, ("'cat'", "two categories", "metadata.csv"), metadata("filename,label,category\ncat/0.wav,cat,A\ncat/1.wav,cat,B\n")),
    ("folds that are not there", f"{EMBED} --params=splits.by=fold", ("splits.test_folds is [5]", "folds 1, 2", "--params=splits.by=hash"), metadata("filename,fold\n" + "".join(f"{label}/{n}.wav,{1 + n % 2}\n" for label in LABELS for n in range(EACH)))),
    ("folds that nobody gave", f"{EMBED} --params=splits.by=fold", ("have no fold", "--params=splits.by=hash")),
    # listening
    ("nothing to listen to", "run --pipelines=listening", ("No recording is named", "--params=recordings=PATH")),
    ("recordings that are not there", "run --pipelines=listening --params=recordings=nowhere", ("There is no recording at", "nowhere")),
    ("listening without a model", "run --pipelines=listening --params=recordings=clips", ("no classifier", "--pipelines=training")),
    ("keeping nothing", "run --pipelines=recordings", ("No recording is named", "--params=recordings=PATH")),
    ("a review of nothing", "run --pipelines=review", ("no index of recordings", "--pipelines=recordings")),
    ("false alarms below none", "run --pipelines=review --params=review.max_false_alarms_per_day=-1", ("review.max_false_alarms_per_day", "-1")),
    # answers
    ("answers that are none", INGEST, ("answers.csv", "no column 'recording'"), lambda world: world.write("data/09_review/answers.csv", "file,label\na,b\n")),
    ("an answer that is no label", INGEST, ("answers.csv, line 2", "cannot be a label"), lambda world: world.write("data/09_review/answers.csv", "recording,onset_s,offset_s,label\nn.wav,0,1,../x\n")),
    ("an answer of no length", INGEST, ("answers.csv, line 3", "ends after"), lambda world: world.write("data/09_review/answers.csv", "recording,onset_s,offset_s,label\nn.wav,0,1,cat\nn.wav,2,2,cat\n")),
    ("an answer without a number", INGEST, ("answers.csv, line 2", "'soon' is no number"), lambda world: world.write("data/09_review/answers.csv", "recording,onset_s,offset_s,label\nn.wav,soon,1,cat\n")),
    ("answers in a spreadsheet's text", INGEST, ("answers.csv", "no table of answers"), lambda world: world.write("data/09_review/answers.csv", b"\xff\xfer\0e\0")),
    ("a folder where answers are", INGEST, ("answers.csv", "cannot be read"), lambda world: (world.data / "09_review/answers.csv").mkdir(parents=True)),
    ("a threshold beyond all", "run --pipelines=listening --params=listening.threshold=7", ("listening.threshold", "7")),
    ("a format there is not", "run --pipelines=listening --params=\"listening.formats=['ravn']\"", ("listening.formats", "raven")),
    ("a precision there is not", "run --pipelines=training --params=export.precision=int4", ("export.precision", "float16")),
    ("windows of no number of frames", f"{EMBED},training --params=export.window_s=1.5", ("spans 1.5 s", "nearest is 1.44", "--params=export.window_s=1.44")),
    # one step before another
    ("training first", "run --pipelines=training", ("is not there", "Run what makes it first: kedro run")),
    ("evaluation first", "run --pipelines=evaluation", ("no trained heads", "--pipelines=training")),
    ("embedding first", "run --pipelines=preprocessing", ("clip_manifest.parquet is not there", "kedro run")),
    ("publishing first", "run --pipelines=publishing", ("no classifier", "--pipelines=training")),
    ("no weights", f"{EMBED} --params=embedder=yamnet,yamnet=nowhere", ("nowhere", "--params=embedder=logmel")),
    ("a release that never was", "rollback 2020-01-01T00.00.00.000Z --env=local", ("2020-01-01T00.00.00.000Z",)),
    ("a release that is damaged", "releases --env=local", ("v1/release.json is damaged: it has no 'version'", "kedro rollback VERSION --env=local"), lambda world: world.write("releases/v1/release.json", "{}")),
    ("a latest release that is none", "releases --env=local", ("latest.json is damaged: it is not JSON", "kedro rollback VERSION"), lambda world: world.write("releases/latest.json", "{")),
    ("a release of no environment", "rollback v1 --env=dmeo", ("'dmeo'", "mean demo?")),
    ("no release named", "rollback", ("VERSION", "--help")),
    ("releases of no environment", "releases --env=nope", ("'nope'", "There are: ", "s3")),
]  # fmt: skip


@pytest.mark.parametrize(
    "mistake", MISTAKES, ids=[mistake[0].replace(" ", "-") for mistake in MISTAKES]
)
def test_a_mistake_is_answered_with_the_thing_and_the_remedy(world, mistake):
    _, line, words, *make = mistake
    for act in make:
        act(world)
    done = world.run(line)
    said = done.stdout + done.stderr
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code in (1, 2)
    assert "Traceback" not in said
    assert "planted" not in said
    for word in words:
        assert word in done.stderr


def test_there_are_eighty_of_them():
    assert len({mistake[1:3] for mistake in MISTAKES}) >= 80


def test_off_is_a_word_though_yaml_reads_a_switch(world):
    done = world.run(f"{INGEST} --params=training.refit=off")
    assert done.exit_code == 0, done.stderr


def test_ctrl_c_is_noted_and_told(world):
    failing("soundx.pipelines.ingestion.nodes.scan_clips", KeyboardInterrupt())(world)
    done = world.run(INGEST)
    assert done.exit_code == 130
    assert "Stopped. What was finished is kept" in done.stderr
    noted = json.loads((world.data / "08_reporting/last_run.json").read_text())
    assert noted["state"] == "interrupted"


def test_what_is_no_file_is_rejected_by_name_and_nothing_waits_for_it(world):
    strange_files(world.clips)
    done = world.run(INGEST)
    assert done.exit_code == 0, done.stderr
    assert world.rejected() == STRANGE
    assert world.labels() == {"cat": EACH - 1, "dog": EACH}


def test_places_are_meant_from_the_project_and_from_home(world, monkeypatch, tmp_path):
    """One rule for data and source, wherever the command is run and however they are given."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PLACE", "here")
    inner = world.folder / "src"
    for data_root, where in (
        ("~/data", tmp_path / "data"),
        ("~", tmp_path),
        ("out", world.folder / "out"),
        ("${PLACE}/data", world.folder / "here/data"),
    ):
        line = ["run", "--pipelines=ingestion", f"--params=source=clips,data_root={data_root}"]
        done = command(*line, project=world.folder)
        assert done.exit_code == 0, done.stderr
        assert (where / "02_intermediate/clip_manifest.parquet").is_file()
    assert not list(inner.iterdir())
    assert not (world.folder / "~").exists()
