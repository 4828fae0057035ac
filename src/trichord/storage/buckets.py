"""A prefix of a bucket of S3, or of a store with the S3 API."""

import os
import secrets
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

from trichord.types import UserError

LEASE = 15.0
"""Seconds without a renewal after which the holder of a lock counts as dead."""
POLL = 0.2
"""Seconds between attempts to take a lock."""
REFUSED = ("412", "409", "PreconditionFailed", "ConditionalRequestConflict")
ABSENT = ("404", "NoSuchKey", "NotFound")


class Bucket:
    """Objects below a prefix.

    Attributes:
        name: For messages.
        options: Lance's storage options that it does not read from the environment itself.
    """

    def __init__(self, name: str, bucket: str, prefix: str) -> None:
        self.name = name
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self.options = _options()

    @cached_property
    def client(self) -> Any:
        """The connection; opened at the first use."""
        try:
            from boto3.session import Session
            from botocore.config import Config
        except ImportError as error:
            raise self._unreachable() from error

        patience = Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard"})
        endpoint = self.options.get("aws_endpoint")
        with self._readable_errors():
            connect: Any = Session().client
            return connect("s3", endpoint_url=endpoint, region_name=_region(), config=patience)

    def read(self, name: str) -> bytes | None:
        """The content of an object; None if it does not exist."""
        with self._readable_errors():
            keys = self._unless(
                ABSENT, self.client.get_object, Bucket=self.bucket, Key=self.prefix + name
            )
            return None if keys is None else keys["Body"].read()

    def write(self, name: str, content: bytes) -> None:
        """Write an object; readers see all of it or nothing."""
        with self._readable_errors():
            self.client.put_object(Bucket=self.bucket, Key=self.prefix + name, Body=content)

    def remove(self, name: str) -> None:
        """Delete an object and all below it."""
        with self._readable_errors():
            self.client.delete_object(Bucket=self.bucket, Key=self.prefix + name)
            for page in self._pages(Prefix=f"{self.prefix}{name}/"):
                keys = [{"Key": entry["Key"]} for entry in page.get("Contents", ())]
                if keys:
                    self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": keys})

    def names(self) -> list[str]:
        """Names of the objects, and of the folders, directly below the prefix."""
        keys: list[str] = []
        with self._readable_errors():
            for page in self._pages(Prefix=self.prefix, Delimiter="/"):
                keys += [entry["Key"] for entry in page.get("Contents", ())]
                keys += [entry["Prefix"] for entry in page.get("CommonPrefixes", ())]
        return [key.removeprefix(self.prefix).rstrip("/") for key in keys if key != self.prefix]

    def take(self, lock: str, deadline: float) -> "Lease | None":
        """Take a lock; None if it is not free before the deadline."""
        lease = Lease(self, self.prefix + lock)
        while not lease.take():
            if time.monotonic() > deadline:
                return None
            time.sleep(POLL)
        return lease

    def put_if(self, key: str, **condition: str) -> str | None:
        """Write a random token to an object on a condition.

        Returns:
            The tag of the object; None if the condition is not met.
        """
        with self._readable_errors():
            put = self._unless(
                (*REFUSED, *ABSENT),
                self.client.put_object,
                Bucket=self.bucket,
                Key=key,
                Body=secrets.token_hex(16).encode(),
                **condition,
            )
        return None if put is None else str(put["ETag"])

    def tag(self, key: str) -> str | None:
        """The tag of an object; None if it does not exist."""
        with self._readable_errors():
            head = self._unless(ABSENT, self.client.head_object, Bucket=self.bucket, Key=key)
        return None if head is None else str(head["ETag"])

    def _pages(self, **options: str) -> Any:
        return self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, **options)

    def _unless(self, codes: tuple[str, ...], call: Any, **options: Any) -> Any:
        """The result of a call; None if it fails with one of these codes."""
        from botocore.exceptions import ClientError

        try:
            return call(**options)
        except ClientError as error:
            if str(error.response.get("Error", {}).get("Code", "")) not in codes:
                raise
            return None

    def _unreachable(self) -> UserError:
        return UserError(f'{self.name} is in a bucket: pip install "trichord[s3]".')

    @contextmanager
    def _readable_errors(self) -> Generator[None]:
        try:
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError as error:
            raise self._unreachable() from error
        try:
            yield
        except (BotoCoreError, ClientError, ValueError) as error:
            why = next(iter(str(error).splitlines()), type(error).__name__)
            raise UserError(
                f"{self.name} cannot be reached or changed ({why[:200]}): check the bucket's name, "
                "AWS_ENDPOINT_URL, AWS_REGION and the credentials."
            ) from error


class Lease:
    """A lock in a bucket: an object that its holder rewrites every few seconds.

    Another process takes it over if it has not changed for `LEASE` seconds of that process's own
    clock, so that clocks of different machines need not agree. Both are conditional writes, of which
    a store accepts only one at a time.
    """

    def __init__(self, bucket: Bucket, key: str) -> None:
        self.bucket = bucket
        self.key = key
        self._tag: str | None = None
        self._seen: tuple[str | None, float] = (None, 0.0)
        self._renewing = threading.Lock()
        self._done = threading.Event()
        self._life = threading.Thread(target=self._live, daemon=True)

    def take(self) -> bool:
        """Take the lock if it is free or its holder is dead."""
        self._tag = self.bucket.put_if(self.key, IfNoneMatch="*")
        if self._tag is None:
            self._tag = self._take_over()
        if self._tag is not None:
            self._life.start()
        return self._tag is not None

    def renew(self) -> bool:
        """Renew the lock; return whether it is still ours, and so for `LEASE` seconds more.

        Raises:
            UserError: The bucket cannot be reached.
        """
        with self._renewing:
            if self._tag is not None:
                self._tag = self.bucket.put_if(self.key, IfMatch=self._tag)
            return self._tag is not None

    def give_back(self) -> None:
        """Release the lock, unless another process has taken it over."""
        self._done.set()
        self._life.join()
        if self.renew():  # so that another's lock is not deleted
            self.bucket.remove(self.key.removeprefix(self.bucket.prefix))

    def _take_over(self) -> str | None:
        tag, now = self.bucket.tag(self.key), time.monotonic()
        if tag is None or tag != self._seen[0]:
            self._seen = (tag, now)
            return None
        if now - self._seen[1] < LEASE:
            return None
        return self.bucket.put_if(self.key, IfMatch=tag)

    def _live(self) -> None:
        alive = True
        while alive and not self._done.wait(LEASE / 3):
            with suppress(UserError):  # unreachable for now: the next renewal may succeed
                alive = self.renew()


def _region() -> str | None:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")


def _options() -> dict[str, str]:
    """Settings that Lance does not read from the environment itself."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    options: dict[str, str] = {}
    if endpoint:
        options["aws_endpoint"] = endpoint
        if endpoint.startswith("http://"):
            options["allow_http"] = "true"
    if region := _region():
        options["aws_region"] = region
    return options
