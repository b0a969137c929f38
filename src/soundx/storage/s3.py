"""S3: settings and keys, tries made again, and errors that a person can act on.

Credentials are boto3's own business (environment, profile, ``.env`` and
``conf/local/credentials.yml`` end up there too); nothing here logs or repeats them.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from soundx.errors import SoundxError
from soundx.markup import printable

Answer = TypeVar("Answer")

MAX_TRIES = 8
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 10.0
_TRANSIENT_CODES = frozenset(
    {
        "InternalError",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "RequestLimitExceeded",
        "TooManyRequests",
    }
)
SERVER_ERROR = 500

# name:secret@, where a secret may hold slashes but a port is none; or, behind slashes, anything@
# before a path
_USER = re.compile(
    r"(\b[a-z][a-z0-9+.-]*:/{0,3}(?!/))"
    r"(?:[^\s'\"/?#:@]*:(?!\d+(?:/|$))[^\s'\"?#]*|(?<=/)[^\s'\"/?#]*)@",
    re.IGNORECASE,
)
_SIGNED = re.compile(
    r"([?&;#][\w.-]*"
    r"(?:key|secret|token|signature|sig|password|passwd|pwd|credential|auth|code)[\w.-]*=)"
    r"[^&;#\s'\"]+",
    re.IGNORECASE,
)

_EXPLANATIONS = {
    "InvalidAccessKeyId": "the access key is not known there",
    "SignatureDoesNotMatch": "the access key or secret key is wrong",
    "ExpiredToken": "the session has expired: sign in again (aws sso login)",
    "InvalidToken": "the session token is not valid: sign in again (aws sso login)",
    "RequestTimeTooSkewed": "this machine's clock is wrong: set it (timedatectl set-ntp true)",
    "NoSuchBucket": "there is no bucket of that name: mend 'source' or 'releases' in conf",
    "InvalidBucketName": "that is not a valid bucket name: mend 'source' or 'releases' in conf",
    "AccessDenied": "these credentials may not do that: ask its owner for s3:ListBucket and "
    "s3:GetObject (and s3:PutObject to publish)",
    "AllAccessDisabled": "all access to it is switched off: ask its owner",
    "PermanentRedirect": "it lies in another region: set s3.region in conf/local/globals.yml",
    "AuthorizationHeaderMalformed": "it lies in another region: set s3.region in "
    "conf/local/globals.yml",
    "IllegalLocationConstraintException": "it lies in another region: set s3.region in "
    "conf/local/globals.yml",
}
_BY_STATUS = {
    301: _EXPLANATIONS["PermanentRedirect"],
    403: _EXPLANATIONS["AccessDenied"],
    404: _EXPLANATIONS["NoSuchBucket"],
}
_WAYS_TO_SIGN_IN = (
    "no credentials were found. Give them as an AWS profile (aws configure), as "
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment or in .env, or in "
    "conf/local/credentials.yml (s3: {key: ..., secret: ...})"
)


def check_address(address: str) -> None:
    """Refuse an address with a key in it, before anybody writes it into a log or a report.

    Args:
        address: A path or URL from the configuration, a parameter or a variable.

    Raises:
        SoundxError: There is one; the message tells the address without it.
    """
    if not holds_key(address):
        return
    raise SoundxError(
        f"{without_key(address)} was given with a key in it. Addresses stand in logs and reports: "
        "leave the key out, change it where others may have seen it, and give it as an AWS profile "
        "(aws configure), in the environment or in conf/local/credentials.yml."
    )


def holds_key(text: str) -> bool:
    """Tell whether text has an address with a name, a password, a token or a signature in it."""
    return bool(_USER.search(text) or _SIGNED.search(text))


def without_key(text: str) -> str:
    """Return text with what is secret in its addresses replaced by ``***``."""
    return _SIGNED.sub(r"\1***", _USER.sub(r"\1***@", text))


def split_url(url: str) -> tuple[str, str]:
    """Return bucket and prefix of ``s3://bucket/prefix``; the prefix ends with ``/`` or is empty.

    Raises:
        SoundxError: It is not such a URL.
    """
    check_address(url)
    scheme, _, rest = url.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme not in ("s3", "s3a") or not bucket:
        raise SoundxError(
            f"'{url}' is not an S3 address; expected s3://bucket or s3://bucket/prefix."
        )
    prefix = prefix.strip("/")
    return bucket, f"{prefix}/" if prefix else ""


def s3_client(session: Any, *, timeout_s: float, connections: int) -> Any:
    """Return a boto3 client that never retries by itself: ``Retries`` does, and counts.

    Raises:
        SoundxError: The AWS profile that is asked for does not exist.
    """
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    config = Config(
        signature_version="s3v4",
        connect_timeout=timeout_s,
        read_timeout=timeout_s,
        retries={"total_max_attempts": 1},
        max_pool_connections=connections,
        # plain S3 servers answer no checksum headers
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        return session.client("s3", config=config)
    except BotoCoreError as error:
        raise explain(error, "S3") from None


def explain(error: Exception, where: str) -> SoundxError:
    """Turn an error of boto3 or s3fs into one line: which bucket, what is wrong, the way out."""
    if isinstance(error, SoundxError):
        return error
    if isinstance(error, ImportError):
        return SoundxError(f"{where}: {error}.")  # names the package that is not there
    try:
        from botocore import exceptions as boto
    except ImportError:
        return SoundxError(f"{where}: {_lost(error)}.")
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        what = _WAYS_TO_SIGN_IN
    elif isinstance(error, boto.ProfileNotFound):
        what = f"{error}. Known profiles stand in ~/.aws/config"
    elif isinstance(error, boto.ClientError):
        details = error.response.get("Error", {})
        code = str(details.get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        what = _EXPLANATIONS.get(code) or _BY_STATUS.get(status) or ""
        what = f"{what or 'the server refused'} ({printable(code) or status})"
    elif isinstance(error, (boto.EndpointConnectionError, boto.ConnectTimeoutError)):
        what = (
            "the server cannot be reached: is there a network, and is s3.endpoint_url "
            "(or AWS_ENDPOINT_URL) right?"
        )
    elif isinstance(error, RecursionError):
        # botocore follows a redirect that leads back to itself
        what = _EXPLANATIONS["PermanentRedirect"]
    elif isinstance(error, PermissionError):
        what = _EXPLANATIONS["AccessDenied"]
    elif isinstance(error, FileNotFoundError):
        what = _EXPLANATIONS["NoSuchBucket"]
    elif isinstance(error, BrokenBodyError):
        what = f"an answer did not arrive whole, after {MAX_TRIES} tries: {error}"
    else:
        what = _lost(error)
    return SoundxError(f"{where}: {what}.")


def _lost(error: Exception) -> str:
    # not its message, which may hold a signed address
    return f"the connection failed ({type(error).__name__})"


def is_transient(error: Exception) -> bool:
    """Tell whether trying again may help: the network or a busy server, not a refusal."""
    from botocore import exceptions as boto
    from urllib3.exceptions import HTTPError

    if isinstance(error, boto.ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return code in _TRANSIENT_CODES or status >= SERVER_ERROR
    return isinstance(
        error,
        (
            boto.HTTPClientError,  # no connection, reset, time out, broken answer
            boto.IncompleteReadError,
            boto.ResponseStreamingError,
            boto.ReadTimeoutError,
            HTTPError,  # urllib3's: broken off, reset or stalled inside the body
            ConnectionError,
            BrokenBodyError,
        ),
    )


class BrokenBodyError(Exception):
    """An object did not arrive, or not with the length and bytes that were promised."""


class Retries:
    """Call again what failed for a passing reason, waiting longer each time, and count it."""

    def __init__(self, *, max_tries: int = MAX_TRIES) -> None:
        self.count = 0
        self._max_tries = max_tries
        self._lock = threading.Lock()

    def __call__(self, call: Callable[[], Answer]) -> Answer:
        """Return the call's answer, after as many tries as allowed."""
        for number in range(1, self._max_tries + 1):
            try:
                return call()
            except Exception as error:
                if number == self._max_tries or not is_transient(error):
                    raise
                with self._lock:
                    self.count += 1
                # jitter, so that threads do not come back all at once
                longest = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**number)
                time.sleep(random.uniform(longest / 2, longest))
        raise AssertionError("unreachable")


