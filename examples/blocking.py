"""Plain `def` endpoints, for code that blocks: each call runs in a thread, the loop stays free.

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
    """A system call that may block: others are answered meanwhile."""
    total, used, free = shutil.disk_usage("/")
    return {"total": total, "used": used, "free": free}


@app.post("/words")
def words(request: Request) -> dict[str, int]:
    """What must be awaited is awaited on the loop, by `from_thread`."""
    text = from_thread(request.text())
    return Counter(text.split())


@app.get("/sleep")
def sleep(seconds: float = 1.0) -> str:
    """Ask several at once: they take as long as one, up to `threads=40` of them."""
    time.sleep(seconds)
    return f"slept in {threading.current_thread().name}"


if __name__ == "__main__":
    app.run()
