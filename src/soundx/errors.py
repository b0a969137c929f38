"""The errors a person at the keyboard is meant to read.

Every one says what was found and where, and may name what mends it, in the words of the
domain. Which command that is, :mod:`soundx.running.messages` knows alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from soundx.markup import printable_lines


class Remedy(Enum):
    """What has to be done before what failed can be done."""

    BRING_CLIPS = "give the project clips"
    GET_YAMNET = "get YAMNet's weights, or do without"
    RUN = "go all the way, from clips to an evaluated model"
    INGEST = "look at the clips again"
    INGEST_AND_PREPROCESS = "look at the clips and embed them again"
    PREPROCESS = "embed the clips"
    PREPROCESS_AND_TRAIN = "embed and split the clips, and learn from them"
    TRAIN = "train a model"
    TRAIN_AND_EVALUATE = "train a model and evaluate it"
    EVALUATE = "evaluate the model"
    KEEP_RECORDINGS = "name recordings, and keep what is heard in them"
    LISTEN = "hear recordings with the newest model"
    REVIEW = "estimate from answers what the model finds"
    CROSS_VALIDATE = "leave every clip out once, and evaluate the model by that"
    ROLL_BACK = "name the release that is to be used"


@dataclass(frozen=True)
class Setting:
    """A remedy: another value for a parameter.

    Args:
        name: Its dotted name, ``splits.by``.
        value: The value, or capitals that stand for it (``DIR``).
    """

    name: str
    value: str


class SoundxError(Exception):
    """Root of all errors that soundx raises on purpose.

    Its message can be printed, whatever is quoted in it: no name or answer of somebody else's
    commands a terminal. A quotation that could hold line breaks is made printable by who quotes.

    Args:
        message: What was found, and where.
        remedy: What mends it, where that is something soundx does; of several settings any.
    """

    def __init__(
        self, message: str = "", *, remedy: Remedy | Setting | tuple[Setting, ...] | None = None
    ) -> None:
        super().__init__(printable_lines(message))
        self.remedy = remedy


class AudioError(SoundxError):
    """A file cannot be used as a clip; the message is the reason, in a few words."""


class ClipChangedError(AudioError):
    """A file no longer holds the bytes it is known by."""


class DecoderLostError(AudioError):
    """A file took its decoder down: it crashed, or took more time or memory than is allowed."""


class EmbedderUnavailableError(SoundxError):
    """An embedder's weights cannot be had."""


class BrokenFileError(SoundxError):
    """A file that soundx wrote for itself is not what it wrote.

    Args:
        name: The file.
        why: How that was seen, in a few words.
        remedy: What makes it again.
    """

    def __init__(self, name: str, why: str, *, remedy: Remedy = Remedy.RUN) -> None:
        super().__init__(f"{name} is broken: {why}. It can be made again.", remedy=remedy)
        self.name = name
        self.why = why


class DryRunDone(SoundxError):  # noqa: N818  no error: the run ends here on purpose
    """A dry run has said what it would do; nothing after it is to run."""


def find_soundx_error(error: BaseException | None) -> SoundxError | None:
    """Return the first ``SoundxError`` in an exception's chain of causes, or None.

    What reads and writes data wraps what is raised inside it; this looks behind the wrapping.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, SoundxError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None
