"""Step 2: read the request line. IPv4 only: http://127.0.0.1:5000/.

New: `parse_request` finds the method and the URL; bytes that are not a request get a 400. With
SO_REUSEADDR the server can restart immediately, although old connections are still in TIME_WAIT
(those of step 1 do not have it, and block the port for a minute).

Still wrong: the answer does not depend on the URL. One `recv` may return half a valid request,
which is then refused. One client is served at a time.
"""

import contextlib
import re
import socket
import sys

# method SP request-target SP HTTP-version CRLF: RFC 9112 §3. `++` never gives a character back.
REQUEST_LINE = re.compile(r"([A-Z]++) ([!-~]++) HTTP/1\.[0-9]\r\n")

HEADERS = b"Content-Type: text/plain\r\nContent-Length: 11\r\nConnection: close\r\n\r\n"
HELLO = b"HTTP/1.1 200 OK\r\n" + HEADERS + b"hello world"
REFUSAL = b"HTTP/1.1 400 Bad Request\r\n" + HEADERS + b"bad request"
TIMEOUT_S = 1.0  # a browser's spare connection sends nothing: see step 1


def parse_request(request: str) -> tuple[str, str]:
    """Return the method and the URL. Raises: ValueError if the request line is malformed."""
    match = REQUEST_LINE.match(request)
    if match is None:
        raise ValueError(f"expected 'METHOD URL HTTP/1.1', got {request[:80]!a}")
    return match[1], match[2]


def answer(connection: socket.socket) -> None:
    """Answer one request, and print its method and URL or its error."""
    request = connection.recv(65536).decode("latin-1")
    try:
        print(*parse_request(request))
        connection.sendall(HELLO)
    except ValueError as error:
        print(error)
        connection.sendall(REFUSAL)


def main() -> None:
    """Listen on the port of the command line, else 5000, until Ctrl-C."""
    port = int(sys.argv[1]) if sys.argv[1:] else 5000
    with contextlib.suppress(KeyboardInterrupt), socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        print("listening on http://{}:{}".format(*listener.getsockname()))
        while True:  # OSError: the client was silent for too long, or left
            with contextlib.suppress(OSError), listener.accept()[0] as connection:
                connection.settimeout(TIMEOUT_S)
                answer(connection)


if __name__ == "__main__":
    main()
