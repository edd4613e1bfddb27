"""Step 1: accept, recv, print, answer, close. IPv4 only: http://127.0.0.1:5000/.

New: everything. A server is a listening socket and a loop that accepts one connection at a time.

Still wrong: every request gets the same answer, because the server does not parse it. One `recv`
may return half a request; the rest is never read. One client is served at a time. After a restart
the port may be taken for a minute ("Address already in use").
"""

import contextlib
import socket
import sys

BODY = b"hello world"
ANSWER = (
    b"HTTP/1.1 200 OK\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\n"
    b"Connection: close\r\n"
    b"\r\n"
    b"%b" % (len(BODY), BODY)
)

# A browser opens a spare connection and sends nothing on it. Without a timeout, `recv` would wait
# for it forever, and no other client would be served.
TIMEOUT_S = 1.0


def answer(connection: socket.socket, client: tuple[str, int]) -> None:
    """Print the client's address and the request, and answer it."""
    print("connection from {}:{}".format(*client))
    with connection:
        connection.settimeout(TIMEOUT_S)
        request = connection.recv(65536).decode("latin-1")  # cannot fail: any byte is a character
        for line in request.split("\r\n"):
            print(f"  {line!a}")  # escaped: a request may contain control codes for a terminal
        connection.sendall(ANSWER)


def main() -> None:
    """Listen on the port of the command line, else 5000, until Ctrl-C."""
    port = int(sys.argv[1]) if sys.argv[1:] else 5000
    with contextlib.suppress(KeyboardInterrupt), socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        print("listening on http://{}:{}".format(*listener.getsockname()))
        while True:
            with contextlib.suppress(OSError):  # the client was silent for too long, or left
                answer(*listener.accept())


if __name__ == "__main__":
    main()
