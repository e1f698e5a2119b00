"""The documents say what is so: their examples run, their commands, settings, metrics and links exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from ruamel.yaml import YAML

from gateway.cli import app
from gateway.identity.passwords import hash_password
from gateway.settings import check, load_file, load_settings
from gateway.settings.people import ApiKeyFile, PasswordFile
from gateway.settings.reference import reference
from gateway.settings.starter import STARTER
from gateway.telemetry.catalogue import CATALOGUE
from tests.demo.test_demo import DemoRun
from tests.docs.documents import DOCUMENTS, ROOT, SIDE, Block, blocks, inline, links

pytestmark = pytest.mark.xdist_group("docs")

EVERYWHERE = [*DOCUMENTS, *SIDE]
BLOCKS = [block for document in DOCUMENTS for block in blocks(document)]
YAML_BLOCKS = [b for b in BLOCKS if b.language == "yaml" or re.match(r"(users|keys):\n", b.text)]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


# -- YAML


@pytest.fixture
def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the examples refer to: files beside them, variables, secrets."""
    (tmp_path / "users.yaml").write_text("users: []\n")
    (tmp_path / "policies").mkdir()
    for name in ("CLICKHOUSE_PASSWORD", "GATEWAY_KEY"):
        monkeypatch.setenv(name, "x" * 40)
    return tmp_path


@pytest.mark.parametrize("block", YAML_BLOCKS, ids=str)
def test_yaml_is_what_it_is_meant_for(block: Block, around: Path) -> None:
    value = YAML(typ="safe", pure=True).load(block.text)
    text = re.sub(r"'\$argon2id[^']*'", f"'{hash_password('x')}'", block.text)
    text = re.sub(r"'sha256:…'", f"'sha256:{'0' * 64}'", text)
    file = around / "example.yaml"
    file.write_text(text)
    if isinstance(value, list):
        assert {"alert", "expr"} <= set(value[0]), "rules for Prometheus"
    elif "keys" in value:
        assert load_file(file, ApiKeyFile).keys
    elif set(value) == {"users"}:
        assert load_file(file, PasswordFile).users
    elif "listeners" in value:
        assert check(file) == []
        assert load_settings(file).listeners
    else:
        assert named(block.document) == "helm/README.md", "its values are tested in tests/helm"


def test_the_example_file_and_the_starter_are_good(around: Path) -> None:
    for text in ((ROOT / "gateway.example.yaml").read_text(), STARTER):
        file = around / "gateway.yaml"
        file.write_text(text)
        assert check(file) == []


def test_each_commented_line_of_the_example_file_is_good_too(around: Path) -> None:
    """Uncommented one section at a time."""
    lines = (ROOT / "gateway.example.yaml").read_text().splitlines()
    for section in ("modes:", "store:"):
        start = next(i for i, line in enumerate(lines) if line.startswith(f"# {section}"))
        end = next((i for i in range(start, len(lines)) if not lines[i].startswith("# ")), len(lines))
        secret = around / "secret"
        secret.write_text("x\n")
        changed = [line.removeprefix("# ") for line in lines[start:end]]
        file = around / "gateway.yaml"
        file.write_text(
            "\n".join([*lines[:start], *changed]).replace("/run/secrets/store-password", str(secret))
        )
        assert check(file) == [], section


# -- commands


def command_lines() -> Iterator[tuple[str, str]]:
    """(document, command) wherever a document shows `gateway …` or `make …`."""
    for document in [*EVERYWHERE, ROOT / "gateway.example.yaml"]:
        shown = inline(document) + [
            line.strip() for block in blocks(document) for line in block.text.splitlines()
        ]
        for line in shown:
            if re.match(r"(gateway [a-z-]|make [a-z])", line):
                yield named(document), re.split(r"  +| # | > |; ", line)[0]


COMMANDS = sorted({(where, line) for where, line in command_lines() if line.startswith("gateway ")})


@pytest.mark.parametrize(("where", "line"), COMMANDS, ids=[f"{w}: {c}" for w, c in COMMANDS])
def test_gateway_commands_exist_with_their_options(where: str, line: str) -> None:
    words = shlex.split(line.replace("…", " "))[1:]
    command: Any = typer.main.get_command(app)
    while words and not words[0].startswith("-") and hasattr(command, "commands"):
        assert words[0] in command.commands, f"{where}: there is no `gateway {words[0]}`"
        command = command.commands[words.pop(0)]
    options = {option: parameter for parameter in command.params for option in parameter.opts}
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    given = 0
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            given += 1
            continue
        assert word in {*options, "--help", "-h"}, f"{where}: `{line}`: there is no {word}"
        if word in options and not options[word].is_flag and words:
            words.pop(0)
    assert given <= len(arguments), f"{where}: `{line}`: too many arguments"


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = {(where, line.split()[1]) for where, line in command_lines() if line.startswith("make ")}
    assert shown
    assert {(where, target) for where, target in shown if target not in targets} == set()


