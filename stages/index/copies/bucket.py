"""Where a published log's objects lie: any file system of ``pyarrow.fs``; only whole objects.

S3, GCS and Azure show an object when all of it has come, or never. In a folder (a mounted share), an object
is a file that is whole and durable; on any other file system it is written under a temporary name and moved
to its own. Credentials come from the environment, as Arrow reads
it; a message names the place without what a URI may carry of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import unquote_plus
from uuid import uuid4

import pyarrow as pa
from pyarrow import fs

from stages.files import make_directory, move, write_whole
from stages.index.errors import DamagedError, IndexStoreError

AT_ONCE: Final = 8  # objects that are sent or fetched at the same time
_WHOLE: Final = frozenset({"s3", "gcs", "abfs"})
_SHORT: Final = 3  # characters; no secret is that short, and masking more would make messages unreadable
PARTS: Final = "part"  # what is being written, where it would be seen
SMALL_BYTES: Final = 1 << 20  # checkpoint, keys, notes: far less
T = TypeVar("T")
R = TypeVar("R")
OnProgress = Callable[[int, int, int], None]  # objects done, objects to do, bytes done


class StoreError(IndexStoreError):
    """An object storage failed an operation."""


class MissingError(StoreError):
    """An object that is not there."""


@dataclass(frozen=True, slots=True)
class Store:
    """The objects under one URI; thread-safe."""

    files: Any  # a pyarrow FileSystem
    base: str
    shown: str  # the URI as it may be read by anybody
    whole: bool  # whether an object that is being written is not seen

    def __str__(self) -> str:
        return self.shown

    def get(self, name: str, most: int) -> bytes:
        """An object's bytes. Raises MissingError where there is none, DamagedError beyond ``most`` bytes."""
        with self._told("read", name), self.files.open_input_file(self._path(name)) as file:
            data: bytes = file.read(most + 1)
        if len(data) > most:
            raise DamagedError(f"{self}/{name}", f"has more than {most} bytes")
        return data

    def find(self, name: str, most: int) -> bytes | None:
        """An object's bytes; None where there is none."""
        try:
            return self.get(name, most)
        except MissingError:
            return None

    def put(self, name: str, data: Any) -> None:
        """Make or replace an object, from one moment to the next."""
        path = self._path(name)
        with self._told("write", name):
            if self.whole:
                self._write(path, data)
                return
            part = self._path(f"{PARTS}/{uuid4().hex}")
            if isinstance(self.files, fs.LocalFileSystem):
                _put_file(Path(part), Path(path), data)
                return
            for one in (part, path):
                self.files.create_dir(one.rpartition("/")[0], recursive=True)
            self._write(part, data)
            self.files.move(part, path)

    def sizes(self, folder: str) -> dict[str, int]:
        """Name and length of every object right in a folder."""
        selector = fs.FileSelector(self._path(folder), allow_not_found=True)
        with self._told("list", folder):
            found = self.files.get_file_info(selector)
        return {f"{folder}/{one.base_name}": one.size for one in found if one.type == fs.FileType.File}

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        try:
            with self._told("remove", name):
                self.files.delete_file(self._path(name))
        except MissingError:
            pass

    def _path(self, name: str) -> str:
        return f"{self.base}/{name}"

    def _write(self, path: str, data: Any) -> None:
        with self.files.open_output_stream(path, compression=None) as stream:
            stream.write(data)

    @contextmanager
    def _told(self, verb: str, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise MissingError(f"cannot {verb} {name} at {self}: it is not there") from error
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"cannot {verb} {name} at {self}: {error}") from error


def _put_file(part: Path, file: Path, data: Any) -> None:
    for one in (part, file):
        make_directory(one.parent)
    write_whole(part, data)
    move(part, file)


def open_store(uri: str) -> Store:
    """The storage at a URI that Arrow supports (s3://bucket/prefix?region=…, gs://, file://), or a folder."""
    if "://" not in uri:
        return Store(fs.LocalFileSystem(), str(Path(uri).resolve()), uri, whole=False)
    shown = shown_uri(uri)
    try:
        files, base = fs.FileSystem.from_uri(uri)
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = str(error).replace(uri, shown)
        for secret in sorted(_secrets(uri), key=len, reverse=True):
            reason = reason.replace(secret, "…")
        raise StoreError(f"cannot use {shown}: {reason}") from None
    if not base.strip("/"):
        raise StoreError(f"cannot use {shown}: it names no bucket or folder")
    return Store(files, base.rstrip("/"), shown, whole=files.type_name in _WHOLE)


def shown_uri(uri: str) -> str:
    """A URI without user, password and options."""
    scheme, _, place, _ = _parts(uri)
    return f"{scheme}://{place}".rstrip("/")


def refuse_secret(uri: str) -> None:
    """Refuse a URI with a key or password in it, which would be written down wherever options are."""
    scheme, user, _, _ = _parts(uri)
    if user is not None and (scheme == "s3" or ":" in user):  # abfs:// names its container before the @
        raise StoreError(f"{shown_uri(uri)} comes with a key or password: set it in the environment")


def _secrets(uri: str) -> set[str]:
    """What of a URI no message may repeat: user, password, and the values of its options."""
    _, user, _, options = _parts(uri)
    found = {user or "", *(option.partition("=")[2] for option in options.split("&"))}
    return {one for text in found for one in (text, unquote_plus(text)) if len(one) > _SHORT}


def _parts(uri: str) -> tuple[str, str | None, str, str]:
    """Scheme, user with password, place, options. Not as urlsplit: an AWS secret may hold a slash."""
    scheme, _, rest = uri.partition("://")
    address, _, options = rest.partition("?")
    user, at, place = address.rpartition("@")
    return scheme, user if at else None, place, options


def side_by_side(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """What the work answers for each item, as it comes; the first failure ends it all."""
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        for done in as_completed([pool.submit(work, item) for item in items]):
            yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)
