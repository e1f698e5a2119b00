"""Commands that need nothing running: check, config, explain, users, version, help, completion."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main

from gateway import __version__
from gateway.cli import app
from gateway.identity.api_keys import new_api_key
from gateway.settings import load_file, load_settings
from gateway.settings.people import ApiKeyFile, PasswordFile
from tests.cli.commands import run

SETTINGS: dict[str, Any] = {
    "version": 1,
    "listeners": [{"name": "trino", "wire": "trino", "port": 8080}],
    "identity": {"passwords": {"file": "users.yaml"}},
    "backends": [{"name": "trino-a", "engine": "trino", "url": "http://trino:8080"}],
    "governance": "off",
    "store": {"password": {"env": "STORE_PASSWORD"}},
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in, and the secret that the settings refer to."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STORE_PASSWORD", "correct horse")
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    return tmp_path


@pytest.fixture
def good(here: Path) -> Path:
    (here / "users.yaml").write_text("users: []\n")
    return write(here / "gateway.yaml")


def write(path: Path, **sections: Any) -> Path:
    path.write_text(json.dumps(SETTINGS | sections, indent=2))
    return path


# -- check


def test_good_settings_are_called_good(good: Path) -> None:
    ran = run("check")
    assert (ran.code, ran.out, ran.err) == (0, "gateway.yaml: good\n", "")


@pytest.mark.parametrize("how", [["other.yaml"], ["--config", "other.yaml"], ["-c", "other.yaml"]])
def test_the_file_is_named_either_way(good: Path, how: list[str]) -> None:
    good.rename(good.with_name("other.yaml"))
    assert run("check", *how).out == "other.yaml: good\n"


def test_the_file_may_be_named_by_the_environment(good: Path) -> None:
    good.rename(good.with_name("third.yaml"))
    assert run("check", environment={"GATEWAY_CONFIG": "third.yaml"}).out == "third.yaml: good\n"


def test_every_mistake_is_shown_with_its_line_and_the_exit_code_is_2(good: Path) -> None:
    write(good, lisetners={}, backends=[{"name": "a", "engine": "trino"}])
    ran = run("check")
    assert ran.code == 2
    assert ran.out == ""
    *problems, count = ran.err.splitlines()
    assert count == "2 problems"
    assert all(re.match(r"gateway\.yaml:\d+:\d+: ", line) for line in problems)
    assert any("did you mean 'listeners'" in line for line in problems)
    assert any("backends[0].url" in line for line in problems)


def test_mistakes_as_json(good: Path) -> None:
    write(good, lisetners={})
    ran = run("check", "--json")
    assert ran.code == 2
    (problem,) = ran.json()
    line = good.read_text().splitlines()[problem["line"] - 1]
    assert '"lisetners"' in line
    assert problem["file"] == "gateway.yaml"
    assert problem["path"] == "lisetners"
    assert "did you mean 'listeners'" in problem["message"]


def test_good_settings_as_json(good: Path) -> None:
    ran = run("check", "--json")
    assert (ran.code, ran.json()) == (0, [])


def test_mistakes_in_the_rules_are_found_too(good: Path) -> None:
    (good.parent / "rules").mkdir()
    (good.parent / "rules" / "routing.yaml").write_text("version: 1\nrules:\n  - {name: x, to: nowhere}\n")
    write(good, rules={"directory": "rules"})
    ran = run("check")
    assert ran.code == 2
    assert "routing.yaml:3" in ran.err


@pytest.mark.parametrize(
    "command",
    [
        ["check"],
        ["serve"],
        ["config", "show"],
        ["explain", "SELECT 1", "--as", "anna"],
        ["audit", "verify"],
        ["top", "--once"],
        ["reload"],
        ["backends", "list"],
        ["backends", "drain", "a"],
        ["queries", "history"],
        ["queries", "cancel", "x"],
        ["users", "key", "anna", "--config", "absent.yaml"],
    ],
    ids=" ".join,
)
def test_without_a_settings_file_one_line_says_what_to_do(command: list[str]) -> None:
    ran = run(*command)
    assert ran.code == 2
    assert ran.out == ""
    assert len(ran.err.splitlines()) == 1
    assert "there is no such settings file" in ran.err
    assert "gateway config init" in ran.err


# -- config


def test_settings_in_force_show_secrets_as_references_only(good: Path) -> None:
    ran = run("config", "show")
    assert ran.code == 0
    assert "STORE_PASSWORD" in ran.out
    assert "correct horse" not in ran.out
    assert "drain_seconds: 30.0" in ran.out, "defaults are filled in"


def test_what_config_show_prints_is_a_settings_file(good: Path) -> None:
    shown = good.with_name("shown.yaml")
    shown.write_text(run("config", "show", "gateway.yaml").out)
    assert load_settings(shown) == load_settings(good)


def test_config_schema_is_the_published_one() -> None:
    ran = run("config", "schema")
    published = Path(__file__).parents[2] / "docs" / "gateway.schema.json"
    assert ran.json() == json.loads(published.read_text())


def test_config_init_begins_a_file_that_its_own_next_steps_complete(here: Path) -> None:
    ran = run("config", "init")
    assert ran.code == 0
    assert "gateway users hash" in ran.out
    assert "gateway check" in ran.out
    hashed = run("users", "hash", "anna", environment={"GATEWAY_NEW_PASSWORD": "a long password"})
    (here / "users.yaml").write_text(hashed.out)
    assert run("check", environment={"CLICKHOUSE_PASSWORD": "x"}).out == "gateway.yaml: good\n"


def test_config_init_overwrites_nothing(good: Path) -> None:
    before = good.read_text()
    ran = run("config", "init")
    assert ran.code == 1
    assert "exists already" in ran.err
    assert good.read_text() == before


def test_config_init_into_a_folder_that_is_not_there() -> None:
    ran = run("config", "init", "nowhere/gateway.yaml")
    assert ran.code == 1
    assert "No such file or directory" in ran.err


# -- explain


def test_explain_shows_plan_and_trail(good: Path) -> None:
    ran = run("explain", "SELECT * FROM lake.market.trades", "--as", "anna")
    assert ran.code == 0
    assert re.search(r"^decision +plan$", ran.out, re.MULTILINE)
    assert re.search(r"^relations +lake\.market\.trades$", ran.out, re.MULTILINE)
    assert re.search(r"^backends +trino-a$", ran.out, re.MULTILINE)
    assert "route" in ran.row("group `trino`")


def test_explain_as_json(good: Path) -> None:
    shown = run(
        "explain", "SELECT * FROM market.trades", "--as", "anna", "--catalog", "lake", "--json"
    ).json()
    assert shown["decision"] == "plan"
    assert shown["engine"] == "trino"
    assert shown["trail"][0]["stage"] == "route"


def test_a_refusal_is_explained_and_is_exit_code_1(good: Path) -> None:
    ran = run("explain", "SELECT " + "(" * 500 + "1" + ")" * 500, "--as", "anna")
    assert ran.code == 1
    assert re.search(r"^decision +refusal$", ran.out, re.MULTILINE)
    assert re.search(r"^message +\S+", ran.out, re.MULTILINE)


def test_a_refusal_as_json(good: Path) -> None:
    ran = run("explain", "SELECT 1", "--as", "anna", "--wire", "clickhouse", "--json")
    shown = ran.json()
    assert ran.code == 1, "there is no ClickHouse behind this gateway"
    assert shown["decision"] == "refusal"
    assert shown["code"]
    assert shown["message"]


def test_explain_asks_for_the_principal(good: Path) -> None:
    ran = run("explain", "SELECT 1")
    assert ran.code == 2
    assert "--as" in ran.err


def test_explain_names_the_wires_there_are(good: Path) -> None:
    ran = run("explain", "SELECT 1", "--as", "anna", "--wire", "mysql")
    assert ran.code == 2
    assert "clickhouse" in ran.err


# -- users


def test_a_password_is_asked_for_twice_and_becomes_an_entry(here: Path) -> None:
    ran = run("users", "hash", "anna", typed="open sesame\nopen sesame\n")
    assert ran.code == 0
    entry = ran.out[ran.out.index("users:") :]
    assert "open sesame" not in entry
    (here / "users.yaml").write_text(entry)
    (user,) = load_file(here / "users.yaml", PasswordFile).users
    assert user.name == "anna"


def test_two_different_passwords_are_asked_for_again(here: Path) -> None:
    ran = run("users", "hash", "anna", typed="one\ntwo\nthree\nthree\n")
    assert ran.code == 0
    assert "do not match" in ran.out + ran.err


@pytest.mark.parametrize("name", ["o'hara", "a, groups: [admins]", "12", "no", "a: b", "jürgen"])
def test_any_name_stays_a_name(here: Path, name: str) -> None:
    ran = run("users", "hash", name, environment={"GATEWAY_NEW_PASSWORD": "x"})
    (here / "users.yaml").write_text(ran.out)
    (user,) = load_file(here / "users.yaml", PasswordFile).users
    assert (user.name, user.groups) == (name, ())


def test_an_empty_password_is_refused() -> None:
    ran = run("users", "hash", "anna", "--password", "")
    assert ran.code == 2
    assert "empty" in ran.err


def test_the_first_key_is_made_before_its_file_exists(good: Path) -> None:
    keys = good.with_name("keys.yaml")
    pepper = {"env": "STORE_PASSWORD"}
    write(good, identity={"api_keys": {"file": "keys.yaml", "pepper": pepper}})
    ran = run("users", "key", "nightly")
    assert ran.code == 0
    assert "gwk_" not in ran.out, "the key is not in what goes into the file"
    (secret,) = re.findall(r"gwk_\S+", ran.err)
    keys.write_text(ran.out)
    (entry,) = load_file(keys, ApiKeyFile).keys
    assert entry.user == "nightly"
    assert secret.startswith(f"gwk_{entry.id}_")
    assert run("check").code == 0


def test_a_pepper_that_is_not_there_is_an_error_with_its_line(good: Path) -> None:
    write(good, identity={"api_keys": {"file": "keys.yaml", "pepper": {"env": "NOT_SET"}}})
    ran = run("users", "key", "nightly")
    assert ran.code == 2
    assert "NOT_SET" in ran.err
    assert re.match(r"gateway\.yaml:\d+: identity\.api_keys\.pepper", ran.err)


def test_a_key_without_settings_says_that_it_has_no_pepper() -> None:
    ran = run("users", "key", "nightly")
    assert ran.code == 0
    assert "without a pepper" in ran.err


# -- serve, as far as it goes without serving


@pytest.mark.parametrize(
    "arguments", [["--role", "boss"], ["--workers", "0"], ["--workers", "x"]], ids=" ".join
)
def test_serve_refuses_what_it_does_not_know(good: Path, arguments: list[str]) -> None:
    assert run("serve", *arguments).code == 2


# -- help, version, completion


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command by its words; also the groups."""

    def below(words: list[str], command: Any) -> Iterator[tuple[str, Any]]:
        yield " ".join(words), command
        for name, inner in getattr(command, "commands", {}).items():
            yield from below([*words, name], inner)

    yield from below([], typer.main.get_command(app))


