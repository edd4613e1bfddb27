"""The app of the deployment kit without a proxy: TLS by the additions to its units."""

from __future__ import annotations

import grp
import os
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from support.deploying import HOST, copied, make_certificate, replaced, served_by_the_units
from support.processes import DEADLINE_S

FOLDER = "/etc/app-tls"


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    return copied(tmp_path)


def test_hook_of_certbot_gives_the_app_a_certificate_that_it_serves(kit: Path) -> None:
    lineage, live = kit / "lineage", kit / "live"
    lineage.mkdir()
    context = make_certificate(lineage)
    (lineage / "site.pem").rename(lineage / "fullchain.pem")
    (lineage / "site.key").rename(lineage / "privkey.pem")
    hook = kit / "tls" / "renewed"
    group = grp.getgrgid(os.getgid()).gr_name
    text = replaced(hook.read_text(), {FOLDER: str(live)})
    hook.write_text(replaced(text, {r"app-tls(?= |$)": group}))
    environment = os.environ | {"RENEWED_LINEAGE": str(lineage)}
    for _ in range(2):  # at first, and at a renewal
        subprocess.run([hook], env=environment, check=True, timeout=DEADLINE_S)
    assert (live / "privkey.pem").stat().st_mode & 0o777 == 0o640

    addition = replaced((kit / "tls" / "service.conf").read_text(), {FOLDER: str(live)})
    variables = re.findall(r"(?m)^Environment=(.+)$", addition)
    with served_by_the_units(kit, address="0", variables=variables) as program:
        port = re.findall(r"https://[\w.]+:(\d+)", program.out.seen[-1])[0]

        def name_host(request: httpx.Request) -> None:
            request.extensions["sni_hostname"] = HOST

        with httpx.Client(verify=context, event_hooks={"request": [name_host]}) as client:
            answer = client.get(f"https://127.0.0.1:{port}/client", headers={"Host": HOST}).json()
        assert answer == {"client": "127.0.0.1", "url": f"https://{HOST}/client"}
        program.stop()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_accepts_the_units_with_the_additions(kit: Path) -> None:
    service = kit / "app.service"
    service.write_text(replaced(service.read_text(), {"/srv/app/venv/bin/python3": "/bin/true"}))
    for kind in ("service", "socket"):
        folder = kit / f"app.{kind}.d"
        folder.mkdir()
        shutil.copy(kit / "tls" / f"{kind}.conf", folder / "tls.conf")
    command = ["systemd-analyze", "verify", "--man=no", service, kit / "app.socket"]
    ended = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=DEADLINE_S)
    assert (ended.returncode, ended.stderr) == (0, "")
    with open(folder / "tls.conf", "a") as file:
        file.write("Unknown=1\n")
    ended = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=DEADLINE_S)
    assert "Unknown" in ended.stderr, "the additions are read"
