"""The files in deploy/ are what systemd and Kubernetes take, and say what the settings need."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from pydantic import BaseModel

from tidings_server.settings import SERVICES, InternalTls, MeshSection, load

_DEPLOY = Path(__file__).parents[2] / "deploy"
_UNITS = sorted((_DEPLOY / "systemd").glob("*.service"))
_MANIFESTS = sorted((_DEPLOY / "kubernetes").glob("*.yaml"))
_PROGRAM = "/opt/tidings/bin/tidings"


# --- settings ---------------------------------------------------------------------------------------------------------


def _names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.default, BaseModel):
            yield from _names(type(field.default), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _written(table: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _written(value, f"{prefix}{name}.")
        yield f"{prefix}{name}"


def test_the_sample_has_every_setting_of_a_mesh() -> None:
    written = set(_written(tomllib.loads((_DEPLOY / "tidings.toml").read_text())))
    assert {f"mesh.{name}" for name in _names(MeshSection)} <= written
    assert {f"internal_tls.{name}" for name in _names(InternalTls)} <= written


def test_the_sample_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(_DEPLOY / "tidings.toml")
    assert (settings.backend, settings.mesh.cassandra.replication) == ("mesh", {"eu": 3})
    monkeypatch.setenv("TIDINGS_MESH__REDIS", '["redis://:secret@one:6379/0", "redis://:secret@two:6379/0"]')
    monkeypatch.setenv("TIDINGS_MESH__CASSANDRA__PASSWORD", "hidden")
    monkeypatch.setenv("TIDINGS_LISTEN", "0.0.0.0:7401")
    settings = load(_DEPLOY / "tidings.toml", services="chat")
    assert settings.listen == "0.0.0.0:7401"
    assert settings.mesh.cassandra.password == "hidden"
    assert settings.mesh.redis == ("redis://:secret@one:6379/0", "redis://:secret@two:6379/0")


# --- systemd ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units, as if tidings were installed where they say."""
    units = tmp_path / "units"
    shutil.copytree(_DEPLOY / "systemd", units)
    for unit in units.glob("*.service"):
        unit.write_text(unit.read_text().replace(_PROGRAM, f"{Path(sys.executable).parent}/tidings"))
    return units


