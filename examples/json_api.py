"""A JSON API on a dict in memory: typed bodies, 201 with a Location, 404, 422.

$ python examples/json_api.py
$ curl -i http://localhost:5000/notes --json '{"title": "buy milk"}'
"""

from dataclasses import dataclass
from uuid import UUID, uuid4

from microweb import App, Request, abort


@dataclass
class Draft:
    """What a client sends. Anything else is a 422 that names the place."""

    title: str
    done: bool = False


@dataclass(kw_only=True)
class Note(Draft):
    """What a client gets."""

    id: UUID


app = App()
notes: dict[UUID, Note] = {}


@app.get("/notes")
async def list_notes(done: bool | None = None) -> list[Note]:
    """All notes; with `?done=true` those that are done."""
    return [note for note in notes.values() if done in (None, note.done)]


@app.post("/notes")
async def create(request: Request) -> tuple[Note, int, dict[str, str]]:
    """Keep a note, say where it is."""
    draft, id = await request.json(Draft), uuid4()
    notes[id] = Note(draft.title, draft.done, id=id)
    return notes[id], 201, {"Location": request.url_for("show", id=id)}


@app.get("/notes/{id}")
async def show(id: UUID) -> Note:
    """One note."""
    return notes.get(id) or abort(404, f"no note {id}")


@app.delete("/notes/{id}")
async def delete(id: UUID) -> None:
    """Forget a note, if there is one; None is a 204."""
    notes.pop(id, None)


if __name__ == "__main__":
    app.run()
