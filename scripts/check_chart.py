#!/usr/bin/env python3
"""Checks the Helm chart with Helm itself, and keeps what it renders for the tests, which need no Helm.

    scripts/check_chart.py             lint, render, compare with tests/helm/rendered-*.yaml
    scripts/check_chart.py --update    the same, and write them anew

Needs `helm` on the path (or HELM=/path/to/helm). Runs on the project's environment (`.venv/bin/python`).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "helm"
RENDERED = ROOT / "tests" / "helm"
KUBERNETES = "1.30.0"
VARIANTS = {
    "default": [],
    "full": ["--values", str(CHART / "ci" / "full-values.yaml")],
}
REFUSED = {
    "several pods without a shared key": ["--set", "replicas=2"],
    "autoscaling without a shared key": ["--set", "autoscaling.enabled=true"],
    "an unknown value": ["--set", "replica=2"],
    "a secret that is no name": ["--set", "serverKey.existingSecret=a b"],
    "no backends": ["--set-json", "config.backends=[]"],
}


def fingerprint() -> str:
    """Of everything that a rendering depends on; the tests compare it with the kept renderings."""
    digest = hashlib.sha256()
    files = [CHART / "Chart.yaml", CHART / "values.yaml", *CHART.glob("ci/*"), *CHART.glob("templates/*")]
    for file in sorted(files):
        digest.update(f"{file.relative_to(CHART).as_posix()}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--update", action="store_true", help="write what is rendered to tests/helm")
    update: bool = parser.parse_args().update
    helm = os.environ.get("HELM") or shutil.which("helm")
    if helm is None:
        print("helm is not on the path; see https://helm.sh/docs/intro/install, or set HELM", file=sys.stderr)
        return 2
    problems = []
    for name, arguments in VARIANTS.items():
        problems += _lint(helm, name, arguments)
        problems += _render(helm, name, arguments, update=update)
    for name, arguments in REFUSED.items():
        if _helm(helm, "template", "gateway", str(CHART), *arguments).returncode == 0:
            problems.append(f"{name}: was rendered, but should be refused")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(VARIANTS)} renderings, {len(REFUSED)} refusals, {len(problems)} problems")
    return 1 if problems else 0


def _helm(helm: str, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    version = ["--kube-version", KUBERNETES]
    return subprocess.run(
        [helm, command, *arguments, *version], capture_output=True, text=True, timeout=120, check=False
    )


def _lint(helm: str, name: str, arguments: list[str]) -> list[str]:
    done = _helm(helm, "lint", str(CHART), "--strict", *arguments)
    return [f"{name}: lint: {done.stdout}{done.stderr}"] if done.returncode else []


def _render(helm: str, name: str, arguments: list[str], *, update: bool) -> list[str]:
    done = _helm(helm, "template", "gateway", str(CHART), "--namespace", "data", *arguments)
    if done.returncode:
        return [f"{name}: {done.stderr}"]
    text = f"# chart {fingerprint()}\n# Made by scripts/check_chart.py --update; not to be edited.\n{done.stdout}"
    kept = RENDERED / f"rendered-{name}.yaml"
    if update:
        kept.write_text(text, encoding="utf-8")
    elif not kept.exists() or kept.read_text(encoding="utf-8") != text:
        return [
            f"{name}: {kept.relative_to(ROOT)} is not what the chart renders; run with --update, look at the diff"
        ]
    return []


if __name__ == "__main__":
    raise SystemExit(main())
