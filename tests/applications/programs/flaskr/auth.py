"""Register, log in and log out."""

import functools
import sqlite3

from flask import Blueprint, flash, g, redirect, render_template, request, session, url_for
from werkzeug.security import check_password_hash, generate_password_hash

from .db import get_db

bp = Blueprint("auth", __name__, url_prefix="/auth")


@bp.before_app_request
def load_user() -> None:
    number = session.get("user_id")
    find = "SELECT * FROM user WHERE id = ?"
    g.user = None if number is None else get_db().execute(find, (number,)).fetchone()


def login_required(view):
    @functools.wraps(view)
    def wrapped(**arguments):
        return redirect(url_for("auth.login")) if g.user is None else view(**arguments)

    return wrapped


@bp.route("/register", methods=("GET", "POST"))
def register():
    if request.method == "POST":
        name, password = request.form["username"], request.form["password"]
        add = "INSERT INTO user (username, password) VALUES (?, ?)"
        try:
            with get_db() as db:
                db.execute(add, (name, generate_password_hash(password, "pbkdf2:sha256:1000")))
        except sqlite3.IntegrityError:
            flash(f"User {name} is already registered.")
        else:
            return redirect(url_for("auth.login"))
    return render_template("auth/register.html")


@bp.route("/login", methods=("GET", "POST"))
def login():
    if request.method == "POST":
        find = "SELECT * FROM user WHERE username = ?"
        user = get_db().execute(find, (request.form["username"],)).fetchone()
        if user is not None and check_password_hash(user["password"], request.form["password"]):
            session.clear()
            session["user_id"] = user["id"]
            return redirect(url_for("index"))
        flash("Incorrect username or password.")
    return render_template("auth/login.html")


@bp.route("/logout")
def logout():
    session.clear()
    return redirect(url_for("index"))
