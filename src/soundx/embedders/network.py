"""YAMNet behind its front end: patches in, frames out, many at a time.

The network is cut out of YAMNet's own SavedModel, between its first convolution and its
embeddings, frozen (which folds the batch norms) and converted to TFLite; LiteRT then runs
it through XNNPACK. A frame is the embedding and, of each inner layer asked for, mean and
standard deviation of every channel over time and frequency inside the patch: they fall out of
the same pass. Layers are counted as outputs of ReLUs: 0 is the first convolution, then
depthwise and pointwise ones by turns up to 26.

The network is checked against the SavedModel before it is used. A process of its own does it,
once: TensorFlow's start-up and memory are gone when clips are embedded.

    python -m soundx.embedders.network SAVED_MODEL TARGET.tflite LAYERS [PATCHES.npy]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from soundx.audio import Float32, framing
from soundx.audio.framing import MEL_BANDS, PATCH_FRAMES
from soundx.errors import SoundxError
from soundx.parallel import Pool

if TYPE_CHECKING:
    import tensorflow as tf


BATCH = 16
"""Patches in one call; 4 to 32 are about as fast, 1 and 64 slower."""
TOLERANCE = 2e-3
"""How far an embedding may lie from the SavedModel's."""

_NOT_ALIKE = 3
_RECTIFIERS = ("Relu", "Relu6")
_PROBE_LENGTHS = (0, 1600, framing.MIN_SAMPLES, 23_040, 80_000)


class NotYamnetShapedError(SoundxError):
    """A SavedModel answers as YAMNet does, but is not built like it."""


class PatchNetwork(Protocol):
    """Patches [shape=(n, 96, 64)] in, frames [shape=(n, dim)] out; for any thread."""

    @property
    def engine(self) -> str:
        """What runs it, for people."""

    def __call__(self, patches: Float32) -> Float32:
        """Return one frame for each patch."""


class LiteRTNetwork:
    """A network in TFLite's format, on this machine's processors.

    Each thread that calls it at the same time has an interpreter of its own: two with one
    thread each were 10 to 20 % faster than one with two.

    Args:
        content: The TFLite file; it takes ``BATCH`` patches at a time.
        precision: For people: ``float32`` or ``int8``.
    """

    def __init__(self, content: bytes, *, precision: str = "float32") -> None:
        self._content = content
        self._interpreters = Pool(self._new_interpreter)
        self.engine = f"LiteRT {precision}"

    def __call__(self, patches: Float32) -> Float32:
        with self._interpreters.lend() as interpreter:
            return self._run(interpreter, patches)

    def _new_interpreter(self) -> Any:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_content=self._content, num_threads=1)
        interpreter.allocate_tensors()
        return interpreter

    @staticmethod
    def _run(interpreter: Any, patches: Float32) -> Float32:
        # views of the interpreter's own memory, copied once each way; it runs while there is none
        given = interpreter.tensor(interpreter.get_input_details()[0]["index"])
        answer = interpreter.tensor(interpreter.get_output_details()[0]["index"])
        out = np.empty((len(patches), answer().shape[1]), np.float32)
        for start in range(0, len(patches), BATCH):
            n = min(BATCH, len(patches) - start)
            given()[:n] = patches[start : start + n]
            given()[n:] = 0
            interpreter.invoke()
            out[start : start + n] = answer()[:n]
        return out


class TensorFlowNetwork:
    """The same network in TensorFlow: for a GPU.

    Args:
        saved_model: YAMNet, loaded.
        layers: Inner layers whose statistics are part of a frame.

    Raises:
        NotYamnetShapedError: It is not built like YAMNet.
    """

    def __init__(self, saved_model: Any, layers: Sequence[int] = ()) -> None:
        import tensorflow as tf

        self._network = tf.function(
            cut_out(saved_model, layers),
            input_signature=[tf.TensorSpec([None, PATCH_FRAMES, MEL_BANDS], tf.float32)],
        )
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        self.engine = f"TensorFlow float32, {devices[0].device_type}"

    def __call__(self, patches: Float32) -> Float32:
        return np.asarray(self._network(patches))


def load_saved_model(folder: Path) -> Any:
    """Load a SavedModel through TensorFlow Hub."""
    with warnings.catch_warnings():
        # tensorflow/hub#934: it imports pkg_resources
        warnings.simplefilter("ignore")
        import tensorflow_hub as hub

    return hub.load(str(folder))


