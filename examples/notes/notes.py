"""The pages of a user who is logged in: the notes, one note, its file."""

from asyncio import to_thread
from pathlib import PurePath
from uuid import UUID, uuid4

from microweb import Request, Response, Router, abort

from accounts import require_login
from database import UPLOADS
from notebook import add_note, delete_note, find_note, notes_of
from pages import templates

router = Router(use=[require_login])

# Files that a page shows. Others are only downloads: another user's HTML or SVG may run a script.
IMAGES = {".gif": "image/gif", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}
templates.environment.tests["image"] = lambda name: PurePath(name).suffix.lower() in IMAGES


@router.get("/", name="index")
def index(request: Request) -> Response:
    """Show all notes, and the form for a new one."""
    return templates.render("notes.html", notes=notes_of(request.session["user"]))


@router.post("/", name="write", max_body=8 * 1024 * 1024)
async def write(request: Request) -> Response | tuple[Response, int]:
    """Store a note and its file. The name of the stored file is the note's id."""
    user, form, id = request.session["user"], await request.form(), uuid4()
    title, text, file = form["title"].strip(), form["text"].strip(), form.files.get("file")
    if not (1 <= len(title) <= 100 and len(text) <= 10_000):
        problem = "A title has 1 to 100 characters, a text at most 10000."
        typed = {"title": title, "text": text, "problem": problem}
        return templates.render("notes.html", notes=await to_thread(notes_of, user), **typed), 422
    if file is not None:
        await file.save(UPLOADS / str(id))  # before the note: its file then always exists
    await to_thread(add_note, user, id, title, text, file.filename if file else None)
    request.session.flash("Your note is saved.", "success")
    return Response.redirect(request.url_for("show", id=id))


@router.get("/notes/{id}")
def show(request: Request, id: UUID) -> Response:
    """Show one note."""
    note = find_note(request.session["user"], id) or abort(404, "You have no such note.")
    return templates.render("note.html", note=note)


@router.get("/notes/{id}/file", name="file")
def send_file(request: Request, id: UUID) -> Response:
    """Send a note's file. Its type follows from its name, not from the type the upload claimed."""
    note = find_note(request.session["user"], id)
    if note is None or note["filename"] is None:
        abort(404, "There is no such file.")
    kind = IMAGES.get(PurePath(note["filename"]).suffix.lower())
    return Response.file(
        UPLOADS / str(id),
        content_type=kind or "application/octet-stream",
        download_name=None if kind else note["filename"],
        cache="private, no-cache",
    )


@router.post("/notes/{id}/delete")
def delete(request: Request, id: UUID) -> Response:
    """Delete a note and its file."""
    if not delete_note(request.session["user"], id):
        abort(404, "You have no such note.")
    request.session.flash("The note is deleted.")
    return Response.redirect(request.url_for("index"))
