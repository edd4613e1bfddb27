"""Static files: serve a folder below a prefix, and never a file outside the folder.

A path is split into segments, and each must be a plain name. Then all symbolic links are resolved,
and the result must still be inside the folder. The checks and the opening of the file run in a
thread. Small files stay in memory for a second (`bodies.file_memo`). RFC 9110 sections 8.4.1,
12.5.3 and 17.3.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from errno import EACCES, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR
from functools import partial
from typing import NamedTuple

from .bodies.file import FileBody
from .bodies.file_memo import FileMemo, KeptFile
from .bodies.open_file import OpenFile
from .bodies.redirect import local_url
from .concurrency.threads import run_short_work
from .errors import ConfigurationError, NotFound
from .http.headers import add_vary
from .http.mediatypes import IMMUTABLE, cache_control, coding_of, media_type_of
from .http.negotiation import IDENTITY, negotiate_coding, parse_accept
from .http.preconditions import is_conditional
from .request import Request
from .response import Response
from .router import Middleware, Router

INDEX = "index.html"

# Content coding -> the ending of the compressed file beside the file, the smallest first.
_NEIGHBOURS = {"br": ".br", "zstd": ".zst", "gzip": ".gz"}

# A name that contains a hash of the content: `app.3f2a9c1b.js`, `site-0a1b2c3d4e.css`. A hash has
# letters and digits, so a date or a word is not one.
HASHED_NAME = r"[.-](?=[a-f]*[0-9])(?=[0-9]*[a-f])[0-9a-f]{8,64}\.[^/]+$"

# Characters of no name: the separator of another system and NUL; on Windows also the colon of a
# drive or a stream.
NOT_IN_NAMES = r"[\x00\\]"
NOT_IN_WINDOWS_NAMES = r"[\x00\\:]"
_IS_WINDOWS = os.name == "nt"
_NOT_IN_NAMES = re.compile(NOT_IN_WINDOWS_NAMES if _IS_WINDOWS else NOT_IN_NAMES)
_DEVICE = re.compile(r"(?i)(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?|.*[. ]")  # or its alias

# Errors that mean 404, whether or not the file exists. Any other error is the server's fault.
_UNREACHABLE = frozenset((EACCES, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EINVAL))

# For the walk: O_PATH also opens a directory that this process may traverse but not list.
_CAN_WALK = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
_STEP_FLAGS = (
    getattr(os, "O_PATH", os.O_RDONLY)
    | getattr(os, "O_DIRECTORY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
)


class _Root(NamedTuple):
    """The folder at one moment: if it is replaced, the new folder has another identity."""

    path: str  # without symbolic links
    identity: tuple[int, int]

    def is_there(self) -> bool:
        """Return whether the path still leads to this folder."""
        try:
            return _identity_of(self.path) == self.identity
        except OSError:
            return False


class _Entry(NamedTuple):
    root: str
    names: list[str]  # below the root, without symbolic links
    status: os.stat_result

    @property
    def path(self) -> str:
        return os.path.join(self.root, *self.names)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.status.st_mode)

    def is_older_than(self, other: _Entry) -> bool:
        # Compression tools that keep a file's time keep only whole seconds.
        return int(self.status.st_mtime) < int(other.status.st_mtime)


class StaticFiles:
    """The files of a folder; its options are those of `App.static`.

    Raises: ConfigurationError if the folder or the fallback does not exist.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        fallback: str | None = None,
        cache: int | str | None = None,
        immutable: bool | str = False,
        precompressed: bool = False,
    ) -> None:
        self._folder = os.path.join(os.getcwd(), folder)
        if not os.path.isdir(self._folder):
            raise ConfigurationError(
                f"static: there is no folder {self._folder!r}: create it before the start"
            )
        self._root = _Root("", (0, 0))  # not resolved yet
        self._cache = cache
        self._precompressed = precompressed
        self._memo = FileMemo()
        self._fallback = fallback
        pattern = HASHED_NAME if immutable is True else immutable
        self._hashed = re.compile(pattern) if pattern else None
        if fallback is not None and self._find_file(fallback) is None:
            raise ConfigurationError(
                f"static: there is no file {fallback!r} in {self._folder!r}: create it, or leave "
                "fallback out"
            )

    @property
    def has_index(self) -> bool:
        """True if the folder itself has an answer: its `index.html` or the fallback."""
        return self._fallback is not None or self._find_file(INDEX) is not None

    def add_to(
        self, router: Router, prefix: str, *, name: str, use: Iterable[Middleware] = ()
    ) -> None:
        """Register the routes of the files, of the folder, and of `prefix` without a slash."""
        prefix, get = prefix.rstrip("/"), partial(router.get, use=tuple(use), documented=False)
        get(f"{prefix}/{{path:path}}", name=name)(self.serve)
        if self.has_index:
            get(f"{prefix}/", name=f"{name}.index")(self.serve)
            if prefix:
                get(prefix, name=f"{name}.folder")(redirect_to_folder)

    # --- the endpoint

    async def serve(self, request: Request, path: str = "") -> Response:
        """Answer with the file at `path`, which is decoded and relative to the folder.

        Raises: NotFound; PreconditionFailed, RangeNotSatisfiable; OSError for a failing disk.
        """
        if "%2f" in request.raw_path.lower():  # no name holds a slash
            raise NotFound
        name = path + INDEX if not path or path.endswith("/") else path
        if _may_be_kept(request):
            kept = self._memo.find(name, request.headers.get("accept-encoding", ""))
            if kept is not None:
                return _answer_with(kept)
        work = partial(self._serve, request, path, name, self._memo.clock())
        return await run_short_work("a static file", work)

    def _serve(self, request: Request, path: str, name: str, begun: float) -> Response:
        found = self._find(name)
        if found is None or not found.is_file:
            if found is not None and self._find_file(f"{name}/{INDEX}") is not None:
                return redirect_to_folder(request)
            if self._fallback is None or not _is_of_page(request, path):
                raise NotFound
            found = self._find_file(self._fallback)
            if found is None:  # deleted after the application started
                raise NotFound
            response = self._answer(request, self._fallback, found, begun)
            add_vary(response.headers, "Accept")  # see `_is_of_page`
            return response
        return self._answer(request, name, found, begun)

    def _answer(self, request: Request, name: str, found: _Entry, begun: float) -> Response:
        cache = self._cache
        if self._hashed is not None and self._hashed.search(name):
            cache = IMMUTABLE
        own_coding = coding_of(name)
        encoded = {}
        if self._precompressed and own_coding is None:
            encoded = self._find_encoded(name, found)
        coding = IDENTITY
        if encoded:
            accepted = request.headers.get("accept-encoding", "")
            coding = negotiate_coding(accepted, tuple(encoded))[0]
        chosen = encoded.get(coding, found)
        body = FileBody(chosen.path)
        headers = {"Cache-Control": cache_control(cache)}
        response = Response(body, headers=headers, content_type=media_type_of(name))
        if encoded:
            response.headers["Vary"] = "Accept-Encoding"
        if coding != IDENTITY or own_coding is not None:
            response.headers["Content-Encoding"] = own_coding or coding
        try:
            body.open(request.method, request.headers, response, _open(chosen))
        except OSError as error:
            if error.errno in _UNREACHABLE:
                raise NotFound from error
            raise
        content = body.content
        if content is not None and _may_be_kept(request):
            kept = KeptFile(response.headers.lines.copy(), content)
            self._memo.keep(name, tuple(encoded), coding, kept, begun)
        return response

    def _find_encoded(self, name: str, found: _Entry) -> dict[str, _Entry]:
        """Return the compressed files beside a file that are not older, by content coding."""
        neighbours = {
            coding: self._find_file(name + ending) for coding, ending in _NEIGHBOURS.items()
        }
        return {
            coding: neighbour
            for coding, neighbour in neighbours.items()
            if neighbour is not None and not neighbour.is_older_than(found)
        }

    # --- safety

    def _find_file(self, name: str) -> _Entry | None:
        entry = self._find(name)
        return entry if entry is not None and entry.is_file else None

    def _find(self, name: str) -> _Entry | None:
        """Return the file or folder at a path, or None if it is outside or must not be served."""
        segments = name.split("/")
        if not all(map(_is_plain, segments)):
            return None
        try:
            root = self._current_root()
            status = _status_without_links(root, segments)
            if status is not None:
                return _Entry(root, segments, status)
            path = os.path.join(root, *segments)
            status = os.stat(path)
            real = os.path.realpath(path)
        except UnicodeEncodeError:  # the file system cannot write this name
            return None
        except OSError as error:
            if error.errno in _UNREACHABLE:
                return None
            raise
        inside = os.path.join(root, "")
        if not real.startswith(inside):
            return None
        names = real[len(inside) :].split(os.sep)
        if real != path and not all(map(_is_plain, names)):
            return None  # a link to a hidden file
        return _Entry(root, names, status)

    def _current_root(self) -> str:
        """Return the folder's path without links; resolve it again if the folder was replaced.

        A build may delete and create it again, or a deployment may change a link to it.
        """
        identity, root = _identity_of(self._folder), self._root
        # Both: a file system may give the number of a deleted folder to a new one.
        if root.identity != identity or not root.is_there():
            root = self._root = _Root(os.path.realpath(self._folder), identity)
        return root.path


