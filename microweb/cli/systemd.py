"""`microweb systemd`: print a service unit and its socket unit for an app."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from pathlib import Path

from ..errors import ConfigurationError
from ..server.config import ServerConfig, ServerOptions
from ..server.settings import read_settings
from ..server.start import start_directory
from ..server.worker import KILL_MARGIN_S
from .command import Command, fail, fail_usage, write_out
from .target import add_target, app_folder

_HOMES = ("/home/", "/root/", "/run/user/")  # that ProtectHome=yes hides
_RUN = "/run"
_STOP_SLACK_S = 7.0
_FLAGS = {  # of options that pyproject.toml does not set
    "trusted_proxies": ["--trusted-proxies", "unix"],
    "workers": ["--workers", "auto"],
    "supervised": ["--supervised"],
}
_PLAIN_FOLDER = re.compile(r"/[\w@+./-]+", re.ASCII)  # systemd unquotes others in several ways
_PLAIN = re.compile(r"[\w@+=:,./-]+", re.ASCII)
_USER = re.compile(r"[a-z0-9_][\w.-]*\$?", re.ASCII | re.IGNORECASE)

_SERVICE = """\
# /etc/systemd/system/{name}.service
[Unit]
Description={target}, served by microweb
Requires={name}.socket
After=network.target {name}.socket

[Service]
# From systemd 253 on, Type=notify-reload lets `systemctl reload` wait for the new workers.
Type=notify
WorkingDirectory={directory}
{several}ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
# SIGTERM to the supervisor only, which stops the workers; SIGKILL to all that are left.
KillMode=mixed
# More than drain_delay_s ({drain_s:g}){graces}.
TimeoutStopSec={stop_s}
Restart=always
RestartSec=1
# The supervisor reports each second while the event loop of a worker turns.
WatchdogSec=30

{user}
# A directory that the app may write to: /var/lib/{name}
StateDirectory={name}
{control}UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectProc=invisible
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
PrivateDevices=yes
PrivateTmp=yes
LockPersonality=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""

_SEVERAL = """\
# Workers share no memory: `microweb check {target} --workers 2` names state that is kept in memory.
"""

_SOCKET = """\
# /etc/systemd/system/{name}.socket
[Unit]
Description=Socket of {target}

[Socket]
# For a proxy on this machine. For a port: ListenStream=8000, without the three Socket lines.
ListenStream=/run/{name}.sock
SocketMode=0660
SocketUser=root
# The group of the proxy: www-data for nginx of Debian, nginx elsewhere.
SocketGroup=www-data
Backlog=2048
NoDelay=yes

[Install]
WantedBy=sockets.target
"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target(parser)
    parser.add_argument(
        "--control",
        metavar="PATH",
        help="the control socket of the service, in a directory in /run",
    )
    parser.add_argument(
        "--user",
        metavar="NAME",
        help="the user of the service (default: one that exists only while the service runs; for "
        "code in a home directory, its owner)",
    )
    parser.add_argument("--only", choices=("service", "socket"), help="print one of the two units")


def _run(given: argparse.Namespace) -> None:
    if given.user is not None and not _USER.fullmatch(given.user):
        fail_usage(f"--user: expected the name of a user, got {given.user!r:.80}")
    service = _service(given.target, given.control, given.user)
    bound = _socket(given.target)
    units = [
        text
        for kind, text in (("service", service), ("socket", bound))
        if given.only in (None, kind)
    ]
    write_out("\n".join(units))


def _service(target: str, control: str | None, user: str | None) -> str:
    directory = start_directory()
    options, config = _of_project(target)
    command = [sys.executable, "-m", "microweb", "run", target, "--bind", "systemd"]
    for name, flags in _FLAGS.items():
        command += [] if name in options else flags
    command += [] if control is None else ["--control", control]
    several = "workers" not in options or config.workers != 1
    if (
        ("workers" in options and several)
        or control
        or config.needs_supervisor
        or "supervised" not in options
    ):
        graces, stop_s = ", grace_s ({grace_s:g}) and 3 s, when workers are killed", config.grace_s
    else:  # a single process gives its lifespans as long again
        graces, stop_s = (
            " and twice grace_s ({grace_s:g}), for requests and lifespans",
            2 * config.grace_s,
        )
    return _SERVICE.format(
        name=_name_of(target),
        target=_escaped(target),
        directory=_escaped(directory),
        command=" ".join(map(_quoted, command)),
        drain_s=config.drain_delay_s,
        graces=graces.format(grace_s=config.grace_s),
        stop_s=math.ceil(config.drain_delay_s + stop_s + KILL_MARGIN_S + _STOP_SLACK_S),
        several=_SEVERAL.format(target=target) if several else "",
        user=_user_for([directory, sys.executable], user),
        control=_directory_of(config.control if control is None else control, target),
    )


def _of_project(target: str) -> tuple[ServerOptions, ServerConfig]:
    """Return the options of pyproject.toml, alone and with all defaults.

    Variables are not read, because the environment of the service is another one.
    """
    try:
        options = read_settings({}, app_folder(target), {}).options
        return options, ServerConfig.from_options(options)
    except ConfigurationError as error:
        fail(str(error))


def _socket(target: str) -> str:
    return _SOCKET.format(name=_name_of(target), target=_escaped(target))


def _name_of(target: str) -> str:
    """Return the name of the units: the module, or the file without its suffix."""
    place = target.partition(":")[0]
    stem = Path(place).stem if place.endswith(".py") else place
    return re.sub(r"[^\w-]+", "-", stem, flags=re.ASCII).strip("-") or "app"


def _user_for(paths: list[str], user: str | None) -> str:
    """Return the lines about the user: the owner of the code if it lies in a home directory.

    Raises: SystemExit if the owner is root and no user is named.
    """
    for path in paths:
        for each in (path, os.path.realpath(path)):
            if f"{each}/".startswith(_HOMES):
                why = "# The code lies in a home directory, which DynamicUser could not read."
                return f"{why}\nUser={user or _owner_of(each)}\nProtectHome=read-only"
    return f"User={user}\nProtectHome=yes" if user else "DynamicUser=yes\nProtectHome=yes"


def _owner_of(path: str) -> int:
    owner = os.lstat(path).st_uid  # of a link itself: the Python of a virtual environment is one
    if owner == 0:
        fail(
            f"{path} lies in a home directory and belongs to root, so the app would run as root: "
            "move the app and its virtual environment to a folder such as /srv/app, with a Python "
            "of the system, or name a user that can read them by --user NAME"
        )
    return owner


def _directory_of(control: str, target: str) -> str:
    """Return the lines that make the directory of the control socket writable, if there is one."""
    if not control:
        return ""
    folder = os.path.dirname(control)
    if not _PLAIN_FOLDER.fullmatch(folder) or folder == _RUN:
        name = _name_of(target)
        fail(f"control: expected a path such as {_RUN}/{name}/{name}.ctl, got {control!r:.80}")
    if not folder.startswith(f"{_RUN}/"):
        return f"ReadWritePaths={folder}\n"
    runtime = folder.removeprefix(f"{_RUN}/")
    why = (
        "# The directory of the control socket, which only the user of the service and root enter."
    )
    return f"{why}\nRuntimeDirectory={runtime}\nRuntimeDirectoryMode=0700\n"


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(argument: str) -> str:
    """Return an argument of ExecStart. See systemd.service(5), "Command lines"."""
    if _PLAIN.fullmatch(argument):
        return argument
    text = argument.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{_escaped(text)}"'


COMMAND = Command(
    "systemd", "Print a service unit and a socket unit for an app.", _add_arguments, _run
)