@contextmanager
def explained_errors(where: str) -> Iterator[None]:
    """Turn errors of a remote filesystem into one line; others pass as they are."""
    try:
        yield
    except SoundxError:
        raise
    except Exception as error:
        if "://" not in where:
            raise
        raise explain(error, where) from None


def use_settings(settings: Mapping[str, Any] | None, credentials: Mapping[str, Any] | None) -> None:
    """Hand S3 settings and keys to boto3 and s3fs alike, through the environment.

    What the environment already says is left as it is.

    Args:
        settings: ``endpoint_url``, ``region``, ``profile``, as in ``globals.yml``.
        credentials: ``key``, ``secret``, ``token``, as in ``credentials.yml``.
    """
    variables = {
        "AWS_ENDPOINT_URL": (settings or {}).get("endpoint_url"),
        "AWS_DEFAULT_REGION": (settings or {}).get("region"),
        "AWS_PROFILE": (settings or {}).get("profile"),
        "AWS_ACCESS_KEY_ID": (credentials or {}).get("key"),
        "AWS_SECRET_ACCESS_KEY": (credentials or {}).get("secret"),
        "AWS_SESSION_TOKEN": (credentials or {}).get("token"),
    }
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        # a key from one place and a secret from another would never fit
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            del variables[name]
    for name, value in variables.items():
        if value and not os.environ.get(name):
            os.environ[name] = str(value)


def is_md5(etag: str) -> bool:
    """Tell whether an ETag is an MD5 sum; one with a part count is not."""
    return len(etag) == 32 and set(etag) <= set("0123456789abcdef")  # noqa: PLR2004