def gpu_is_visible() -> bool:
    """Tell whether TensorFlow sees a GPU, without importing it where there is no driver."""
    if not any(Path(path).exists() for path in ("/proc/driver/nvidia/version", "/dev/nvidia0")):
        return False
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def build_network(
    saved_model: Path, layers: Sequence[int] = (), *, calibration: Float32 | None = None
) -> bytes:
    """Return a YAMNet's network as a TFLite file, made in a process of its own.

    Args:
        saved_model: The SavedModel's folder.
        layers: Inner layers whose statistics are part of a frame.
        calibration: Real patches [shape=(n_patches, 96, 64)], for a network quantised to
            int8, per channel; None for float32.

    Raises:
        NotYamnetShapedError: The SavedModel is not built like YAMNet.
        SoundxError: It cannot be converted.
    """
    with tempfile.TemporaryDirectory(prefix="soundx-") as folder:
        target = Path(folder) / "network.tflite"
        command = [sys.executable, "-m", __name__, str(saved_model), str(target)]
        command.append(",".join(map(str, layers)))
        if calibration is not None:
            command.append(str(Path(folder) / "patches.npy"))
            np.save(command[-1], calibration)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = (done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or ["?"])[-1]
        if done.returncode == _NOT_ALIKE:
            raise NotYamnetShapedError(said)
        if done.returncode != 0:
            raise SoundxError(f"The network of {saved_model} cannot be converted: {said}")
        return target.read_bytes()


def frozen(saved_model: Any) -> Any:
    """Return a SavedModel's function from waveform to embeddings, its variables made constants."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    whole = tf.function(lambda waveform: saved_model(waveform)[1]).get_concrete_function(
        tf.TensorSpec([None], tf.float32)
    )
    return convert_variables_to_constants_v2(whole)


def cut_out(saved_model: Any, layers: Sequence[int] = ()) -> Any:
    """Return the function from patches to frames inside a YAMNet SavedModel.

    Args:
        saved_model: YAMNet, loaded.
        layers: Inner layers whose statistics are part of a frame.

    Raises:
        NotYamnetShapedError: There is no such function in it, or it gives other answers.
    """
    import tensorflow as tf

    whole = frozen(saved_model)
    first = next((op for op in whole.graph.get_operations() if op.type == "Conv2D"), None)
    if first is None or first.inputs[0].shape.as_list()[1:] != [PATCH_FRAMES, MEL_BANDS, 1]:
        raise NotYamnetShapedError("it does not begin with a convolution over 96 x 64 patches")
    inner = [op.outputs[0] for op in whole.graph.get_operations() if op.type in _RECTIFIERS]
    if layers and max(layers) >= len(inner):
        raise NotYamnetShapedError(f"it has {len(inner)} layers, and none is number {max(layers)}")
    pruned = whole.prune(first.inputs[0], [whole.outputs[0], *(inner[i] for i in layers)])

    def network(patches: tf.Tensor) -> tf.Tensor:
        embedding, *activations = pruned(tf.expand_dims(patches, -1))
        parts = [embedding]
        for activation in activations:
            mean = tf.reduce_mean(activation, axis=[1, 2], keepdims=True)
            spread = tf.reduce_mean(tf.square(activation - mean), axis=[1, 2])
            parts += [tf.squeeze(mean, axis=[1, 2]), tf.sqrt(spread)]
        dim = 1024 + 2 * sum(int(activation.shape[-1]) for activation in activations)
        return tf.ensure_shape(tf.concat(parts, axis=1), [patches.shape[0], dim])

    rng = np.random.default_rng(7)
    for n_samples in _PROBE_LENGTHS:
        waveform = (0.1 * rng.standard_normal(n_samples)).astype(np.float32)
        expected = saved_model(waveform)[1].numpy()
        given = np.asarray(network(tf.constant(framing.patches(waveform))))[:, :1024]
        if given.shape != expected.shape or not np.abs(given - expected).max() <= TOLERANCE:
            raise NotYamnetShapedError("its front end is not YAMNet's")
    return network


def _convert(
    saved_model: Path, target: Path, layers: Sequence[int], calibration: Path | None
) -> None:
    import tensorflow as tf

    network = tf.function(
        cut_out(load_saved_model(saved_model), layers),
        # of fixed size: a quantised network cannot be given another one later
        input_signature=[tf.TensorSpec([BATCH, PATCH_FRAMES, MEL_BANDS], tf.float32)],
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()])
    if calibration is not None:
        patches = np.load(calibration, allow_pickle=False)
        patches = patches[: len(patches) // BATCH * BATCH].reshape(
            -1, BATCH, PATCH_FRAMES, MEL_BANDS
        )
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([batch] for batch in patches)
    target.write_bytes(converter.convert())


if __name__ == "__main__":
    _source, _target, _layers, *_patches = sys.argv[1:]
    try:
        _convert(
            Path(_source),
            Path(_target),
            [int(layer) for layer in filter(None, _layers.split(","))],
            Path(_patches[0]) if _patches else None,
        )
    except NotYamnetShapedError as error:
        sys.stdout.write(f"{error}\n")
        sys.exit(_NOT_ALIKE)
