"""Step 5: only the pages are left. IPv4 and IPv6: http://localhost:5000/ is 127.0.0.1 and ::1.

New: microweb does the rest. It answers 404, 405 and HEAD, keeps connections open, parses requests
strictly within limits of size and time, and handles clients that leave.

Still wrong: the pages are two lines of text. That part is yours.
"""

import sys

from microweb import App

app = App()


@app.get("/")
async def index() -> str:
    """Greet."""
    return "hello world"


@app.get("/blog")
async def blog() -> str:
    """Answer as the second page of step 3."""
    return "hello blog"


if __name__ == "__main__":
    app.run(port=int(sys.argv[1]) if sys.argv[1:] else 5000)