@pytest.mark.parametrize("words", [words for words, _ in commands()])
def test_every_command_has_help(words: str) -> None:
    ran = run(*words.split(), "--help")
    assert ran.code == 0
    assert f"Usage: gateway {words}".rstrip() in " ".join(ran.out.split())


@pytest.mark.parametrize(("words", "command"), [pair for pair in commands() if pair[0]], ids=lambda x: str(x))
def test_every_command_and_parameter_says_what_it_is(words: str, command: click.Command) -> None:
    assert command.help, words
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{words}: {parameter.name}"


def test_every_command_that_reads_settings_takes_them_the_same_way() -> None:
    without = {"demo", "version", "config", "config schema", "config init", "users", "users hash", "audit"}
    without |= {"backends", "queries", ""}
    for words, command in commands():
        options = {option for parameter in command.params for option in parameter.opts}
        assert ({"--config", "-c"} <= options) == (words not in without), words


def test_version_either_way() -> None:
    assert run("version").out == run("--version").out == f"{__version__}\n"


def test_no_command_shows_the_commands() -> None:
    ran = run()
    assert all(word in ran.out + ran.err for word in ("serve", "demo", "check", "explain"))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_each_shell(shell: str) -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "gateway", "--show-completion", shell],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert printed.returncode == 0, printed.stderr
    assert "gateway" in printed.stdout


def test_completion_completes() -> None:
    completed = subprocess.run(
        [sys.executable, "-m", "gateway"],
        env={
            "_GATEWAY_COMPLETE": "complete_bash",
            "COMP_WORDS": "gateway back",
            "COMP_CWORD": "1",
            "PATH": "/usr/bin:/bin",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "backends" in completed.stdout.split(), completed


def test_a_wrong_command_is_named() -> None:
    ran = run("servee")
    assert ran.code == 2
    assert "servee" in ran.err


def test_new_keys_differ() -> None:
    assert new_api_key(None)[0] != new_api_key(None)[0]
