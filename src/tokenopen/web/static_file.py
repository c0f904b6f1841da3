"""Static files: styles, scripts and icons, served under addresses that hold their content's hash.

A browser keeps what it has for a year, since changed content has another address. The vendor folder is made
by ``make assets``; where it is missing pages work without those libraries.
"""

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

STATIC: Final = Path(__file__).parent / "static"
STATIC_PATH: Final = "/static"
_FOREVER: Final = "public, max-age=31536000, immutable"
_COMPRESSED: Final = frozenset({"text/css", "text/javascript", "image/svg+xml", "application/json"})
# The standard library's own table, so that an operating system's cannot change what scripts are served as.
_TYPES: Final = mimetypes.MimeTypes()
_TYPES.add_type("text/javascript", ".js")
_TYPES.add_type("font/woff2", ".woff2")


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticFile:
    """One file in memory; ``compressed`` is empty where compressing is of no use."""

    content: bytes
    compressed: bytes
    media_type: str
    digest: str


def _read(path: Path) -> StaticFile:
    content = path.read_bytes()
    media_type = _TYPES.guess_type(path.name)[0] or "application/octet-stream"
    # No time in it: the same content always gives the same bytes.
    compressed = gzip.compress(content, 9, mtime=0) if media_type in _COMPRESSED else b""
    return StaticFile(
        content=content,
        compressed=compressed,
        media_type=media_type,
        digest=hashlib.sha256(content).hexdigest()[:12],
    )


class StaticFiles:
    """Every file under a folder, by its path there."""

    def __init__(self, folder: Path = STATIC) -> None:
        self.files: Mapping[str, StaticFile] = {
            path.relative_to(folder).as_posix(): _read(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.name.startswith(".")
        }

    def has(self, name: str) -> bool:
        """Tell whether there is such a file, for what is only there where the libraries could be fetched."""
        return name in self.files

    def url(self, name: str) -> str:
        """Return the address of a file; it changes with the file's content."""
        return f"{STATIC_PATH}/{self.files[name].digest}/{name}"

    def answer(self, request: Request) -> Response:
        """Answer a request for a file; an address with an older hash gets today's content, unkept."""
        digest, _, name = request.path_params["path"].partition("/")
        file = self.files.get(name)
        if file is None:
            return Response(status_code=404)
        headers = {
            "cache-control": _FOREVER if digest == file.digest else "no-cache",
            "etag": f'"{file.digest}"',
            "vary": "accept-encoding",
        }
        if _has_it(request.headers, headers["etag"]):
            return Response(status_code=304, headers=headers)
        if file.compressed and "gzip" in request.headers.get("accept-encoding", ""):
            headers["content-encoding"] = "gzip"
            return Response(file.compressed, media_type=file.media_type, headers=headers)
        return Response(file.content, media_type=file.media_type, headers=headers)


def _has_it(headers: Headers, etag: str) -> bool:
    return etag in headers.get("if-none-match", "")
