"""A client that pipelines requests without end on one connection: `flooding.py HOST PORT`."""

from __future__ import annotations

import socket
import sys
import threading

REQUESTS = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 1000


def main(host: str, port: int) -> None:
    client = socket.create_connection((host, port))

    def send() -> None:
        while True:
            client.sendall(REQUESTS)

    threading.Thread(target=send, daemon=True).start()
    received = 0
    while piece := client.recv(1 << 20):
        if not received:
            print("flooding", flush=True)
        received += len(piece)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
