"""Random connections, bounded and seeded: the parser's result never depends on the cuts."""

from __future__ import annotations

import random

import h11
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.malformed import ACCEPTED, REFUSED
from support.reading import Outcome, Reader, read

from microweb.errors import ContentTooLarge, ProtocolError

SEEDS = [case.raw for case in (*ACCEPTED, *REFUSED) if len(case.raw) < 500]
WELL_FORMED = [case.raw for case in ACCEPTED if len(case.raw) < 500]

# Bytes that two parsers may read in different ways.
PIECES = [
    *(bytes([i]) for i in range(256)),
    b"\r\n",
    b"\r\n\r\n",
    b"\n\n",
    b" HTTP/1.1\r\n",
    b"Host: a\r\n",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"0\r\n\r\n",
    b"ffffffff\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
]


def mutate(raw: bytes, random: random.Random) -> bytes:
    """Return `raw` with a few bytes inserted, removed, replaced or repeated."""
    for _ in range(random.choice((0, 1, 1, 2, 3))):
        start = random.randrange(len(raw) + 1)
        end = min(len(raw), start + random.choice((0, 0, 1, 1, 2, 10)))
        middle = random.choice(
            (b"", random.choice(PIECES), random.choice(PIECES), raw[start:end] * 2)
        )
        raw = raw[:start] + middle + raw[end:]
    return raw


def cut(raw: bytes, random: random.Random) -> list[bytes]:
    """Return `raw` in random pieces, none of them empty."""
    count = random.choice((0, 1, 2, 5, 50))
    places = sorted({random.randrange(1, len(raw)) for _ in range(count)}) if len(raw) > 1 else []
    return [raw[a:b] for a, b in zip([0, *places], [*places, len(raw)], strict=True) if a < b]


@pytest.mark.parametrize("seed", range(10))
def test_a_mutated_connection_is_read_alike_however_it_is_cut(seed: int) -> None:
    source = random.Random(seed)
    for _ in range(300):
        raw = b"".join(
            mutate(source.choice(SEEDS), source) for _ in range(source.choice((1, 2, 4)))
        )
        whole = read(raw)
        for _ in range(2):
            pieces = cut(raw, source)
            outcome = read(*pieces)
            assert outcome.exchanges == whole.exchanges, pieces
            assert (outcome.refusal is None) is (whole.refusal is None), pieces


@pytest.mark.parametrize("seed", range(10))
def test_a_mutated_request_that_we_accept_h11_accepts_alike(seed: int) -> None:
    source = random.Random(seed)
    compared = 0
    for _ in range(300):
        raw = mutate(source.choice(WELL_FORMED), source)
        exchanges = read(raw).exchanges
        if not exchanges or not exchanges[0].is_whole:
            continue
        server = h11.Connection(h11.SERVER)
        server.receive_data(raw.lstrip(b"\r\n"))
        request = server.next_event()
        assert isinstance(request, h11.Request)
        body = b""
        while isinstance(event := server.next_event(), h11.Data):
            body += event.data
        assert isinstance(event, h11.EndOfMessage)
        ours = exchanges[0]
        assert (request.method.decode(), request.target.decode()) == (ours.method, ours.target)
        assert body == (ours.body or b"")
        assert [(n.decode(), v.decode("latin-1")) for n, v in request.headers] == [
            # h11 lowers the case of what it understands
            (name, value.lower() if name == "transfer-encoding" else value)
            for name, value in ours.fields
        ]
        assert [(n.decode(), v.decode("latin-1")) for n, v in event.headers] == ours.trailers
        compared += 1
    assert compared > 50


class OneConnection(RuleBasedStateMachine):
    """A connection with many requests: its memos must not change a result."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = Reader()
        self.sent = b""
        self.pending = b""
        self.is_refused = False

    @precondition(lambda self: not self.is_refused)
    @rule(raw=st.sampled_from(WELL_FORMED), times=st.integers(1, 3))
    def a_request_is_sent(self, raw: bytes, times: int) -> None:
        self.pending += raw * times

    @precondition(lambda self: not self.is_refused)
    @rule(raw=st.sampled_from(SEEDS))
    def anything_is_sent(self, raw: bytes) -> None:
        self.pending += raw

    @precondition(lambda self: self.pending and not self.is_refused)
    @rule(size=st.integers(1, 300))
    def some_of_it_arrives(self, size: int) -> None:
        data, self.pending = self.pending[:size], self.pending[size:]
        self.sent += data
        try:
            self.reader.feed(data)
        except (ProtocolError, ContentTooLarge):
            self.is_refused = True

    @rule()
    def the_connection_idles(self) -> None:
        self.reader.parser.forget_head()

    @invariant()
    def it_is_read_as_if_it_came_at_once(self) -> None:
        outcome = read(self.sent)
        assert (outcome.refusal is not None) is self.is_refused
        if not self.is_refused:
            assert Outcome(self.reader.exchanges) == outcome


TestOneConnection = OneConnection.TestCase
TestOneConnection.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
