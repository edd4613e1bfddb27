"""A JSON API on a dict in memory: typed bodies, 201 with a Location, 404, 422.

$ python examples/json_api.py
$ curl -i http://localhost:5000/notes --json '{"title": "buy milk"}'
"""

from dataclasses import dataclass
from uuid import UUID, uuid4

from microweb import App, Request, abort


@dataclass
class Draft:
    """The JSON that a client sends. Any other JSON is a 422 that names the wrong place."""

    title: str
    done: bool = False


@dataclass(kw_only=True)
class Note(Draft):
    """The JSON that a client gets."""

    id: UUID


app = App()
notes: dict[UUID, Note] = {}


@app.get("/notes")
async def list_notes(done: bool | None = None) -> list[Note]:
    """Return all notes; with `?done=true`, only notes that are done."""
    return [note for note in notes.values() if done in (None, note.done)]


@app.post("/notes")
async def create(request: Request) -> tuple[Note, int, dict[str, str]]:
    """Store a note, and answer with its URL in `Location`."""
    draft, id = await request.json(Draft), uuid4()
    notes[id] = Note(draft.title, draft.done, id=id)
    return notes[id], 201, {"Location": request.url_for("show", id=id)}


@app.get("/notes/{id}")
async def show(id: UUID) -> Note:
    """Return one note."""
    return notes.get(id) or abort(404, f"no note {id}")


@app.delete("/notes/{id}")
async def delete(id: UUID) -> None:
    """Delete a note if it exists. None is answered with 204."""
    notes.pop(id, None)


if __name__ == "__main__":
    app.run()
