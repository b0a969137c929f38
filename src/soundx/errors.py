"""The errors a person at the keyboard is meant to read.

Every one says what was found, where, and what to do next; the command line prints
them without a traceback.
"""

from __future__ import annotations


class SoundxError(Exception):
    """Root of all errors that soundx raises on purpose."""


class AudioError(SoundxError):
    """A file cannot be used as a clip; the message is the reason, in a few words."""


class EmbedderUnavailableError(SoundxError):
    """An embedder's weights cannot be had; the message names the ways out."""


class DryRunDone(SoundxError):  # noqa: N818  no error: the run ends here on purpose
    """A dry run has said what it would do; nothing after it is to run."""


def find_soundx_error(error: BaseException | None) -> SoundxError | None:
    """Return the first ``SoundxError`` in an exception's chain of causes, or None.

    Kedro wraps what a dataset raises; this looks behind the wrapping.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, SoundxError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None