def _identity_of(folder: str) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _status_without_links(root: str, names: list[str]) -> os.stat_result | None:
    """Return the status of a file or folder, or None if a symbolic link is on the way to it.

    It makes one call for each name, and `os.path.realpath` one for each name of the root as well:
    12 us in place of 47 for a root of four names. A link that takes the place of a folder after the
    call does no harm: see `_open`. Raises: OSError.
    """
    if not _CAN_WALK:
        return None
    path = root
    for name in names:
        path = os.path.join(path, name)
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            return None
    return status


def _open(entry: _Entry) -> OpenFile:
    """Open a file directory by directory, and follow no link. Raises: NotFound; OSError."""
    if not _CAN_WALK:
        return OpenFile(entry.path, follow=False)
    directory = os.open(entry.root, _STEP_FLAGS)
    try:
        for name in entry.names[:-1]:
            inner = os.open(name, _STEP_FLAGS, dir_fd=directory)
            os.close(directory)
            directory = inner
        opener = partial(os.open, dir_fd=directory)
        return OpenFile(entry.names[-1], follow=False, opener=opener)
    finally:
        os.close(directory)


def _may_be_kept(request: Request) -> bool:
    """Return whether a request may be answered from memory, and its file may be kept for others.

    Conditions and ranges are evaluated with the file of this moment. With debug, a developer sees a
    change immediately.
    """
    if request.line.method != "GET" or is_conditional(request.headers):
        return False
    return request.match is None or not request.match.debug


def _answer_with(kept: KeptFile) -> Response:
    """Return a new response, because middleware may change it."""
    body = FileBody("")
    body.content = kept.content
    response = Response(body)
    response.headers.lines = kept.lines.copy()
    return response


def redirect_to_folder(request: Request) -> Response:
    """Send the client to the same path with a slash at its end, so that relative links work."""
    url = local_url(f"{request.root_path}{request.raw_path}/", request.query_string)
    return Response.redirect(url, 308)


def _is_plain(segment: str) -> bool:
    """Return whether a segment is a name that may be served; dotfiles may not."""
    if not segment or segment.startswith(".") or _NOT_IN_NAMES.search(segment):
        return False
    return not (_IS_WINDOWS and _DEVICE.fullmatch(segment))


def _is_of_page(request: Request, path: str) -> bool:
    """Return whether a path without a file is a page that a script in the browser renders.

    A missing script or image must stay a 404. So a path with an ending is a page only if the
    client's Accept field names `text/html`.
    """
    if "." not in path.rpartition("/")[2]:
        return True
    ranges = parse_accept(request.headers.get("accept", ""))
    return any(media_range == "text/html" for media_range, _ in ranges)
