"""Step 3: an answer for each URL. IPv4 only: http://127.0.0.1:5000/.

New: `generate_response` takes text and returns bytes: a status line, headers and a body, also for
404 and 405. Tests need no socket. `create_server` does bind, listen and (on POSIX) SO_REUSEADDR.

Still wrong: half a request is refused, and all clients wait for a slow one. Another program may
listen on [::1]:5000, and a browser tries that address of "localhost" first.
"""

import contextlib
import socket
import sys
from email.utils import formatdate
from http import HTTPStatus

from step2_parse import parse_request

PAGES = {"/": "hello world", "/blog": "hello blog"}
TIMEOUT_S = 1.0  # a browser's spare connection sends nothing: see step 1


def generate_response(request: str) -> bytes:
    """Return the whole answer: the page or an error."""
    try:
        method, url = parse_request(request)
    except ValueError:
        return encode_response(400, "bad request")
    page = PAGES.get(url.partition("?")[0])
    if page is None:
        return encode_response(404, "not found", method)
    if method not in ("GET", "HEAD"):
        return encode_response(405, "method not allowed", method, "Allow: GET, HEAD\r\n")
    return encode_response(200, page, method)


def encode_response(status: int, text: str, method: str = "GET", more: str = "") -> bytes:
    """Return a status line, headers and, except for HEAD, the body (RFC 9110 §9.3.2)."""
    body = text.encode()
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nDate: {formatdate(usegmt=True)}\r\n"
    head += f"{more}Content-Type: text/plain; charset=utf-8\r\n"
    head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"  # bytes, not characters
    return head.encode() if method == "HEAD" else head.encode() + body


def main() -> None:
    """Listen on the port of the command line, else 5000, until Ctrl-C."""
    address = ("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 5000)
    with contextlib.suppress(KeyboardInterrupt), socket.create_server(address) as listener:
        print("listening on http://{}:{}".format(*listener.getsockname()))
        while True:  # OSError: the client was silent for too long, or left
            with contextlib.suppress(OSError), listener.accept()[0] as connection:
                connection.settimeout(TIMEOUT_S)
                response = generate_response(connection.recv(65536).decode("latin-1"))
                print(response.partition(b"\r\n")[0].decode())
                connection.sendall(response)


if __name__ == "__main__":
    main()
