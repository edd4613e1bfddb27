"""The phases of a connection, from its start to the last bytes of a peer."""

from __future__ import annotations

from support.serving import GET, in_memory, post, read_until, settle

from microweb import Request, Response
from microweb.server.phases import BEFORE_A_REQUEST, Phase


async def read_body(request: Request) -> Response:
    return Response(await request.body())


async def test_phases_of_a_connection() -> None:
    async with in_memory(read_body) as house:
        end = house.connect()
        network = house.connection.network
        assert network.phase is Phase.START
        await end.write(GET)
        await read_until(end, b"\r\n\r\n")
        assert network.phase is Phase.IDLE
        await end.write(GET[:5])
        await settle()
        assert network.phase is Phase.HEAD
        assert network.phase in BEFORE_A_REQUEST
        end.close()


async def test_body_and_the_rest_behind_the_last_answer_are_no_wait_for_a_request() -> None:
    async with in_memory(read_body, max_body=4) as house:
        end = house.connect()
        network = house.connection.network
        head, _, body = post("/", b"body").partition(b"\r\n\r\n")
        await end.write(head + b"\r\n\r\n" + body[:2])
        await settle()
        assert network.phase is Phase.BODY
        assert network.phase not in BEFORE_A_REQUEST
        await end.write(body[2:])
        await read_until(end, b"body")
        assert network.phase is Phase.IDLE
        await end.write(post("/", b"large").removesuffix(b"large"))
        await read_until(end, b"\r\n\r\n")
        await settle()
        assert network.phase is Phase.LINGER
        assert network.phase not in BEFORE_A_REQUEST
        end.close()
