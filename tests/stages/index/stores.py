"""File systems that fail: Arrow's local one behind a handler that breaks the k-th change."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs

from stages.index.copies.bucket import Store


class Cut(fs.FileSystemHandler):  # type: ignore[misc]  # pyarrow has no types
    """Lets so many operations through and refuses all others, cutting in half what is being written."""

    def __init__(self, left: int) -> None:
        self.files = fs.LocalFileSystem()
        self.left = left
        self._lock = threading.Lock()

    def _spend(self) -> None:
        with self._lock:
            self.left -= 1
            if self.left < 0:
                raise OSError("the wire was cut")

    def open_output_stream(self, path: str, metadata: Any) -> Any:  # noqa: ARG002 - Arrow's signature
        self._spend()
        return pa.PythonFile(_Half(self, path), mode="w")

    def get_file_info(self, paths: list[str]) -> Any:
        self._spend()
        return self.files.get_file_info(paths)

    def get_file_info_selector(self, selector: Any) -> Any:
        self._spend()
        return self.files.get_file_info(selector)

    def open_input_file(self, path: str) -> Any:
        self._spend()
        return pa.PythonFile(self.files.open_input_file(path), mode="r")

    def delete_file(self, path: str) -> None:
        self._spend()
        self.files.delete_file(path)

    def move(self, src: str, dest: str) -> None:
        self._spend()
        self.files.move(src, dest)

    def create_dir(self, path: str, recursive: bool) -> None:
        self.files.create_dir(path, recursive=recursive)

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = None  # type: ignore[assignment]  # compared by Arrow, never looked up

    def get_type_name(self) -> str:
        return "cut"

    def normalize_path(self, path: str) -> str:
        return path

    def open_input_stream(self, path: str) -> Any:
        raise NotImplementedError

    def open_append_stream(self, path: str, metadata: Any) -> Any:
        raise NotImplementedError

    def copy_file(self, src: str, dest: str) -> None:
        raise NotImplementedError

    def delete_dir(self, path: str) -> None:
        raise NotImplementedError

    def delete_dir_contents(self, path: str, missing_dir_ok: bool) -> None:
        raise NotImplementedError

    def delete_root_dir_contents(self) -> None:
        raise NotImplementedError


class _Half:
    """A file that is half written when the wire is cut."""

    closed = False

    def __init__(self, cut: Cut, path: str) -> None:
        self._cut = cut
        self._stream = cut.files.open_output_stream(path, compression=None)

    def write(self, data: bytes) -> int:
        try:
            self._cut._spend()
        except OSError:
            self._stream.write(bytes(data)[: len(data) // 2])
            raise
        self._stream.write(data)
        return len(data)

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._stream.close()


def cut_store(folder: str, left: int) -> Store:
    """The folder as a storage in which so many operations work, and no more."""
    return Store(fs.PyFileSystem(Cut(left)), folder, folder, whole=False)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, by its name relative to that."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