# -- names


def test_links_lead_somewhere() -> None:
    broken = [
        (named(document), target)
        for document in EVERYWHERE
        for target in links(document)
        if not (document.parent / target).exists()
    ]
    assert broken == []


def test_paths_in_the_readme_exist() -> None:
    paths = [word for word in inline(ROOT / "README.md") if re.fullmatch(r"[\w.-]+/[\w./-]*", word)]
    assert "docs/configuration.md" in paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_settings_named_in_documents_exist() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", reference(), re.MULTILINE)
    known = {re.sub(r"\[\]|\.<name>", "", row) for row in rows}
    # A group's settings are `groups.<name>.wire`; a list's `backends[].url`; both are also said without their middle.
    sections = {name.partition(".")[0] for name in known if "." in name}
    unknown = [
        (named(document), word)
        for document in EVERYWHERE
        for word in inline(document)
        if (name := re.fullmatch(r"([a-z_]+(?:\[\])?(?:\.[a-z_]+)+)(?:: .*)?", word))
        and name[1].partition(".")[0] in sections
        and name[1].replace("[]", "") not in known
        and not name[1].endswith((".py", ".md", ".yaml", ".json", ".db", ".sock"))
    ]
    assert unknown == []


def test_metrics_named_in_documents_exist() -> None:
    words = re.compile(r"\bgateway_[a-z_]+(?:_total|_bytes|_seconds|_up|_stale|_healthy|_depth)\b")
    used = {
        (named(document), name)
        for document in DOCUMENTS
        for name in words.findall(document.read_text("utf-8"))
    }
    known = {metric.name for metric in CATALOGUE}
    assert used
    assert {(where, name) for where, name in used if name not in known} == set()


# -- the README's first steps, on the demo


@pytest.fixture(scope="module")
def demo() -> Iterator[DemoRun]:
    with tempfile.TemporaryDirectory(prefix="gw-", dir="/tmp") as folder:
        running = DemoRun(Path(folder)).start()
        yield running.until_ready()
        running.end()


def first_steps(language: str, containing: str) -> list[Block]:
    readme = [
        block for block in BLOCKS if block.document.name == "README.md" and block.document.parent == ROOT
    ]
    found = [block for block in readme if block.language == language and containing in block.text]
    assert found, f"the README shows no {containing} in {language}"
    return found


def on_the_demo(text: str, demo: DemoRun) -> str:
    return text.replace(":8080", f":{demo.ports[0]}").replace("8080", str(demo.ports[0])).replace(
        "8123", str(demo.ports[1])
    )  # fmt: skip


def test_the_readmes_curl_lines_answer(demo: DemoRun) -> None:
    (block,) = first_steps("sh", "curl")
    lines = [line for line in block.text.splitlines() if line.startswith("curl")]
    assert len(lines) == 2
    answers = [
        subprocess.run(
            ["bash", "-c", on_the_demo(line, demo)], capture_output=True, text=True, timeout=60, check=True
        )
        for line in lines
    ]
    assert re.search(r"^HB_NORTH\t\d+\.\d+$", answers[0].stdout, re.MULTILINE)
    assert '"nextUri":' in answers[1].stdout
    assert '"error"' not in answers[1].stdout


def test_the_statement_of_the_readmes_trino_curl_line_gives_rows(demo: DemoRun) -> None:
    import trino

    (block,) = first_steps("sh", "curl")
    (sql,) = re.findall(r'v1/statement -d "([^"]+)"', block.text)
    connection = trino.dbapi.connect(host="127.0.0.1", port=demo.ports[0], user="anna")
    assert "HB_NORTH" in {row[0] for row in connection.cursor().execute(sql).fetchall()}


def test_the_readmes_python_runs(demo: DemoRun) -> None:
    for block in first_steps("python", "trino"):
        done = subprocess.run(
            [sys.executable, "-c", on_the_demo(block.text, demo)],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert "HB_NORTH" in done.stdout
