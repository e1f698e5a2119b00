"""The chart, without Helm: its files, and what Helm made of it (kept by scripts/check_chart.py).

What needs Helm itself (lint, rendering, refusals) is checked by that script; these tests fail when the chart
has changed and the script has not been run since.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from ruamel.yaml import YAML

from gateway import __version__
from gateway.settings import Settings, check, load_settings
from tests.docs.documents import blocks

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm"
HERE = Path(__file__).parent
VARIANTS = ("default", "full")


def loaded_text(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def loaded(path: Path) -> Any:
    return loaded_text(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_chart", ROOT / "scripts" / "check_chart.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def documents(variant: str) -> list[dict[str, Any]]:
    text = (HERE / f"rendered-{variant}.yaml").read_text(encoding="utf-8")
    return [document for document in YAML(typ="safe", pure=True).load_all(text) if document]


def one(variant: str, kind: str, name: str = "") -> dict[str, Any]:
    found = [d for d in documents(variant) if d["kind"] == kind and name in d["metadata"]["name"]]
    assert found, f"{variant}: no {kind} {name}"
    return found[0]


def pod(variant: str) -> dict[str, Any]:
    spec: dict[str, Any] = one(variant, "StatefulSet")["spec"]["template"]["spec"]
    return spec


def container(variant: str) -> dict[str, Any]:
    (only,) = pod(variant)["containers"]
    return dict(only)


# -- files


def test_the_kept_renderings_are_of_this_chart(script: ModuleType) -> None:
    for variant in VARIANTS:
        first = (HERE / f"rendered-{variant}.yaml").read_text().splitlines()[0]
        assert first == f"# chart {script.fingerprint()}", "run scripts/check_chart.py --update (needs helm)"


def test_chart_and_gateway_have_one_version() -> None:
    chart = loaded(CHART / "Chart.yaml")
    assert chart["apiVersion"] == "v2"
    assert chart["appVersion"] == __version__


def over(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """As Helm puts values over a chart's own: mappings merge, all else replaces."""
    merged = dict(base)
    for name, value in values.items():
        both = isinstance(value, dict) and isinstance(base.get(name), dict)
        merged[name] = over(base[name], value) if both else value
    return merged


def readme_values() -> dict[str, Any]:
    (block,) = [block for block in blocks(CHART / "README.md") if block.language == "yaml"]
    return dict(loaded_text(block.text))


@pytest.mark.parametrize(
    "values",
    [{}, loaded(CHART / "ci" / "full-values.yaml"), readme_values()],
    ids=["default", "full", "README"],
)
def test_values_fit_their_schema(values: dict[str, Any]) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(over(loaded(CHART / "values.yaml"), values), schema)


@pytest.mark.parametrize(
    "wrong",
    [
        {"replica": 2},
        {"replicas": 0},
        {"config": {"identity": {}, "backends": [], "governance": "off"}},
        {"serverKey": {"existingSecret": "no name"}},
        {"secretEnv": [{"name": "A-B", "secret": "s", "key": "k"}]},
        {"persistence": {"size": "much"}},
    ],
    ids=str,
)
def test_wrong_values_do_not(wrong: dict[str, Any]) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**loaded(CHART / "values.yaml"), **wrong}, schema)


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict) and value and path[:1] not in {("config",), ("resources",)}:
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    else:
        yield path


def test_each_value_is_used_and_each_used_value_exists() -> None:
    templates = "\n".join(file.read_text() for file in (CHART / "templates").iterdir())
    used = set(re.findall(r"\.Values((?:\.\w+)+)", templates))
    values = loaded(CHART / "values.yaml")
    for path in used:
        value = values
        for part in path.strip(".").split("."):
            assert part in value, f".Values{path} is not in values.yaml"
            value = value[part]
    for leaf in leaves(values):
        # A section used as a whole, as by `with` or `toYaml`, uses what is in it.
        assert any("." + ".".join(leaf[:n]) in used for n in range(1, len(leaf) + 1)), leaf


# -- the gateway's settings


