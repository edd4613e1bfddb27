"""A JSON API on a dict in memory: typed bodies, 201 with a Location, 404, 422.

python examples/json_api.py
curl -i http://localhost:5000/notes --json '{"title": "buy milk"}'
curl -i http://localhost:5000/notes --json '{"title": 7}'
"""

from dataclasses import dataclass
from itertools import count

from microweb import App, Request, abort


@dataclass
class Draft:
    """What a client sends. Anything else is a 422 that names the place."""

    title: str
    done: bool = False


@dataclass(kw_only=True)
class Note(Draft):
    """What a client gets."""

    id: int


app = App()
notes: dict[int, Note] = {}
ids = count(1)


@app.get("/notes")
async def list_notes(done: bool | None = None) -> list[Note]:
    """All notes; with `?done=true` those that are done."""
    return [note for note in notes.values() if done in (None, note.done)]


@app.post("/notes")
async def create(request: Request) -> tuple[Note, int, dict[str, str]]:
    """Keep a note, say where it is."""
    draft = await request.json(Draft)
    note = Note(draft.title, draft.done, id=next(ids))
    notes[note.id] = note
    return note, 201, {"Location": request.url_for("show", id=note.id)}


@app.get("/notes/{id}")
async def show(id: int) -> Note:
    """One note."""
    return notes.get(id) or abort(404, f"no note {id}")


@app.delete("/notes/{id}")
async def delete(id: int) -> None:
    """Forget a note: None is a 204."""
    if notes.pop(id, None) is None:
        abort(404, f"no note {id}")


if __name__ == "__main__":
    app.run()
