"""ASGI and WSGI: other applications in microweb, and an App under other servers."""
