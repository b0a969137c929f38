"""The TFLite file as others open it: signatures, plain names, default length, and metadata.

The converter leaves one signature and names of its own making. Here the file gets a second
signature, ``window``, for those who can only give a fixed length; plain names; the shapes of that
length, for boards that plan their memory by what the file says; and TFLite metadata with the
labels, by which MediaPipe's ``AudioClassifier`` opens it. Both signatures are of one subgraph:
MediaPipe refuses more. Tables and field numbers of the metadata are those of
``metadata_schema.fbs`` (TFLite Support, version 1.5).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from soundx.audio import SAMPLE_RATE_HZ, framing
from soundx.errors import SoundxError
from soundx.labels import LabelTree

LABEL_FILE, CATEGORY_FILE = "labels.txt", "categories.txt"
OUTPUTS = (
    "label_probabilities",
    "category_probabilities",
    "window_probabilities",
    "embedding",
)
"""Outputs in the order of the file; who goes by number finds the labels first."""
SIGNATURES = {
    "serving_default": OUTPUTS,
    "window": ("label_probabilities", "category_probabilities", "embedding"),
}

_IDENTIFIER, _METADATA_IDENTIFIER = b"TFL3", b"M001"
_AUDIO_PROPERTIES, _FEATURE_PROPERTIES = 4, 1  # of the union ContentProperties
_TENSOR_AXIS_LABELS = 2  # of the enumeration AssociatedFileType
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the same model is the same bytes
_KINDS = {code: name for name, code in vars(schema.BuiltinOperator).items() if name[0] != "_"}
_WITH_WEIGHTS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def finished(content: bytes, tree: LabelTree) -> bytes:
    """Return a converted model as it is shipped.

    Args:
        content: What the converter made of ``ServedModel``.
        tree: Its labels and categories, in the order of its outputs.
    """
    model = _parsed(content)
    graph = model.subgraphs[0]
    if not model.signatureDefs:
        raise SoundxError(
            "The embedder's graph holds variables that the export cannot see: make constants of "
            "them (soundx.embedders.Exportable)."
        )
    signature = model.signatureDefs[0]
    place = {output.name.decode(): output.tensorIndex for output in signature.outputs}
    given = graph.inputs[0]
    graph.tensors[given].shape = [1, framing.MIN_SAMPLES]
    graph.tensors[given].shapeSignature = [1, -1]
    graph.tensors[given].name = b"waveform"
    signature.inputs[0].name = b"waveform"
    for name, index in place.items():
        graph.tensors[index].name = name.encode()
    graph.outputs = [place[name] for name in OUTPUTS]
    model.signatureDefs = [
        schema.SignatureDefT(
            inputs=signature.inputs,
            outputs=[schema.TensorMapT(name.encode(), place[name]) for name in outputs],
            signatureKey=key.encode(),
            subgraphIndex=0,
        )
        for key, outputs in SIGNATURES.items()
    ]
    for index, shape in _shapes(_packed(model)).items():
        if index < len(graph.tensors) and graph.tensors[index].shapeSignature is not None:
            graph.tensors[index].shape = shape  # others are the interpreter's own
    metadata = np.frombuffer(_metadata("soundx"), np.uint8)
    model.buffers.append(schema.BufferT(data=metadata))
    model.metadata = [m for m in model.metadata or [] if m.name != b"TFLITE_METADATA"]
    model.metadata.append(schema.MetadataT(b"TFLITE_METADATA", len(model.buffers) - 1))
    file = io.BytesIO(_packed(model))
    file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file, "a") as archive:
        for name, lines in ((LABEL_FILE, tree.labels), (CATEGORY_FILE, tree.categories)):
            archive.writestr(zipfile.ZipInfo(name, _LONG_AGO), "\n".join(lines))
    return file.getvalue()


def operators(content: bytes) -> list[str]:
    """Return the kind of each operator of a model, in order, as TFLite names it."""
    model = _parsed(content)
    return [_kind(model, operator) for operator in model.subgraphs[0].operators]


def front_end_outputs(content: bytes) -> list[str]:
    """Return the names of what the front end's convolutions give: the spectrum of a waveform."""
    model = _parsed(content)
    tensors = model.subgraphs[0].tensors
    return [
        tensors[operator.outputs[0]].name.decode()
        for operator in model.subgraphs[0].operators
        if _is_spectrum(model, operator)
    ]


