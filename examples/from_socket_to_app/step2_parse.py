"""Step 2: read the request line. IPv4 only: http://127.0.0.1:5000/.

New: `parse_request` finds the method and the URL; what is no request gets a 400. SO_REUSEADDR lets
the server start again at once, beside its old connections in TIME_WAIT (those of step 1 lack it
and are still in the way, for a minute).

Still wrong: the answer does not depend on the URL. One `recv` may return half a request, which is
refused though nothing is wrong with it. One client is served at a time.
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
    """Return the method and the URL. Raises: ValueError where no request line begins it."""
    match = REQUEST_LINE.match(request)
    if match is None:
        raise ValueError(f"expected 'METHOD URL HTTP/1.1', got {request[:80]!a}")
    return match[1], match[2]


def answer(connection: socket.socket) -> None:
    """Answer one request and print its method and URL, or what is wrong with it."""
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
