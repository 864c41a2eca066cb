"""Checksums of what is written and read back, so that a changed bit is an error and never another number."""

import hashlib
from io import BufferedReader
from pathlib import Path


def checksum(content: bytes) -> str:
    """Return the SHA-256 of bytes in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def file_checksum(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as stream:
        return stream_checksum(stream)


def stream_checksum(stream: BufferedReader) -> str:
    """Return the SHA-256 of the rest of an open file in hexadecimal."""
    return hashlib.file_digest(stream, "sha256").hexdigest()