def only_network_quantised(quantised: bytes, plain: bytes) -> bytes:
    """Give a model of dynamic range its float weights back, save those of the network.

    Args:
        quantised: A model whose weights the converter has quantised.
        plain: The same model, not quantised: the same operators in the same order.
    """
    small, exact = _parsed(quantised), _parsed(plain)
    graph, other = small.subgraphs[0], exact.subgraphs[0]
    new: dict[int, int] = {}
    for operator, twin in zip(graph.operators, other.operators, strict=True):
        if _kind(exact, twin) in _WITH_WEIGHTS and not _is_spectrum(exact, twin):
            continue
        operator.inputs = list(operator.inputs)  # read from the file, it cannot be changed
        for place, index in enumerate(twin.inputs):
            float_tensor = other.tensors[index]
            own = graph.tensors[operator.inputs[place]]
            if index < 0 or own.type == float_tensor.type:
                continue
            if index not in new:
                small.buffers.append(exact.buffers[float_tensor.buffer])
                float_tensor.buffer = len(small.buffers) - 1
                graph.tensors.append(float_tensor)
                new[index] = len(graph.tensors) - 1
            operator.inputs[place] = new[index]
    _drop_unused(small)
    return _packed(small)


def _drop_unused(model: Any) -> None:
    """Empty the buffers that no operator reads any more."""
    graph = model.subgraphs[0]
    used = {index for operator in graph.operators for index in operator.inputs}
    kept = {graph.tensors[index].buffer for index in used if index >= 0}
    for index, tensor in enumerate(graph.tensors):
        if index not in used and tensor.buffer not in kept:
            model.buffers[tensor.buffer].data = None


def _kind(model: Any, operator: Any) -> str:
    code = model.operatorCodes[operator.opcodeIndex]
    return str(_KINDS[max(code.builtinCode, code.deprecatedBuiltinCode)])


def _is_spectrum(model: Any, operator: Any) -> bool:
    """Tell the convolution that makes a spectrum: its kernel is as long as the STFT's window."""
    if _kind(model, operator) != "CONV_2D":
        return False
    kernel = model.subgraphs[0].tensors[operator.inputs[1]].shape
    return list(kernel[1:]) == [framing.STFT_WINDOW, 1, 1]


def _shapes(content: bytes) -> dict[int, list[int]]:
    """Return the shape of every tensor at the file's own length, by index."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # a delegate hides what lies inside of it
    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    return {
        detail["index"]: [int(size) for size in detail["shape"]]
        for detail in interpreter.get_tensor_details()
    }


def _parsed(content: bytes) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))


def _packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(2**20)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


class _Tables:
    """Writes the tables of a flatbuffer, inner ones first."""

    def __init__(self) -> None:
        self._builder = flatbuffers.Builder(1024)

    def text(self, value: str) -> int:
        return int(self._builder.CreateString(value))

    def vector(self, offsets: Sequence[int]) -> int:
        self._builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return int(self._builder.EndVector())

    def table(
        self,
        n_fields: int,
        *,
        inner: dict[int, int] | None = None,
        uint8: dict[int, int] | None = None,
        int8: dict[int, int] | None = None,
        uint32: dict[int, int] | None = None,
    ) -> int:
        builder = self._builder
        builder.StartObject(n_fields)
        for field, offset in (inner or {}).items():
            builder.PrependUOffsetTRelativeSlot(field, offset, 0)
        for field, value in (uint32 or {}).items():
            builder.PrependUint32Slot(field, value, 0)
        for field, value in (uint8 or {}).items():
            builder.PrependUint8Slot(field, value, 0)
        for field, value in (int8 or {}).items():
            builder.PrependInt8Slot(field, value, 0)
        return int(builder.EndObject())

    def finish(self, root: int) -> bytes:
        self._builder.Finish(root, _METADATA_IDENTIFIER)
        return bytes(self._builder.Output())


def _metadata(name: str) -> bytes:
    """Return TFLite metadata: what goes in, what comes out, and which files name the columns."""
    tables = _Tables()

    def tensor(what: str, content: int, label_file: str | None = None) -> int:
        fields = {0: tables.text(what), 3: content}
        if label_file:
            file = tables.table(
                5, inner={0: tables.text(label_file)}, int8={2: _TENSOR_AXIS_LABELS}
            )
            fields[6] = tables.vector([file])
        return tables.table(7, inner=fields)

    audio = tables.table(2, uint32={0: SAMPLE_RATE_HZ, 1: 1})
    waveform = tables.table(3, inner={1: audio}, uint8={0: _AUDIO_PROPERTIES})
    inputs = tables.vector([tensor("waveform", waveform)])
    label_files = {"label_probabilities": LABEL_FILE, "category_probabilities": CATEGORY_FILE}
    outputs = []
    for output in OUTPUTS:
        feature = tables.table(3, inner={1: tables.table(0)}, uint8={0: _FEATURE_PROPERTIES})
        outputs.append(tensor(output, feature, label_files.get(output)))
    graph = tables.table(10, inner={2: inputs, 3: tables.vector(outputs)})
    root = {0: tables.text(name), 3: tables.vector([graph]), 7: tables.text("1.0.0")}
    return tables.finish(tables.table(8, inner=root))
