"""The manifest of the deployment kit, against the app, the Containerfile and microweb's options."""

from __future__ import annotations

import inspect
import os
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.containing import instructions
from support.deploying import KIT

from microweb import App
from microweb.middleware.health import Health
from microweb.server.config import ServerConfig
from microweb.server.cpus import available_cpus
from microweb.server.settings import read_settings
from microweb.server.worker import KILL_MARGIN_S

DOCUMENTS: dict[str, Any] = {
    each["kind"]: each for each in yaml.safe_load_all((KIT / "kubernetes.yaml").read_text())
}
TEMPLATE = DOCUMENTS["Deployment"]["spec"]["template"]
POD = TEMPLATE["spec"]
(CONTAINER,) = POD["containers"]
IMAGE = instructions((KIT / "Containerfile").read_text())
PROBES = {name: CONTAINER[f"{name}Probe"] for name in ("startup", "readiness", "liveness")}
CHECK_S = inspect.signature(Health.check).parameters["timeout_s"].default
MIB = 1 << 20


@pytest.fixture
def config() -> ServerConfig:
    """The options of the app in the pod: of pyproject.toml, the image and the manifest."""
    (in_image,) = (rest for name, rest in IMAGE if name == "ENV")
    variables = dict(pair.split("=", 1) for pair in shlex.split(in_image))
    variables |= {each["name"]: each["value"] for each in CONTAINER["env"]}
    settings = read_settings({}, KIT, variables)
    assert settings.unknown == settings.notes == []
    return ServerConfig.from_options(settings.options)


def seconds_of(probe: dict[str, Any]) -> float:
    """Return how long a probe must fail until Kubernetes acts."""
    return float(probe["periodSeconds"] * probe["failureThreshold"])


def mebibytes(text: str) -> int:
    return int(text.removesuffix("Mi"))


async def test_each_probe_is_answered_on_the_port_of_the_image(config: ServerConfig) -> None:
    ports = {each["name"]: each["containerPort"] for each in CONTAINER["ports"]}
    (port,) = {ports[probe["httpGet"]["port"]] for probe in PROBES.values()}
    (address,) = config.addresses
    assert address.port == port
    assert ("EXPOSE", str(port)) in IMAGE
    app: App = runpy.run_path(str(KIT / "app.py"))["app"]
    async with app.test_client() as client:
        for probe in PROBES.values():
            host = {"Host": f"10.1.2.3:{port}"}  # the address of a pod
            answer = await client.get(probe["httpGet"]["path"], headers=host)
            assert answer.status_code == 200
            assert "status" in answer.json(), "expected an answer of Health"


def test_service_leads_to_the_pods() -> None:
    service, labels = DOCUMENTS["Service"]["spec"], TEMPLATE["metadata"]["labels"]
    assert service["selector"] == labels
    assert DOCUMENTS["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert DOCUMENTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert service["ports"][0]["targetPort"] in {each["name"] for each in CONTAINER["ports"]}


def test_kubelet_waits_for_the_whole_stop(config: ServerConfig) -> None:
    assert config.supervised or config.workers != 1
    longest = config.drain_delay_s + config.grace_s + KILL_MARGIN_S
    assert POD["terminationGracePeriodSeconds"] > longest + 5


def test_pod_drains_for_longer_than_a_probe_needs_to_see_it(config: ServerConfig) -> None:
    readiness = PROBES["readiness"]
    assert config.drain_delay_s > seconds_of(readiness) + readiness["timeoutSeconds"]
    assert readiness["timeoutSeconds"] > CHECK_S


def test_kubelet_is_slower_than_the_supervisor(config: ServerConfig) -> None:
    assert seconds_of(PROBES["liveness"]) > config.worker_stall_s
    assert seconds_of(PROBES["startup"]) >= config.worker_start_s


def test_workers_follow_the_limit_of_cpu_and_fit_into_memory(
    config: ServerConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    limits = CONTAINER["resources"]["limits"]
    (tmp_path / "cpu.max").write_text(f"{int(limits['cpu']) * 100_000} 100000\n")
    own = tmp_path / "own"
    own.write_text("0::/\n")
    assert config.workers == "auto"
    assert available_cpus(tmp_path, own) == int(limits["cpu"])
    buffered = int(limits["cpu"]) * config.max_buffered
    assert buffered <= mebibytes(limits["memory"]) * MIB / 4


def test_container_has_no_rights() -> None:
    pod, container = POD["securityContext"], CONTAINER["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert ("USER", f"{pod['runAsUser']}:{pod['runAsGroup']}") in IMAGE
    assert container == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [each["name"] for each in POD["volumes"]] == ["tmp"]
    assert CONTAINER["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