def _verify(unit: Path) -> str:
    """What systemd has against a unit: a template is looked at as its instance 1."""
    instance = unit.with_name(unit.name.replace("@.", "@1."))
    command = ["systemd-analyze", "verify", "--man=no", str(instance)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode == 0 else f"{done.returncode}: {done.stderr}"


@pytest.mark.parametrize("name", [unit.name for unit in _UNITS])
def test_systemd_takes_the_unit(installed: Path, name: str) -> None:
    assert _verify(installed / name) == ""


def test_systemd_would_have_noticed(installed: Path) -> None:
    common = installed / "tidings-.service.d" / "common.conf"
    common.write_text(common.read_text().replace("ProtectHome=", "ProtectHomes="))
    assert "ProtectHomes" in _verify(installed / "tidings-chat@.service")


def test_the_units_are_locked_down(installed: Path) -> None:
    # 20 of 100, from 0 for "cannot harm anything" to 100 for "as any program of root's".
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager"]
    done = subprocess.run(
        [*command, *map(str, sorted(installed.glob("*.service")))], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_systemd_watches_every_unit_and_bounds_it() -> None:
    common = (_DEPLOY / "systemd" / "tidings-.service.d" / "common.conf").read_text()
    for unit in _UNITS:
        text = unit.read_text() + (common if unit.name.startswith("tidings-") else "")
        for setting in ("Type=notify\n", "WatchdogSec=", "MemoryMax=", "TasksMax="):
            assert text.count(f"\n{setting}") == 1, (unit.name, setting)


def test_every_service_has_a_unit_with_its_own_settings() -> None:
    served: set[str] = set()
    for unit in _UNITS:
        text = unit.read_text()
        (start,) = (line for line in text.splitlines() if line.startswith("ExecStart="))
        assert start.startswith(f"ExecStart={_PROGRAM} serve ")
        if "--backend mesh" in start:
            served.update(start.split("--services ")[1].split(","))
            assert f"EnvironmentFile=/etc/tidings/{unit.name.split('-')[1].split('@')[0]}-%i.env" in text
    assert served == set(SERVICES)


def test_what_a_unit_sets_by_the_environment_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for file in ("tidings-.service.d/common.conf", "chat-1.env"):
        for line in (_DEPLOY / "systemd" / file).read_text().splitlines():
            name, _, value = line.removeprefix("Environment=").partition("=")
            if name.startswith("TIDINGS_"):
                monkeypatch.setenv(name, value)
    settings = load(_DEPLOY / "tidings.toml")
    assert settings.mesh.advertise == "host-1.mesh.internal:7501"
    assert settings.internal_tls is not None
    assert str(settings.internal_tls.authority) == "%d/mesh-ca.crt"


def test_systemd_waits_longer_than_a_server_drains() -> None:
    common = (_DEPLOY / "systemd" / "tidings-.service.d" / "common.conf").read_text()
    assert "TimeoutStopSec=60s" in common
    assert load(_DEPLOY / "tidings.toml").drain_seconds + 30 <= 60


# --- Kubernetes -------------------------------------------------------------------------------------------------------


def _objects() -> list[dict[str, Any]]:
    return [each for file in _MANIFESTS for each in yaml.safe_load_all(file.read_text())]


def _of(*kinds: str) -> list[dict[str, Any]]:
    return [each for each in _objects() if each["kind"] in kinds]


def _pods(workload: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = workload["spec"]["template"]["spec"]
    return spec


def _name(each: dict[str, Any]) -> str:
    return f"{each['kind']} {each['metadata']['name']}"


_WORKLOADS = _of("Deployment", "StatefulSet")


@pytest.mark.parametrize("version", ["1.32", "1.37"])
@pytest.mark.parametrize("each", _objects(), ids=_name)
def test_kubernetes_takes_the_object(each: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(each, version, strict=True)


def test_kubernetes_would_have_noticed() -> None:
    workload = _WORKLOADS[0]
    workload = {**workload, "spec": {**workload["spec"], "replica": 3}}
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(workload, "1.32", strict=True)


def test_the_settings_of_pods_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (settings_map,) = _of("ConfigMap")
    config = tmp_path / "tidings.toml"
    config.write_text(settings_map["data"]["tidings.toml"])
    served: set[str] = set()
    for workload in _WORKLOADS:
        (container,) = _pods(workload)["containers"]
        with monkeypatch.context() as environment:
            for variable in container["env"]:
                secret = {"TIDINGS_MESH__REDIS": '["redis://one:6379/0"]'}.get(variable["name"], "given")
                environment.setenv(variable["name"], variable.get("value", secret))
            settings = load(config, services=container["command"][-1])
        served.update(settings.services)
        assert settings.mesh.redis == ("redis://one:6379/0",)
        assert settings.mesh.cassandra.password == "given"
        assert settings.internal_tls is not None
        grace = _pods(workload)["terminationGracePeriodSeconds"]
        sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert grace >= sleep + settings.drain_seconds + 30
        mounted = [mount["mountPath"] for mount in container["volumeMounts"]]
        for file in (settings.token_key, settings.tls_certificate, settings.internal_tls.authority):
            assert str(file.parent if file else None) in mounted
    assert served == set(SERVICES)


def test_secrets_are_referred_to() -> None:
    assert _of("Secret") == []
    for workload in _WORKLOADS:
        for variable in _pods(workload)["containers"][0]["env"]:
            if variable["name"].endswith(("PASSWORD", "REDIS")):
                assert variable["valueFrom"]["secretKeyRef"]["name"] == "tidings-engines"


@pytest.mark.parametrize("workload", _WORKLOADS, ids=_name)
def test_every_workload_is_selected_by_its_own(workload: dict[str, Any]) -> None:
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert workload["spec"]["selector"]["matchLabels"] == labels
    budgets = [each for each in _of("PodDisruptionBudget") if each["spec"]["selector"]["matchLabels"] == labels]
    services = [each for each in _of("Service") if each["spec"]["selector"] == labels]
    assert len(budgets) == len(services) == 1
    assert budgets[0]["spec"]["maxUnavailable"] == 1
    if workload["kind"] == "StatefulSet":
        assert workload["spec"]["serviceName"] == services[0]["metadata"]["name"]


@pytest.mark.parametrize("workload", _WORKLOADS, ids=_name)
def test_health_decides_who_is_ready_and_draining_kills_nobody(workload: dict[str, Any]) -> None:
    (container,) = _pods(workload)["containers"]
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["exec"]["command"][0] == "grpc_health_probe"
    command = container["livenessProbe"]["exec"]["command"]
    assert (command[0], "-service=alive" in command) == ("grpc_health_probe", True)


def test_the_port_between_servers_is_for_servers() -> None:
    for workload in _WORKLOADS:
        ports = {port["name"]: port for port in _pods(workload)["containers"][0]["ports"]}
        assert "hostPort" not in ports["mesh"]
    for service in _of("Service"):
        spec = service["spec"]
        if any(port["port"] == 7500 or port.get("targetPort") in ("mesh", 7500) for port in spec["ports"]):
            assert spec["clusterIP"] == "None"
    (policy,) = _of("NetworkPolicy")
    (rule,) = (rule for rule in policy["spec"]["ingress"] if {"port": 7500} in rule["ports"])
    assert rule["ports"] == [{"port": 7500}]
    assert rule["from"] == [{"podSelector": policy["spec"]["podSelector"]}]


def test_whom_clients_dial_by_name_has_a_name_and_a_port_of_its_node() -> None:
    for workload in _WORKLOADS:
        (container,) = _pods(workload)["containers"]
        advertise = next((each["value"] for each in container["env"] if each["name"] == "TIDINGS_ADVERTISE"), None)
        host_ports = [port["hostPort"] for port in container["ports"] if "hostPort" in port]
        assert host_ports == ([] if advertise is None else [int(advertise.rpartition(":")[2])])
        assert (advertise is not None) == (container["command"][-1] in ("chat", "presence"))
