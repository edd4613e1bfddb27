"""Step 5: only what is yours. IPv4 and IPv6: http://localhost:5000/ is 127.0.0.1 and ::1.

New: microweb does the rest. 404, 405 and HEAD come by themselves; connections persist; requests
are parsed strictly, within limits of size and time; a client that leaves disturbs nobody.

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
    """Answer what step 3 keeps in a table."""
    return "hello blog"


if __name__ == "__main__":
    app.run(port=int(sys.argv[1]) if sys.argv[1:] else 5000)
