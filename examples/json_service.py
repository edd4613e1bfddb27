r"""A JSON API for scripts of other sites: CORS, bearer tokens, typed bodies, problem details.

$ API_TOKENS='sesame:ada mellon:eve' ORIGIN=https://app.example python examples/json_service.py
$ curl -i http://localhost:5000/bookings -H 'Authorization: Bearer sesame' \
    --json '{"room": "attic", "begins": "2030-01-01T09:00Z", "ends": "2030-01-01T10:00Z"}'
"""

import os
import sys
from dataclasses import dataclass
from datetime import datetime

from microweb import App, HTTPError, Request, Response
from microweb.errorpages import problem_response
from microweb.middleware.authentication import BearerAuth
from microweb.middleware.cors import CORS


@dataclass
class Booking:
    """The JSON that a client sends. Other JSON, or a ValueError here, is a 422 with the place."""

    room: str
    begins: datetime
    ends: datetime

    def __post_init__(self) -> None:
        if self.begins.tzinfo is None or self.begins >= self.ends:
            raise ValueError("expected `begins` before `ends`, both with a time zone")


app = App()
app.use(CORS(os.environ.get("ORIGIN", "http://localhost:3000")))
tokens = os.environ.get("API_TOKENS") or sys.exit("set API_TOKENS='token:name'")
users = dict(each.split(":") for each in tokens.split())  # no secrets in code
bookings: list[tuple[str, Booking]] = []  # with the user's name


@app.post("/bookings", use=[BearerAuth(users)])
async def book(request: Request) -> tuple[Booking, int]:
    """Book a room if it is free."""
    wanted = await request.json(Booking)
    for name, other in bookings:
        if other.room == wanted.room and other.begins < wanted.ends and wanted.begins < other.ends:
            raise HTTPError(409, f"{name} has booked the room", until=other.ends)
    bookings.append((request.state.user, wanted))
    return wanted, 201


@app.errorhandler(HTTPError)
async def problem(error: HTTPError) -> Response:
    """Answer every client with problem details (RFC 9457), not only clients that prefer JSON."""
    return problem_response(error.status, error.detail, error.extra)


if __name__ == "__main__":
    app.run()
