"""Plain `def` endpoints for code that blocks: each call runs in a thread, not on the event loop.

$ python examples/blocking.py
$ curl http://localhost:5000/disk
$ curl http://localhost:5000/words -d 'to be or not to be'
"""

import shutil
import threading
import time
from collections import Counter

from microweb import App, Request, from_thread

app = App()


@app.get("/disk")
def disk() -> dict[str, int]:
    """Make a system call that may block. Other requests are answered meanwhile."""
    total, used, free = shutil.disk_usage("/")
    return {"total": total, "used": used, "free": free}


@app.post("/words")
def words(request: Request) -> dict[str, int]:
    """Count words. `from_thread` awaits a coroutine on the event loop and returns its result."""
    text = from_thread(request.text())
    return Counter(text.split())


@app.get("/sleep")
def sleep(seconds: float = 1.0) -> str:
    """Sleep. Up to `threads=40` requests at the same time take as long as one."""
    time.sleep(seconds)
    return f"slept in {threading.current_thread().name}"


if __name__ == "__main__":
    app.run()
