"""An answer that is computed word by word, and no further once its reader has left.

$ python examples/tokens.py     and open http://localhost:5000
$ curl -N http://localhost:5000/answer -d 'why?'     then Ctrl-C, and look at /work
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from microweb import App, Request, Response

PAUSE_S = 0.1  # as long as a word takes to compute
WORDS = """A stream ends with its reader. The server sees the reader go, cancels what computes the
next word, and the work stops where it stands: its finally runs, and nobody pays for words that
nobody reads.""".split()
PAGE = Path(__file__).with_suffix(".html").read_text("utf-8")

app = App()
app.state.made = 0  # words, for all readers
app.state.readers = 0


@app.get("/")
async def index() -> Response:
    return Response.html(PAGE)


@app.post("/answer")
async def answer(request: Request) -> Response:
    return Response.events(compute(await request.text()))


async def compute(question: str) -> AsyncIterator[dict[str, str]]:
    """Yield words for ever. A POST is not cancelled when its client leaves, an event stream is."""
    app.state.readers += 1
    try:
        yield {"word": f"You ask: {question.strip()[:80]}"}
        while True:
            for word in WORDS:
                await asyncio.sleep(PAUSE_S)
                app.state.made += 1
                yield {"word": word}
    finally:
        app.state.readers -= 1


@app.get("/work")
async def work() -> dict[str, int]:
    return {"made": app.state.made, "readers": app.state.readers}


if __name__ == "__main__":
    app.run()
