"""An answer that is computed word by word, until its reader leaves.

$ python examples/tokens.py     then open http://localhost:5000
$ curl -N http://localhost:5000/answer -d 'why?'     then press Ctrl-C, and open /work
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from microweb import App, Request, Response

PAUSE_S = 0.1  # the time that a word takes to compute
WORDS = """A stream ends with its reader. The server notices that the reader has left, and cancels
the generator of the words. The work stops immediately, and its finally block runs. No words are
computed without a reader.""".split()
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
    """Yield words forever. If the client leaves, an event stream is cancelled, even for a POST."""
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
