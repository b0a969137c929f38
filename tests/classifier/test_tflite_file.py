"""The file as other programs open it: LiteRT, unzip, a C++ compiler."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from soundx.classifier.bundle import HEADER, JOINT_MODEL, cpp_header
from soundx.classifier.options import ExportOptions
from soundx.classifier.tflite_file import OUTPUTS, SIGNATURES, operators
from soundx.embedders import load_embedder
from soundx.labels import LabelTree
from soundx.modelling.joint import TrainedHeads
from tests.conftest import ROOT

from .test_export import NESTED, untrained

WINDOW = 15_600
N_LABELS, N_CATEGORIES = 6, 3
HOSTILE = [
    ('say "woof"', "quotes"),
    ("it's", "quotes"),
    ("back\\slash", "back\\"),
    ("ends with \\", "back\\"),
    ("\\n \\x41 \\101", "back\\"),
    ("trigraph ??/ ??= ??'", "??/"),
    ("really???", "??/"),
    ("%s %n {0} $(x) `x`", "formats"),
    ('*/ // " R"(x)"', "formats"),
    ("Ölsäge", "unicode"),
    ("カラス", "unicode"),
    ("\N{DOG FACE}1\N{COMBINING ACUTE ACCENT}", "unicode"),
    ("é7 then a digit", "unicode"),
    ("\u2028line\u0085feed", "odd"),
    ("\N{RIGHT-TO-LEFT OVERRIDE}drow", "odd"),
    ("tab\there", "odd"),
    (" spaces ", "odd"),
    ("x" * 300, "long"),
    ("y" * 300, "long"),
]


@cache
def some_heads() -> TrainedHeads:
    return untrained(load_embedder("logmel"), NESTED)


def exported_in(precision: str) -> bytes:
    from soundx.classifier.export import export_classifier

    embedder, heads = load_embedder("logmel"), some_heads()
    rng = np.random.default_rng(7)
    clips = [(0.1 * rng.standard_normal(20_000)).astype(np.float32) for _ in range(4)]
    options = ExportOptions(precision=precision)
    classifier = export_classifier(embedder, heads, options, calibration=clips)
    return classifier.files[JOINT_MODEL]


SMALLER = [pytest.param(name, marks=pytest.mark.slow) for name in ("float16", "dynamic", "int8")]


@pytest.fixture(scope="module", params=["float32", *SMALLER])
def content(request):
    return exported_in(request.param)


@pytest.fixture(scope="module")
def plain():
    return exported_in("float32")


def dim() -> int:
    return load_embedder("logmel").dim


def test_it_has_two_signatures_of_one_subgraph(content):
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    assert len(model.subgraphs) == 1
    assert [s.signatureKey.decode() for s in model.signatureDefs] == ["serving_default", "window"]
    interpreter = Interpreter(model_content=content)
    assert interpreter.get_signature_list() == {
        name: {"inputs": ["waveform"], "outputs": sorted(outputs)}
        for name, outputs in SIGNATURES.items()
    }
    # who goes by number finds them in this order, by names of their own
    assert [output["name"] for output in interpreter.get_output_details()] == list(OUTPUTS)
    assert [entry["name"] for entry in interpreter.get_input_details()] == ["waveform"]
    assert "CUSTOM" not in operators(content)


def test_signatures_say_what_they_take_and_give(content):
    interpreter = Interpreter(model_content=content)
    shapes = {
        "label_probabilities": [1, N_LABELS],
        "category_probabilities": [1, N_CATEGORIES],
        "window_probabilities": [1, N_LABELS],
        "embedding": [1, dim()],
    }
    for name, outputs in SIGNATURES.items():
        runner = interpreter.get_signature_runner(name)
        entry = runner.get_input_details()["waveform"]
        assert entry["shape"].tolist() == [1, WINDOW]
        assert entry["shape_signature"].tolist() == [1, -1]
        assert entry["dtype"] is np.float32
        details = runner.get_output_details()
        assert {o: details[o]["shape"].tolist() for o in outputs} == {o: shapes[o] for o in outputs}
        assert {details[output]["dtype"] for output in outputs} == {np.float32}


@pytest.mark.parametrize(
    ("n_samples", "n_frames"), [(1, 1), (WINDOW, 1), (23_280, 2), (23_281, 3), (80_000, 10)]
)
def test_any_length_is_taken_in_one_dimension_as_well_as_in_two(plain, rng, n_samples, n_frames):
    waveform = (0.1 * rng.standard_normal(n_samples)).astype(np.float32)
    answers = []
    for given in (waveform[None], waveform):
        runner = Interpreter(model_content=plain).get_signature_runner("serving_default")
        answers.append(runner(waveform=given))
        by_number = Interpreter(model_content=plain)
        by_number.resize_tensor_input(by_number.get_input_details()[0]["index"], given.shape)
        by_number.allocate_tensors()
        by_number.set_tensor(by_number.get_input_details()[0]["index"], given)
        by_number.invoke()
        found = [by_number.get_tensor(o["index"]) for o in by_number.get_output_details()]
        answers.append(dict(zip(OUTPUTS, found, strict=True)))
    for answer in answers:
        assert {name: values.shape for name, values in answer.items()} == {
            "label_probabilities": (1, N_LABELS),
            "category_probabilities": (1, N_CATEGORIES),
            "window_probabilities": (n_frames, N_LABELS),
            "embedding": (n_frames, dim()),
        }
        for name in OUTPUTS:
            np.testing.assert_array_equal(answer[name], answers[0][name])
        np.testing.assert_allclose(answer["label_probabilities"].sum(), 1, atol=1e-5)
        np.testing.assert_allclose(answer["category_probabilities"].sum(), 1, atol=1e-5)


def test_a_window_needs_no_resizing_and_is_answered_as_a_clip_of_that_length(content, rng):
    waveform = (0.1 * rng.standard_normal((1, WINDOW))).astype(np.float32)
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], waveform)
    interpreter.invoke()
    found = [interpreter.get_tensor(o["index"]) for o in interpreter.get_output_details()]
    by_number = dict(zip(OUTPUTS, found, strict=True))
    for name, outputs in SIGNATURES.items():
        runner = Interpreter(model_content=content).get_signature_runner(name)
        answer = runner(waveform=waveform)
        assert sorted(answer) == sorted(outputs)
        for output in outputs:
            np.testing.assert_array_equal(answer[output], by_number[output])


def test_labels_and_categories_lie_in_it_in_the_order_of_the_columns(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["labels.txt", "categories.txt"]
        lines = archive.read("labels.txt").decode().split("\n")
        assert lines == [label for label, _ in NESTED]
        assert archive.read("categories.txt").decode().split("\n") == ["A", "B", "C"]
        # stored as they are: readers on phones unpack nothing
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


def test_its_metadata_is_what_the_schema_of_tflite_support_calls_so(plain):
    """The root is ModelMetadata, its file identifier M001; read by MediaPipe in tests/packaging."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(plain, 0))
    (entry,) = [m for m in model.metadata if m.name == b"TFLITE_METADATA"]
    metadata = bytes(model.buffers[entry.buffer].data)
    assert metadata[4:8] == b"M001"
    for text in (b"soundx", b"labels.txt", b"categories.txt", *(o.encode() for o in OUTPUTS)):
        assert text in metadata


