"""Measure the cost of each middleware for a request that doesn't need it, in microseconds.

`pytest tests/bench -s` prints the figures: the processor time from the request to its encoded
response (`GET /users/42`, a browser's fields, 7 bytes of text), minus the time without middleware.
Each figure is a median of rounds. The rounds of all middleware alternate, so that other load on the
machine affects all alike. The tests do not assert a time, only that each response is right.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from support.reading import FakePeer

from microweb import App
from microweb.http.limits import Limits
from microweb.http.request_head import RequestLines
from microweb.http.response_head import HeadCache
from microweb.middleware.authentication import BasicAuth, BearerAuth
from microweb.middleware.compression import Compression
from microweb.middleware.conditional import ConditionalGet
from microweb.middleware.cors import CORS
from microweb.middleware.health import Health
from microweb.middleware.timeout import Timeout
from microweb.middleware.timing import ServerTiming
from microweb.middleware.tracing import Tracing
from microweb.parser import Parser
from microweb.request import make_request

ROUNDS = 15
TIMES = 500

REQUEST = (
    b"GET /users/42 HTTP/1.1\r\n"
    b"Host: localhost:5000\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    b"Accept-Language: en-US,en;q=0.5\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Authorization: %b\r\n"
    b"Connection: keep-alive\r\n\r\n"
)
ORIGINS = ["https://a.example", "https://b.example"]

MEASURED: dict[str, tuple[Any, bytes]] = {
    "none": (None, b""),
    "one that does nothing": (None, b""),
    "CORS, every origin": (CORS("*"), b""),
    "CORS, two origins": (CORS(ORIGINS), b""),
    "Health": (Health(), b""),
    "ServerTiming": (ServerTiming(), b""),
    "Timeout": (Timeout(30), b""),
    "Tracing, sampled": (Tracing(tracer_provider=TracerProvider()), b""),
    "Tracing, not sampled": (Tracing(tracer_provider=TracerProvider(sampler=ALWAYS_OFF)), b""),
    "Tracing, no SDK": (Tracing(), b""),
    "Compression": (Compression(), b""),
    "ConditionalGet": (ConditionalGet(), b""),
    "BasicAuth": (BasicAuth({"ada": "lovelace"}), b"Basic YWRhOmxvdmVsYWNl"),
    "BearerAuth": (BearerAuth(["secret"]), b"Bearer secret"),
}


def app_with(middleware: Any) -> App:
    app = App()
    if middleware is not None:
        app.use(middleware)

    @app.get("/users/{id}")
    async def user(id: int) -> str:
        return f"user {id}"

    return app


async def nothing(request: Any, call_next: Any) -> Any:
    return await call_next(request)


async def test_what_each_costs() -> None:
    heads, spent = HeadCache(), {name: list[float]() for name in MEASURED}
    cases = []
    for name, (middleware, authorization) in MEASURED.items():
        app = app_with(nothing if name == "one that does nothing" else middleware)
        request = Parser(FakePeer(), RequestLines(), Limits()).next_request(REQUEST % authorization)
        assert request is not None
        cases.append((name, app, request))
    for _ in range(ROUNDS):
        for name, app, first in cases:
            begun = time.process_time()
            for _ in range(TIMES):
                request = make_request(first.line, first.section, first.transport)
                answer = (await app.handle(request)).encode(request, heads, b"")
            spent[name].append((time.process_time() - begun) / TIMES * 1e6)
            assert answer is not None and answer.endswith(b"\r\n\r\nuser 42"), name
    base = median(spent["none"])
    for name, each in spent.items():
        print(f"{name:24} {median(each) - (base if name != 'none' else 0):+7.2f} us")
