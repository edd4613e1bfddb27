"""A clock in a page, by server-sent events. The browser reconnects and resumes after its last tick.

$ python examples/clock.py     then open http://localhost:5000; stop the server and start it again
$ curl -N http://localhost:5000/ticks -H 'Last-Event-ID: 41'
"""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import datetime

from microweb import App, Request, Response, html
from microweb.sse import ServerEvent

TICK_S = 1.0

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Clock</title>
<style>
  :root { color-scheme: light dark; font: 1rem system-ui, sans-serif; text-align: center }
  body { display: grid; place-content: center; min-height: 90vh }
  time { font-size: clamp(3rem, 18vw, 8rem); font-variant-numeric: tabular-nums }
</style>
<time>--:--:--</time><p><output>connecting</output></p>
<script>
  const source = new EventSource("/ticks");
  const say = text => document.querySelector("output").textContent = text;
  source.onmessage = event => {
    document.querySelector("time").textContent = JSON.parse(event.data).time;
    say(`tick ${event.lastEventId}`);
  };
  source.onerror = () => say("connection lost, reconnecting");
</script>"""

app = App()


@app.get("/")
async def index() -> str:
    return html(PAGE)


@app.get("/ticks")
async def ticks(request: Request) -> Response:
    last = request.last_event_id or ""  # the client chooses it: check it
    return Response.events(count(int(last) + 1 if re.fullmatch("[0-9]{1,15}", last) else 1))


async def count(number: int) -> AsyncIterator[ServerEvent]:
    """Yield ticks with ids. A browser that reconnects sends the last id that it got."""
    while True:
        yield ServerEvent({"time": f"{datetime.now():%H:%M:%S}"}, id=str(number), retry=1000)
        number += 1
        await asyncio.sleep(TICK_S)


if __name__ == "__main__":
    app.run()
