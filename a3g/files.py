"""Files that nothing can spoil: written whole or not at all, checked before they are believed, never executed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from torch import Tensor

from a3g.errors import UserError

FORMAT_VERSION = 1
# The largest network here takes 15 MB, a checkpoint with its optimizer's state 80; what is a hundred times that is none.
MAX_FILE_BYTES = 8 << 30
MAX_HEADER_BYTES = 1 << 20
# By their names in safetensors files.
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_DTYPE_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_COPIED_BYTES = 1 << 24
# Temporary files, which bear a mark of the machine and the number of the process that writes them: several machines may write
# into one folder on a network file system, and their processes' numbers are the same.
_MACHINE = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
_REMAINS = re.compile(r"\..+\.(?:([0-9a-f]{8})-)?(\d+)\.tmp")
# Whether a process of another machine lives is not to be seen from here. None writes one file for so long.
_STRANGERS_REMAINS_SECONDS = 3600.0

Shapes = dict[str, tuple[int, ...]]
Buffer = bytes | bytearray | memoryview
Memory = Callable[[str, torch.dtype, tuple[int, ...]], Tensor | None]
"""Gives the memory that a tensor of this name, type and shape is to be read into, contiguous; None: new memory."""


class _Entry(NamedTuple):
    """A tensor as a file declares it."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> int:
    """Write tensors and texts as one safetensors file with a checksum, atomically and through to the disk.

    Returns:
        the file's size in bytes

    Raises:
        OSError: if it can't be written; a file that was there stays as it was, and no half-written one is left.
    """
    tensors = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    described = {**metadata, "format_version": str(FORMAT_VERSION)}
    header: dict[str, Any] = {"__metadata__": {**described, "checksum": _checksum(tensors, described)}}
    # The widest elements first, so that all are aligned.
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    end = 0
    for name in order:
        tensor = tensors[name]
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": _DTYPE_NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    # Piece by piece from where the tensors lie: a replay may take most of the memory that there is.
    pieces = (len(text).to_bytes(8, "little"), text, *(_bytes_of(tensors[name]) for name in order))
    _write_pieces(path, pieces)
    return 8 + len(text) + end


