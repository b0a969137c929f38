"""Recordings in a bucket: kept, searched, cut and heard as those on a disk are."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import soundfile

from soundx.audio.decoding import decode_clip
from soundx.embedders import load_embedder
from soundx.embeddings.missing import EmbeddingOptions, embed_missing
from soundx.embeddings.on_dask import DaskOptions
from soundx.embeddings.store import EmbeddingStore
from soundx.listening.recordings import find_recordings
from soundx.review.answers import Answer, AnswersFile
from soundx.review.clips import AnsweredClipsJob, answered_clips, cut_answers
from soundx.review.learning import Clips
from soundx.review.session import Review
from soundx.search.index import build_index
from soundx.search.recordings import RecordingParts, parts_of, scan_recordings
from soundx.storage.folder import Folder


def night(seed: int, seconds: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    times = np.arange(int(seconds * 16_000)) / 16_000
    tone = 0.4 * np.sin(2 * np.pi * (400 + 300 * seed) * times) * (times % 6 > 3)
    return (tone + 0.01 * rng.standard_normal(len(times))).astype(np.float32)


def test_a_bucket_of_recordings_is_reviewed_and_left_as_it_is(fill, s3, tmp_path):
    sounds = {f"nights/2024050{n}_213000.flac": night(n, 20.0 + n) for n in (1, 2)}
    objects = {}
    for key, samples in sounds.items():
        file = io.BytesIO()
        soundfile.write(file, samples, 16_000, format="FLAC")
        objects[key] = file.getvalue()
    bucket = fill(objects)
    before = s3.list_objects_v2(Bucket=bucket)["Contents"]
    sources = find_recordings([f"s3://{bucket}/nights/"])
    embedder = load_embedder("logmel")
    manifest = scan_recordings(sources, pd.DataFrame())
    assert manifest["error"].tolist() == ["", ""]
    assert manifest["starts_at"].tolist() == ["2024-05-01T21:30:00", "2024-05-02T21:30:00"]
    parts = parts_of(manifest, embedder.info)
    store = EmbeddingStore(Folder(f"s3://{bucket}-kept/frames"))
    s3.create_bucket(Bucket=f"{bucket}-kept")
    waveforms = RecordingParts(parts, sources, embedder)
    made = embed_missing(store, parts, waveforms, embedder, EmbeddingOptions(), DaskOptions())
    for shard, _ in made:
        store.save(shard)
    stored = store.of(embedder.info)
    for clip_id, samples in zip(parts["clip_id"], sounds.values(), strict=True):
        path = tmp_path / "same.flac"
        soundfile.write(path, samples, 16_000)
        (expected,) = embedder.embed([decode_clip(path)])
        np.testing.assert_allclose(stored.frames([clip_id]), expected, atol=2e-3, rtol=1e-3)
    index = build_index(tmp_path / "windows", manifest, stored, 3)
    answers = AnswersFile(tmp_path / "09_review" / "answers.csv")
    review = Review(index, stored, Clips.none(embedder.info), answers)
    question = review.ask("Ada", "oldest")
    heard, before_s = review.sound(question.window)
    first = round((question.window.onset_s - before_s) * 16_000)
    key = question.window.recording.file.partition(f"{bucket}/")[2]
    expected = sounds[key][first : first + len(heard)]
    np.testing.assert_allclose(heard, expected - expected.mean(), atol=0.05)
    assert review.answer("Ada", question.window.number, "owl")
    answers.add([Answer(f"s3://{bucket}/nights/gone.flac", 0.0, 1.0, "owl", "Ada")])
    folder = tmp_path / "01_raw" / ":ANSWERS"
    cut_answers(AnsweredClipsJob(folder, answers.read()))
    cut = answered_clips(folder, tmp_path / "01_raw")
    assert list(cut.values()) == [question.window.recording.file]
    assert len(list(folder.glob("owl/*.wav"))) == 1
    after = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert [(o["Key"], o["ETag"]) for o in after] == [(o["Key"], o["ETag"]) for o in before]
