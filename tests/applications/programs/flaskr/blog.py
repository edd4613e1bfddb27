"""The posts."""

from flask import Blueprint, abort, flash, g, redirect, render_template, request, url_for

from .auth import login_required
from .db import get_db

bp = Blueprint("blog", __name__)
SELECT = (
    "SELECT p.id, title, body, author_id, username FROM post p JOIN user u ON p.author_id = u.id"
)


@bp.route("/")
def index():
    posts = get_db().execute(f"{SELECT} ORDER BY p.id DESC").fetchall()
    return render_template("blog/index.html", posts=posts)


def get_post(number: int):
    post = get_db().execute(f"{SELECT} WHERE p.id = ?", (number,)).fetchone()
    if post is None:
        abort(404, f"Post id {number} doesn't exist.")
    if post["author_id"] != g.user["id"]:
        abort(403)
    return post


@bp.route("/create", methods=("GET", "POST"))
@login_required
def create():
    if request.method == "POST":
        if request.form["title"]:
            add = "INSERT INTO post (title, body, author_id) VALUES (?, ?, ?)"
            with get_db() as db:
                db.execute(add, (request.form["title"], request.form["body"], g.user["id"]))
            return redirect(url_for("blog.index"))
        flash("Title is required.")
    return render_template("blog/edit.html", post={"title": "", "body": ""})


@bp.route("/<int:number>/update", methods=("GET", "POST"))
@login_required
def update(number: int):
    post = get_post(number)
    if request.method == "POST":
        change = "UPDATE post SET title = ?, body = ? WHERE id = ?"
        with get_db() as db:
            db.execute(change, (request.form["title"], request.form["body"], number))
        return redirect(url_for("blog.index"))
    return render_template("blog/edit.html", post=post)


@bp.route("/<int:number>/delete", methods=("POST",))
@login_required
def delete(number: int):
    get_post(number)
    with get_db() as db:
        db.execute("DELETE FROM post WHERE id = ?", (number,))
    return redirect(url_for("blog.index"))
