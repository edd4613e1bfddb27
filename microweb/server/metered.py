"""Let a server be measured, if its app has `Metrics` or the service has `metrics_bind`.

Without them nothing of the metrics is imported, and the server makes no records of exchanges.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from .config import ServerConfig
    from .server import Server
    from .worker import Worker

Life = AbstractAsyncContextManager[Any]


@runtime_checkable
class MeasuringMiddleware(Protocol):
    """Middleware that shows the metrics of the server."""

    shows_metrics: bool


@runtime_checkable
class HasMiddleware(Protocol):
    """An application with middleware."""

    def all_middleware(self) -> Iterable[object]:
        """Return all middleware, also that of mounted apps."""


def is_measured(app: object) -> bool:
    """Return whether an app shows the metrics of its server."""
    return isinstance(app, HasMiddleware) and any(
        isinstance(each, MeasuringMiddleware) for each in app.all_middleware()
    )


def metered(
    app: object,
    life: Life | None,
    server: Callable[[], Server],
    config: ServerConfig,
    worker: Worker | None = None,
) -> Life | None:
    """Return `life`; with metrics, return a lifespan around it that measures `server()`."""
    if config.metrics_bind or is_measured(app):
        return _measured(life, server, worker)
    return life


@asynccontextmanager
async def _measured(
    life: Life | None, server: Callable[[], Server], worker: Worker | None
) -> AsyncIterator[None]:
    from .metrics_meter import Meter, use_slot

    if worker is not None:
        use_slot(worker)
    with Meter(server()).running():
        if life is None:
            yield
        else:
            async with life:
                yield