def load_tensors(
    path: Path,
    what: str,
    check: Callable[[Shapes, dict[str, str]], None] = lambda shapes, metadata: None,
    memory: Memory = lambda name, dtype, shape: None,
    max_bytes: int = MAX_FILE_BYTES,
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what `save_tensors` wrote. No more memory is taken than the file has bytes, and none before it is checked.

    Args:
        path: the file.
        what: what it should be, for the error's sentence.
        check: called with the names, shapes and texts that the file declares before its tensors are read; raises if
            they are not what is wanted.
        memory: where tensors are to be read to; what it gives is changed even if the file turns out to be damaged.
        max_bytes: a larger file is taken for damaged.

    Raises:
        UserError: if it is missing, unreadable, damaged, or from a newer version.
    """
    try:
        if not path.is_file():
            raise UserError(f"There is no {what} file {path}.")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(8)
            header_bytes = int.from_bytes(head, "little")
            if size > max_bytes or header_bytes > min(MAX_HEADER_BYTES, size - 8):
                raise ValueError("its sizes make no sense")
            header = file.read(header_bytes)
            entries, metadata = _read_header(header, size - 8 - header_bytes)
            _check_version(metadata, path, what)
            shapes = {entry.name: entry.shape for entry in entries}
            check(shapes, {key: value for key, value in metadata.items() if key != "checksum"})
            # Read, not mapped: a file that shrinks meanwhile is an error then, and not the end of the process.
            tensors = {}
            for entry in entries:
                tensor = memory(*entry)
                tensors[entry.name] = tensor = torch.empty(entry.shape, dtype=entry.dtype) if tensor is None else tensor
                if file.readinto(_bytes_of(tensor)) != entry.bytes:
                    raise ValueError("it ends too soon")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"The {what} file {path} is damaged or is none ({_one_line(error)}).") from error
    checksum = metadata.pop("checksum")
    if checksum != _checksum(tensors, metadata):
        raise UserError(f"The {what} file {path} is damaged: its checksum does not fit.")
    return tensors, metadata


def read_json(metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    """A JSON object among a file's texts.

    Raises:
        ValueError: if it is missing, damaged or no object.
    """
    try:
        content = json.loads(metadata[key])
    except (KeyError, ValueError, RecursionError) as error:
        raise ValueError(f"no readable {key}") from error
    if not isinstance(content, dict):
        raise ValueError(f"no readable {key}")
    return content


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file's content: a temporary file beside it, through to the disk, then a rename.

    Raises:
        OSError: if it can't be written; the temporary file is removed.
    """
    _write_pieces(path, (data,))


def copy_atomically(source: Path, path: Path) -> None:
    """As `write_atomically`, with another file's content, which may be larger than the memory.

    Raises:
        OSError: as `write_atomically`, or if there is no such file.
    """
    with source.open("rb") as file:
        _write_pieces(path, iter(lambda: file.read(_COPIED_BYTES), b""))


def temporary_path(path: Path) -> Path:
    """Where this process may write what is to become `path`; nobody else does, and it is removed some day if this one dies."""
    return path.with_name(f".{path.name}.{_MACHINE}-{os.getpid()}.tmp")


def _write_pieces(path: Path, pieces: Iterable[Buffer]) -> None:
    """As `write_atomically`, with the content in pieces."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        with temporary.open("wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def standard_stream(path: Path) -> int | None:
    """The descriptor, 1 or 2, if `path` names this process's standard output or error (such as /dev/stdout), else None."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            if os.path.samestat(path.stat(), os.fstat(descriptor)) and not path.is_dir():
                return descriptor
    return None


def write_output(path: Path, data: bytes) -> None:
    """Write to a path that a user named: as a whole into a regular file, straight to anything else.

    A device, a pipe or a link must stay what it is, so only a regular file, or none, is replaced.

    Raises:
        OSError: if it can't be written.
    """
    descriptor = standard_stream(path)
    if descriptor is None and (not os.path.lexists(path) or (path.is_file() and not path.is_symlink())):
        write_atomically(path, data)
        return
    with path.open("wb", buffering=0) if descriptor is None else open(descriptor, "wb", buffering=0, closefd=False) as file:
        while data:
            data = data[file.write(data) :]


@contextlib.contextmanager
def looking_into(folder: Path) -> Iterator[None]:
    """Look for files of the user's.

    Raises:
        UserError: if that isn't possible: the folder is closed, or its name too long.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"Can't look into the folder {folder}: {error.strerror}.") from error


def sync_folder(folder: Path) -> None:
    """Let new names in a folder reach the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append(path: Path, data: bytes, begin: bytes = b"") -> None:
    """Add `data` to a file as a whole or not at all; a file that isn't there begins with `begin`.

    Raises:
        OSError: if it can't be written; the file is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        size = file.tell()
        content = data if size else begin + data
        try:
            while content:
                content = content[file.write(content) :]
        except OSError:
            file.truncate(size)
            raise


def remove_remains(folder: Path, older_than_seconds: float = 0.0) -> None:
    """Remove what processes that were killed while they wrote `write_atomically` have left; of other machines what is old."""
    for path in folder.glob(".*.tmp"):
        match = _REMAINS.fullmatch(path.name)
        if match is None:
            continue
        is_strangers = match[1] not in (None, _MACHINE)
        seconds = max(older_than_seconds, _STRANGERS_REMAINS_SECONDS) if is_strangers else older_than_seconds
        try:
            if (is_strangers or not psutil.pid_exists(int(match[2]))) and (not seconds or _age_seconds(path) >= seconds):
                path.unlink()
        except OSError:
            continue  # somebody else was faster, or it can't be: no harm


def _age_seconds(path: Path) -> float:
    """Since a file was written, by the clock of its file system, which may be another machine's."""
    with tempfile.TemporaryFile(dir=path.parent) as new:
        return os.fstat(new.fileno()).st_mtime - path.stat().st_mtime


def _read_header(header: bytes, data_bytes: int) -> tuple[list[_Entry], dict[str, str]]:
    """The tensors in the order in which they lie in the file, and the texts.

    Raises:
        ValueError and its kin: if the header is none, or declares anything else than the data behind it.
    """
    content = json.loads(header)
    metadata = content.pop("__metadata__", {})
    if not all(isinstance(text, str) for text in (*metadata.keys(), *metadata.values())):
        raise ValueError("its description is not made of texts")
    entries = []
    declared = 0
    for name, entry in sorted(content.items(), key=lambda item: tuple(item[1]["data_offsets"])):
        shape = tuple(entry["shape"])
        if not all(type(length) is int and length >= 0 for length in shape):
            raise ValueError(f"the shape of {name} makes no sense")
        entries.append(_Entry(name, _DTYPES[entry["dtype"]], shape))
        begin, declared = declared, declared + entries[-1].bytes
        if entry["data_offsets"] != [begin, declared]:
            raise ValueError(f"the place of {name} makes no sense")
    if declared != data_bytes:
        raise ValueError(f"it declares {declared} bytes of tensors and has {data_bytes}")
    return entries, metadata


def _check_version(metadata: Mapping[str, str], path: Path, what: str) -> None:
    version = metadata.get("format_version")
    if version is None or "checksum" not in metadata:
        raise UserError(f"The {what} file {path} was not written by this program.")
    if version != str(FORMAT_VERSION):
        raise UserError(f"The {what} file {path} is of version {version:.20}, this program reads {FORMAT_VERSION}.")


def _one_line(error: Exception) -> str:
    """What an error says, short and in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for name in sorted(metadata):
        digest.update(json.dumps((name, metadata[name])).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(_bytes_of(tensor))
    return digest.hexdigest()


def _bytes_of(tensor: Tensor) -> bytearray | memoryview:
    """The memory of a contiguous tensor."""
    if not tensor.numel():  # torch cannot view an empty tensor of wide elements as bytes
        return bytearray()
    data: Any = tensor.reshape(-1).view(torch.uint8).numpy()
    return memoryview(data)
