from __future__ import annotations

from support.serving import get, in_memory, read_all

from microweb import App
from microweb.http.interfaces import Address
from microweb.server.records import ExchangeRecord, note_first_byte


def test_record_of_a_refused_head_has_the_address_of_the_socket() -> None:
    record = ExchangeRecord(None, Address("192.0.2.1", 5000), 7.0)
    assert (record.method, record.target, record.route) == ("", "", None)
    assert record.client == Address("192.0.2.1", 5000)
    assert (record.begun, record.handled, record.first_byte, record.ended) == (7.0, 0.0, 0.0, 0.0)


async def test_route_is_the_pattern_with_the_prefix_of_its_app() -> None:
    app, inner = App(), App()

    @inner.get("/users/{id}")
    async def show(id: int) -> str:
        return str(id)

    app.mount("/api", inner)
    records: list[ExchangeRecord] = []
    async with in_memory(app.handle) as house:
        app.freeze()
        house.server.state.observers = (records.append,)
        end = house.connect()
        await end.write(get("/api/users/7?a=1") + get("/api/nothing") + get("/nothing"))
        end.write_eof()
        await read_all(end)
    assert [(each.target, each.route) for each in records] == [
        ("/api/users/7?a=1", "/api/users/{id}"),
        ("/api/nothing", None),
        ("/nothing", None),
    ]


def test_only_the_first_byte_is_noted() -> None:
    times = iter([1.0, 2.0])
    written: list[bytes | memoryview] = []

    def write(data: bytes | memoryview) -> bool:
        written.append(data)
        return True

    record = ExchangeRecord(None, None, 0.0)
    noting = note_first_byte(record, lambda: next(times), write)
    assert noting(b"a") and noting(b"b")
    assert (written, record.first_byte) == ([b"a", b"b"], 1.0)
