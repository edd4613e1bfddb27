"""An application whose requests are observed: `OBSERVED` is "metrics", "tracing" or "unsampled"."""

import os

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

from microweb import App
from microweb.middleware.metrics import Metrics
from microweb.middleware.tracing import Tracing

OBSERVED = os.environ.get("OBSERVED", "")

app = App()


class Nowhere(SpanExporter):
    """Takes spans, so that only the costs of microweb and the SDK are measured."""

    def export(self, spans: object) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def tracing() -> Tracing:
    provider = TracerProvider(sampler=ALWAYS_ON if OBSERVED == "tracing" else ALWAYS_OFF)
    provider.add_span_processor(SimpleSpanProcessor(Nowhere()))
    return Tracing(tracer_provider=provider)


if OBSERVED == "metrics":
    app.use(Metrics())
elif OBSERVED:
    app.use(tracing())


@app.get("/")
async def index() -> str:
    return f"{os.getpid()}\n"


@app.get("/users/{id}")
async def user(id: int) -> dict[str, int]:
    return {"id": id}
