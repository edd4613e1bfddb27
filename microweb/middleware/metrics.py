"""Metrics: the numbers of a service, for Prometheus and other programs that read its text.

`Metrics` answers one path with the metrics of all workers: those that microweb measures, and those
that the application has made with `Counter`, `Gauge` and `Histogram`.

Order: outside all middleware that may refuse or redirect the scraper, as `Health`; inside
authentication if only some clients may read the metrics.
"""

from __future__ import annotations

import asyncio

from ..errors import ConfigurationError
from ..http.negotiation import accept_of
from ..request import Handler, Request
from ..response import Response
from ..server.metrics_instruments import Counter as Counter
from ..server.metrics_instruments import Gauge as Gauge
from ..server.metrics_instruments import Histogram as Histogram
from ..server.metrics_meter import sample
from ..server.metrics_registry import REGISTRY
from ..server.metrics_text import FamilyOfAll, combine, content_type_of, write_text


class Metrics:
    """Answer GET and HEAD of `path` with the metrics: `app.use(Metrics("/metrics"))`.

    The text is that of Prometheus (0.0.4), or OpenMetrics if the client prefers it in `Accept`. It
    covers all workers of the service. The requests for it are counted like others, without a route,
    and are not in the access log. Raises: ConfigurationError if `path` is no path.
    """

    shows_metrics = True  # so that the server is measured

    def __init__(self, path: str = "/metrics") -> None:
        if not isinstance(path, str) or not path.startswith("/"):
            raise ConfigurationError(
                f"Metrics: expected a path such as '/metrics', got {path!r:.80}"
            )
        self._path = path
        self.probe_paths = {path}  # of all apps that have this middleware

    def mounted_at(self, prefix: str) -> Metrics:
        """Return the same for an app at `prefix`."""
        placed = Metrics(prefix + self._path)
        self.probe_paths |= placed.probe_paths
        return placed

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        if request.line.raw_path != self._path or request.method not in ("GET", "HEAD"):
            return await call_next(request)
        request.exchange.is_logged = False
        content_type = content_type_of(accept_of(request.section))
        return Response(await _text_of(content_type), headers=_headers(content_type))


def _headers(content_type: str) -> dict[str, str]:
    return {"Content-Type": content_type, "Cache-Control": "no-store", "Vary": "Accept"}


async def _text_of(content_type: str) -> str:
    """Return the text of all metrics. Other requests get their turn after each worker."""
    sample()
    families: dict[str, FamilyOfAll] = {}
    for _ in combine(families, *REGISTRY.read()):
        await asyncio.sleep(0)
    pieces: list[str] = []
    for piece in write_text(families, content_type):
        pieces.append(piece)
        await asyncio.sleep(0)
    return "".join(pieces)