@pytest.fixture
def on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a pod has below /etc/gateway, and its variables."""
    for variant in VARIANTS:
        for variable in container(variant)["env"]:
            monkeypatch.setenv(variable["name"], "x" * 40)
    for file, text in {
        "users/users.yaml": "users: []\n",
        "secrets/store/password": "x\n",
        "tls/tls.crt": "x\n",
        "tls/tls.key": "x\n",
    }.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    return tmp_path


def settings(variant: str, etc: Path) -> Settings:
    if variant == "full":
        (etc / "rules").mkdir()
        for name, text in one(variant, "ConfigMap", "-rules")["data"].items():
            (etc / "rules" / name).write_text(text)
    text = one(variant, "ConfigMap")["data"]["gateway.yaml"].replace("/etc/gateway/", f"{etc}/")
    file = etc / "gateway.yaml"
    file.write_text(text)
    assert check(file) == []
    return load_settings(file)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_rendered_settings_are_good_and_fit_the_pod(variant: str, on_disk: Path) -> None:
    made = settings(variant, on_disk)
    ports = {port["name"]: port["containerPort"] for port in container(variant)["ports"]}
    assert {listener.name: listener.port for listener in made.listeners} | {
        "metrics": made.metrics.port if made.metrics else 0
    } == ports
    assert all(listener.host == "0.0.0.0" for listener in made.listeners)
    mounts = [
        Path(mount["mountPath"]) for mount in container(variant)["volumeMounts"] if not mount.get("readOnly")
    ]
    for written in (made.server.state, made.audit.directory, made.admin.socket):
        assert written is not None
        assert any(mount in written.parents for mount in mounts), f"{written} is on a read-only file system"
    assert pod(variant)["terminationGracePeriodSeconds"] >= made.server.drain_seconds + 20


def test_nobody_can_log_in_by_default(on_disk: Path) -> None:
    made = settings("default", on_disk)
    assert not made.identity.anonymous.enabled
    assert loaded_text(one("default", "Secret", "-users")["stringData"]["users.yaml"]) == {"users": []}


def test_what_is_switched_on_arrives_in_the_settings(on_disk: Path) -> None:
    made = settings("full", on_disk)
    assert made.server.key is not None
    assert made.store.encryption_key is not None
    assert made.store.url == "postgresql://gateway@db/gateway"
    assert all(listener.tls is not None for listener in made.listeners)
    assert made.rules.directory is not None
    assert made.server.drain_seconds == 120.5


# -- the pod


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_pod_meets_the_restricted_standard(variant: str) -> None:
    whole, inner = pod(variant)["securityContext"], container(variant)["securityContext"]
    assert whole["runAsNonRoot"] is True
    assert whole["runAsUser"] > 0
    assert whole["seccompProfile"] == {"type": "RuntimeDefault"}
    assert inner["allowPrivilegeEscalation"] is False
    assert inner["readOnlyRootFilesystem"] is True
    assert inner["capabilities"] == {"drop": ["ALL"]}
    assert pod(variant)["automountServiceAccountToken"] is False


@pytest.mark.parametrize("variant", VARIANTS)
def test_probes_volumes_and_ports_fit_together(variant: str) -> None:
    inner = container(variant)
    names = {port["name"] for port in inner["ports"]}
    paths = {name: inner[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {name: probe["path"] for name, probe in paths.items()} == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }
    assert {probe["port"] for probe in paths.values()} == {"metrics"} <= names
    volumes = {volume["name"] for volume in pod(variant)["volumes"]}
    claims = {
        c["metadata"]["name"] for c in one(variant, "StatefulSet")["spec"].get("volumeClaimTemplates", ())
    }
    assert {mount["name"] for mount in inner["volumeMounts"]} == volumes | claims
    services = [d for d in documents(variant) if d["kind"] == "Service"]
    assert {port["targetPort"] for service in services for port in service["spec"]["ports"]} == names


@pytest.mark.parametrize("variant", VARIANTS)
def test_everything_selects_the_pods_of_the_set(variant: str) -> None:
    labels = one(variant, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        one(variant, "StatefulSet")["spec"]["selector"]["matchLabels"],
        one(variant, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one(variant, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(d["spec"]["selector"] for d in documents(variant) if d["kind"] == "Service"),
        *(c["labelSelector"]["matchLabels"] for c in pod(variant)["topologySpreadConstraints"]),
    ]
    assert all(selector.items() <= labels.items() for selector in selectors)
    service = one(variant, "StatefulSet")["spec"]["serviceName"]
    assert any(d["kind"] == "Service" and d["metadata"]["name"] == service for d in documents(variant))


def test_an_autoscaler_and_a_fixed_number_of_pods_exclude_each_other() -> None:
    assert "replicas" not in one("full", "StatefulSet")["spec"]
    assert one("full", "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["kind"] == "StatefulSet"
    assert one("default", "StatefulSet")["spec"]["replicas"] == 1


def test_no_secret_is_written_into_the_chart() -> None:
    for variant in VARIANTS:
        for variable in container(variant)["env"]:
            assert "valueFrom" in variable or variable["name"] == "GATEWAY_ADMIN"


# -- the image


def test_the_image_is_what_the_chart_expects() -> None:
    lines = (ROOT / "Dockerfile").read_text()
    ids = pod("default")["securityContext"]
    assert f"USER {ids['runAsUser']}:{ids['runAsGroup']}" in lines
    assert "--require-hashes" in lines
    assert lines.count("FROM python:3.11-slim") == 2
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", lines, re.MULTILINE)
    ignored = (ROOT / ".dockerignore").read_text()
    for name in " ".join(copied).split():
        assert (ROOT / name).exists(), name
        assert f"\n!{name}\n" in ignored, f"{name} does not reach the builder"
    assert "/livez" in lines
    for name in ("pypi", "index-url", "https://"):
        assert name not in lines.lower()
