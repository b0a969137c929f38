"""Clips in an S3 bucket: listing and fetching.

Credentials are boto3's own business (environment, profile, ``.env`` and
``conf/local/credentials.yml`` end up there too); nothing here logs or repeats them.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote

from soundx.clips.source import SourceObject
from soundx.errors import SoundxError
from soundx.storage.s3 import (
    SERVER_ERROR,
    BrokenBodyError,
    Retries,
    explain,
    is_md5,
    s3_client,
    split_url,
)

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")

_OK = 200
_CHUNK_BYTES = 1 << 20
_SLOWEST_BYTES_PER_S = 10_000
_PAGE_TIMEOUTS = 3
"""A page of a listing may take three times what a stalled answer may: 300 kB, slowly."""
_MOST_EMPTY_PAGES = 100


class S3Source:
    """A bucket, or a prefix in one, of label folders.

    Args:
        url: ``s3://bucket`` or ``s3://bucket/prefix``.
        timeout_s: How long to wait for a connection, and for a stalled answer; an object may take
            as long and its bytes at 10 kB/s, a page of the listing three times as long.
        parallel_fetches: Objects fetched at once.
    """

    def __init__(self, url: str, *, timeout_s: float = 20.0, parallel_fetches: int = 8) -> None:
        self.url = url
        self.bucket, self.prefix = split_url(url)
        self.parallel_fetches = parallel_fetches
        self.retries = Retries()
        self._timeout_s = timeout_s
        self._objects: dict[str, SourceObject] = {}

    @property
    def name(self) -> str:
        """The bucket's address."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def n_retries(self) -> int:
        """How many calls were made again because they failed for a passing reason."""
        return self.retries.count

    @cached_property
    def _session(self) -> Any:
        import boto3
        from botocore.exceptions import ProfileNotFound

        try:
            return boto3.session.Session()
        except ProfileNotFound as error:
            raise explain(error, self.name) from None

    @cached_property
    def _client(self) -> Any:
        return s3_client(
            self._session, timeout_s=self._timeout_s, connections=self.parallel_fetches
        )

    def list_objects(self) -> Iterator[SourceObject]:
        """Yield every object below the prefix, a page of 1,000 at a time.

        Raises:
            SoundxError: The listing cannot be had whole, or has no end.
        """
        self._objects = {}
        token: dict[str, str] = {}
        tokens: set[str] = set()
        n_empty = 0
        while True:
            page = self._ask(partial(self._list_page, token))
            n_before = len(self._objects)
            for entry in page.get("Contents", ()):
                item = self._object(entry)
                if item.key:  # the prefix's own folder marker has no name
                    self._objects[item.key] = item
                    yield item
            if not page.get("IsTruncated"):
                return
            following = page.get("NextContinuationToken")
            if following is None:
                raise self._broken_listing("it goes on, and does not say where")
            n_empty = 0 if len(self._objects) > n_before else n_empty + 1
            if following in tokens or n_empty > _MOST_EMPTY_PAGES:
                raise self._broken_listing("it has no end")
            tokens.add(following)
            token = {"ContinuationToken": following}

    def _list_page(self, token: dict[str, str]) -> dict[str, Any]:
        ask = partial(self._client.list_objects_v2, Bucket=self.bucket, Prefix=self.prefix, **token)
        return dict(_within(_PAGE_TIMEOUTS * self._timeout_s, ask))

    def _object(self, entry: Mapping[str, Any]) -> SourceObject:
        try:
            key = entry["Key"][len(self.prefix) :]
            return SourceObject(key, entry["Size"], entry["ETag"].strip('"'))
        except KeyError as missing:
            raise self._broken_listing(f"an object in it has no {missing.args[0]}") from None

    def _broken_listing(self, why: str) -> SoundxError:
        return SoundxError(f"{self.name}: its listing is broken: {why}. Is an S3 server there?")

    def fetch(self, key: str, target: Path) -> None:
        """Write one object to a file; what arrives is held against length and checksum.

        Raises:
            SoundxError: It cannot be had.
        """
        expected = self._objects.get(key)
        self._ask(lambda: self._fetch_once(key, target, expected))

    def _fetch_once(self, key: str, target: Path, expected: SourceObject | None) -> None:
        begun_s = time.monotonic()
        body, headers = self._open(self.prefix + key)
        etag = headers.get("etag", "").strip('"')
        announced = int(headers.get("content-length", -1))
        if expected is not None and (announced < 0 or etag == expected.version):
            announced = expected.size_bytes
        longest_s = self._timeout_s + max(announced, 0) / _SLOWEST_BYTES_PER_S
        digest = hashlib.md5(usedforsecurity=False)
        n_bytes = 0
        with target.open("wb") as file:
            # what has come, each time: a byte now and then is no stalled answer to the network
            while chunk := body.read1(_CHUNK_BYTES):
                n_bytes += len(chunk)
                if 0 <= announced < n_bytes:
                    raise BrokenBodyError(f"more than {announced} bytes came")
                if time.monotonic() - begun_s > longest_s:
                    raise BrokenBodyError(f"{n_bytes} bytes came in {longest_s:.3g} s")
                file.write(chunk)
                digest.update(chunk)
        body.release_conn()
        if 0 <= announced != n_bytes:
            raise BrokenBodyError(f"{n_bytes} of {announced} bytes arrived")
        if expected is not None and etag != expected.version:
            # changed since it was listed: the next sync fetches it again
            logger.info("%s changed while it was fetched.", key)
        # an object encrypted with a key of its own has an ETag that is no MD5 sum
        plain = "x-amz-server-side-encryption" not in headers
        if plain and is_md5(etag) and digest.hexdigest() != etag:
            raise BrokenBodyError("the bytes that arrived do not have the object's checksum")

    def _open(self, key: str) -> tuple[Any, Mapping[str, str]]:
        """Return an object's body (urllib3's) and its headers.

        Signed and sent by botocore, without what ``get_object`` builds and parses around it:
        a third less work an object, and that work is what bounds a sync. What is not plainly
        answered is asked again through ``get_object``, which knows regions and redirects.
        """
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest

        base, region = self._address
        request = AWSRequest("GET", base + quote(key, safe="/~"), stream_output=True)
        # asked for each time: they may have been renewed
        credentials = self._session.get_credentials().get_frozen_credentials()
        S3SigV4Auth(credentials, "s3", region).add_auth(request)
        answer = self._http.send(request.prepare())
        if answer.status_code == _OK:
            return answer.raw, answer.headers
        if answer.status_code >= SERVER_ERROR:
            raise BrokenBodyError(f"the server answered {answer.status_code}")
        full = self._client.get_object(Bucket=self.bucket, Key=key)
        return full["Body"]._raw_stream, full["ResponseMetadata"]["HTTPHeaders"]

    @cached_property
    def _address(self) -> tuple[str, str]:
        """The bucket's own URL and its region, as boto3 knows them."""
        url = self._client.generate_presigned_url(
            "get_object", Params={"Bucket": self.bucket, "Key": "key"}
        )
        bare, _, query = url.partition("?")
        # AKID/date/region/s3/aws4_request
        scope = parse_qs(query)["X-Amz-Credential"][0].split("/")
        return bare.removesuffix("key"), scope[-3]

    @cached_property
    def _http(self) -> Any:
        from botocore.httpsession import URLLib3Session
        from botocore.utils import get_environ_proxies

        return URLLib3Session(
            proxies=get_environ_proxies(self._client.meta.endpoint_url),
            verify=os.environ.get("AWS_CA_BUNDLE") or True,
            timeout=(self._timeout_s, self._timeout_s),
            max_pool_connections=self.parallel_fetches,
        )

    def _ask(self, call: Callable[[], Answer]) -> Answer:
        try:
            return self.retries(call)
        except Exception as error:
            # from None: a chained traceback could show headers with signatures
            raise explain(error, self.name) from None


def _within(longest_s: float, call: Callable[[], Answer]) -> Answer:
    """Return a call's answer; one that takes longer is left to itself, in a thread nobody joins.

    Raises:
        BrokenBodyError: It takes longer.
    """
    answer: Future[Answer] = Future()

    def carry_out() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=carry_out, daemon=True).start()
    try:
        return answer.result(longest_s)
    except TimeoutError:
        if answer.done():
            raise
        raise BrokenBodyError(f"no whole listing came in {longest_s:.3g} s") from None