def test_the_same_model_is_the_same_bytes(content, request):
    precision = request.node.callspec.params["content"]
    again = exported_in(precision)
    assert hashlib.sha256(again).hexdigest() == hashlib.sha256(content).hexdigest()


@pytest.mark.slow
def test_the_same_model_is_the_same_bytes_in_another_process():
    code = (
        "import hashlib; from tests.classifier.test_tflite_file import exported_in; "
        "print(hashlib.sha256(exported_in('float32')).hexdigest())"
    )
    found = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout.split()[-1])
    assert len(found) == 1


# --- Classes.h ----------------------------------------------------------------------------

PRINT = """
#include "Classes.h"
#include <cstdio>
#include <cstring>

static void tell(const char* name, const char* const* classes, int count) {
  for (int i = 0; i < count; ++i) {
    std::printf("%s %zu ", name, std::strlen(classes[i]));
    std::fwrite(classes[i], 1, std::strlen(classes[i]), stdout);
    std::putchar('\\n');
  }
}

int main() {
@
  return 0;
}
"""


def compiled(folder: Path, header: bytes, arrays: list[str], *options: str) -> bytes:
    """Return what a program that prints some arrays of a header says."""
    (folder / HEADER).write_bytes(header)
    lines = [f'  tell("{name}", {name}, {name}Count);' for name in arrays]
    (folder / "print.cpp").write_text(PRINT.replace("@", "\n".join(lines)))
    # a header is included in more than one place
    (folder / "other.cpp").write_text(f'#include "{HEADER}"\n#include "{HEADER}"\n')
    command = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", *options, "-o", "print"]
    subprocess.run([*command, "print.cpp", "other.cpp"], cwd=folder, check=True)
    return subprocess.run([folder / "print"], capture_output=True, check=True).stdout


def told(name: str, classes: tuple[str, ...]) -> bytes:
    lines = [
        f"{name} {len(text)} ".encode() + text + b"\n" for text in (c.encode() for c in classes)
    ]
    return b"".join(lines)


def test_the_header_is_plain_ascii_whatever_labels_are_called():
    for pairs in (HOSTILE, [(label, label) for label, _ in HOSTILE], NESTED):
        header = cpp_header(LabelTree.build(pairs))
        assert header.isascii()
        assert set(header) - {*range(0x20, 0x7F)} == {ord("\n")}
        assert b"??" not in header


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.parametrize("options", [(), ("-trigraphs", "-Wno-trigraphs")], ids=["", "trigraphs"])
def test_a_program_of_the_header_prints_the_labels_byte_for_byte(tmp_path, options):
    tree = LabelTree.build(HOSTILE)
    arrays = {"kLabels": tree.labels}
    for number, (head, classes) in enumerate(tree.heads.items()):
        arrays["kGeneral" if head == "general" else f"kSpecific{number}"] = classes
    assert len(arrays) == 1 + len(tree.heads) > 3
    said = compiled(tmp_path, cpp_header(tree), list(arrays), *options)
    assert said == b"".join(told(name, classes) for name, classes in arrays.items())


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_a_header_without_categories_compiles_as_well(tmp_path):
    tree = LabelTree.build([(label, label) for label, _ in HOSTILE])
    assert compiled(tmp_path, cpp_header(tree), ["kLabels"]) == told("kLabels", tree.labels)
