"""One typed file; every mistake at once, each with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.core.modes import Mode
from gateway.core.statement import Wire
from gateway.settings import SettingsError, check, load_settings, redacted
from gateway.settings.kinds import SecretUnavailable

MINIMAL = """\
version: 1
listeners:
  - {name: trino, wire: trino, port: 8080}
identity:
  anonymous: {enabled: true}
backends:
  - {name: t1, engine: trino, url: "http://127.0.0.1:8081"}
governance: off
"""


def write(directory: Path, text: str, name: str = "gateway.yaml") -> Path:
    path = directory / name
    path.write_text(text)
    return path


def lines(path: Path) -> list[str]:
    """Problems without the file's path, as `line:column: …`."""
    return [str(problem).removeprefix(f"{path}:") for problem in check(path)]


def test_a_minimal_file_is_enough(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, MINIMAL))
    assert settings.listeners[0].host == "127.0.0.1"
    assert settings.backends[0].health.interval == 5.0
    assert settings.governance.mode is Mode.OFF
    assert settings.default_group(Wire.TRINO) == "trino"
    assert settings.default_group(Wire.CLICKHOUSE) is None


def test_everything_wrong_is_said_at_once_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_SET_ANYWHERE", raising=False)
    path = write(
        tmp_path,
        """\
version: 2
listeners:
  - {name: a, wire: trin, prot: 1, tls: {certificate: none.pem, key: none.key, min_version: 1.2}}
  - {name: a, wire: trino, port: "80"}
identity:
  anonymous: {enabled: yes}
  remember: 90s
  jwt:
    - {issuer: i, audience: x, secret: hunter2-literal}
    - {issuer: i, audience: x, jwks_url: "http://keys.example.com/"}
backends:
  - {name: b, engine: trino, url: "http://me:hunter2@h:1", health: {interval: 2}}
  - {name: c, engine: clickhouse, url: "http://h:1", group: fats}
groups:
  fast: {wire: clickhouse}
  trino: {wire: trino}
governance: enforce
modes: {cost: enforced}
store: {url: "postgresql://u:hunter2@h/d", encryption_key: {env: NOT_SET_ANYWHERE}}
metrcs: {}
""",
    )
    expected = """\
1:10: version: expected 1, found 2
3:5: listeners[0].port: is missing
3:21: listeners[0].wire: expected trino or clickhouse, found 'trin' (did you mean 'trino'?)
3:27: listeners[0].prot: unknown key (did you mean 'port'?)
3:55: listeners[0].tls.certificate: there is no such file: {here}/none.pem
3:70: listeners[0].tls.key: there is no such file: {here}/none.key
4:12: listeners[1].name: the name 'a' is taken by listeners[0]
4:34: listeners[1].port: expected a whole number, found text
6:24: identity.anonymous.enabled: expected true or false, found text
7:13: identity.remember: expected at most 1m, found '90s'
9:40: identity.jwt[0].secret: a secret is not written into settings; expected {env: NAME} or {file: path}
10:16: identity.jwt[1].issuer: the same issuer as jwt[0]; expected one entry
10:42: identity.jwt[1].jwks_url: expected https (plain http only for localhost): whoever changes the keys is anyone
12:35: backends[0].url: a URL holds no credentials here; give them by reference, {env: NAME} or {file: path}
12:79: backends[0].health.interval: expected a duration with its unit, such as 500ms, 30s, 5m, 12h or 7d, found '2'
13:61: backends[1].group: there is no group 'fats' (did you mean 'fast'?)
17:13: governance.policies: is missing; mode enforce needs a directory of policies
18:15: modes.cost.mode: expected off, observe or enforce, found 'enforced' (did you mean 'enforce'?)
19:14: store.url: a URL holds no password here; give it by reference in store.password
19:60: store.encryption_key: the environment variable NOT_SET_ANYWHERE is not set (or empty)
20:1: metrcs: unknown key (did you mean 'metrics'?)
""".replace("{here}", str(tmp_path)).splitlines()
    found = lines(path)
    assert found == expected
    assert not any("hunter2" in line for line in found)
    with pytest.raises(SettingsError) as error:
        load_settings(path)
    assert len(error.value.problems) == len(expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("governance: off\n", ""), "1:1: governance: is missing"),
        (("governance: off", "governance: {mode: observe}"), "governance.policies: is missing; mode observe"),
        (("{enabled: true}", "{enabled: false}"), "identity: nobody could log in; expected passwords"),
        (("  anonymous: {enabled: true}", "  certificates: {}"), "no listener has tls.client_ca"),
        (("wire: trino", "wire: clickhouse"), "listeners[0].wire: no backend speaks clickhouse"),
        (("port: 8080", "port: 9090"), "metrics.port"),
        (("port: 8080", "port: 80800"), "listeners[0].port: expected at most 65535, found 80800"),
        (("port: 8080", "port: 8080, host: 'http://x'"), "listeners[0].host: expected a host name"),
        (("port: 8080", "port: 8080, forwarded_from: [10.0.0.1/8]"), "expected an IP network such as"),
        (("http://127.0.0.1:8081", "http://127.0.0.1:8081/x"), "expected only http(s)://host:port"),
        (("http://127.0.0.1:8081", "unix:relative.sock"), "expected unix: and an absolute path"),
        (('url: "http://127.0.0.1:8081"', "user_mode: service"), "backends[0].url: is missing; only duckdb"),
        (('8081"}', '8081", user_mode: mapped}'), "backends[0].user_map: is missing; user_mode: mapped"),
        (('8081"}', '8081", user_mode: service}'), "backends[0].credentials.user: is missing"),
        (('8081"}', '8081", group: "a b"}'), "backends[0].group: does not look right"),
        (('8081"}', '8081", database: x}'), "backends[0].database: is for duckdb and chdb without url only"),
        (
            ('8081"}', '8081"}\n  - {name: t2, engine: duckdb, group: g2}'),
            "a second group for trino beside 'trino'",
        ),
        (("off\n", "off\nadmin: {port: 1}\n"), "admin.port: needs a token"),
        (("off\n", "off\ngroups: {g: {wire: trino}}\n"), "there is no group 'trino' (known: g)"),
        (("off\n", "off\nlimits: {statement_bytes: 1}\n"), "expected a size with its unit"),
        (("off\n", "off\nlimits: {statement_bytes: 1GiB}\n"), "expected at most 16MiB, found '1GiB'"),
        (("off\n", "off\nserver: {drain_seconds: soon}\n"), "expected a number, found text"),
        (("off\n", "off\n7: x\n"), "this key is 7, which is not text; quote it"),
        (("off\n", "off\ntrino: {extra_credentials: some}\n"), "expected a list"),
        (("off\n", "off\nmodes: {'bad name': off}\n"), "as a key, does not look right"),
    ],
)
def test_single_mistakes(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    assert change[0] in MINIMAL
    found = lines(write(tmp_path, MINIMAL.replace(*change)))
    assert any(message in line for line in found), found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; expected settings"),
        ("# nothing\n", "is empty"),
        ("version: 1\nversion: 1\n", "2:1: the key 'version' is given twice; the first is on line 1"),
        ("a: [1\nb: 2\n", "is not valid YAML"),
        ("a: b: c\n", "1:5: is not valid YAML: mapping values are not allowed here"),
        ("a: 1\n---\nb: 2\n", "a second YAML document begins here"),
        ("a: !!python/object:os.system x\n", "the tag"),
        ("a: &a [*a]\n", "the alias *a is inside what it names"),
        ("a: *nothing\n", "the alias *nothing names nothing above it"),
        ("a: " + "[" * 2000, "is nested deeper than 32 levels"),
        ("{" * 2000, "is nested deeper than 32 levels"),
        ("a: \x07\n", "is not valid YAML"),
        ("just text\n", "expected a mapping (key: value lines), found text"),
        ("[1, 2]\n", "expected a mapping (key: value lines), found a list"),
        ("x: y\n" * 250_000, "the file is larger than 1024 KiB"),
        ("x: y\nz: " + "!" * 500_000, "2:1: a line is longer than 16 KiB"),
        (
            "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
            + "".join(
                f"{c}: &{c} [{','.join(['*' + p] * 10)}]\n"
                for p, c in zip("abcdefgh", "bcdefghi", strict=True)
            ),
            "has more than 50000 values (aliases counted)",
        ),
        ("? [1, 2]\n: x\n", "this key is a list or mapping"),
    ],
)
def test_bad_yaml_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    found = lines(write(tmp_path, text))
    assert any(message in line for line in found), found


def test_text_that_is_not_utf8_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_bytes(b"version: 1\nx: \xff\n")
    assert lines(path) == ["2:4: is not UTF-8 text"]


def test_a_missing_file_is_a_problem_not_a_crash(tmp_path: Path) -> None:
    assert lines(tmp_path / "none.yaml") == ["1:1: cannot be read: No such file or directory"]


def test_off_and_no_are_text_as_yaml_1_2_has_it(tmp_path: Path) -> None:
    settings = load_settings(
        write(tmp_path, MINIMAL + "modes: {rewriter: off, cost: [{mode: observe, percent: 5}]}\n")
    )
    rules = settings.feature_modes().rules
    assert rules["rewriter"][0].mode is Mode.OFF
    assert (rules["cost"][0].mode, rules["cost"][0].percent) == (Mode.OBSERVE, 5)
    assert rules["governance"][0].mode is Mode.OFF


def test_anchors_are_fine_and_mistakes_in_them_point_to_where_they_are_written(tmp_path: Path) -> None:
    text = MINIMAL.replace(
        '  - {name: t1, engine: trino, url: "http://127.0.0.1:8081"}',
        """\
  - {name: t1, engine: trino, url: "http://127.0.0.1:8081", health: &h {interval: 3s, timeuot: 1s}}
  - {name: t2, engine: trino, url: "http://127.0.0.1:8082", health: *h}""",
    )
    path = write(tmp_path, text)
    assert (
        len([line for line in lines(path) if line.startswith("7:87:") and "did you mean 'timeout'" in line])
        == 2
    )
    settings = load_settings(write(tmp_path, text.replace("timeuot", "timeout")))
    assert [backend.health.interval for backend in settings.backends] == [3.0, 3.0]


def test_secrets_are_revealed_only_on_demand_and_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINE_PASSWORD", "s3cr3t-from-env")
    write(tmp_path, "s3cr3t-from-file\n", "key.txt")
    text = MINIMAL.replace(
        '8081"}',
        '8081", credentials: {user: svc, password: {env: ENGINE_PASSWORD}}}',
    )
    settings = load_settings(write(tmp_path, text + "store: {encryption_key: {file: key.txt}}\n"))
    password, key = settings.backends[0].credentials.password, settings.store.encryption_key
    assert password is not None
    assert key is not None
    assert (password.reveal(), key.reveal()) == ("s3cr3t-from-env", "s3cr3t-from-file")
    for shown in (
        repr(settings),
        str(settings),
        settings.model_dump_json(),
        redacted(settings),
        repr(password),
    ):
        assert "s3cr3t" not in shown
    (tmp_path / "key.txt").write_text("replaced")
    assert key.reveal() == "replaced"
    (tmp_path / "key.txt").unlink()
    with pytest.raises(SecretUnavailable, match="cannot be read"):
        key.reveal()


def test_show_gives_a_file_that_loads_to_the_same(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, MINIMAL))
    shown = redacted(settings)
    assert load_settings(write(tmp_path, shown, "shown.yaml")) == settings
    assert "interval: 5s" in shown
    assert "header_bytes: 256KiB" in shown


def test_settings_do_not_change_and_know_when_they_differ(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, MINIMAL))
    with pytest.raises(ValueError, match="frozen"):
        settings.version = 2  # type: ignore[assignment,misc]
    assert settings.digest == load_settings(write(tmp_path, "# a comment\n" + MINIMAL)).digest
    assert settings.digest != load_settings(write(tmp_path, MINIMAL.replace("8080", "8082"))).digest


def test_relative_paths_start_at_the_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf" / "policies").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "conf", MINIMAL.replace("off\n", "{mode: enforce, policies: policies}\n"))
    assert load_settings(path).governance.policies == tmp_path / "conf" / "policies"


HASH = "$argon2id$v=19$m=19456,t=2,p=1$MTIzNDU2Nzg5MDEyMzQ1Ng$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "users",
            "users: [{name: a, password: hunter2}]",
            "never a password; make one with `gateway users hash`",
        ),
        (
            "users",
            f"users: [{{name: a, password: '{HASH}'}}, {{name: a, password: '{HASH}'}}]",
            "is already users[0]",
        ),
        (
            "users",
            f"users: [{{name: a, password: '{HASH.replace('19456', '99999999')}'}}]",
            "costs too much to check",
        ),
        ("users", f"users: [{{name: a, password: '{HASH.replace('19456', '8')}'}}]", "is too cheap"),
        ("users", f"users: [{{name: a, password: '{HASH}', expires: soon}}]", "expected a date or a time"),
        (
            "users",
            f"users: [{{name: a, password: '{HASH}', attributes: {{n: 5}}}}]",
            "quote numbers and dates",
        ),
        ("users", f'users: [{{name: "a\\nb", password: "{HASH}"}}]', "does not look right"),
        ("keys", "keys: [{id: abcd, user: a, hash: 'sha256:00'}]", "expected sha256:<64 hex digits>"),
        (
            "keys",
            f"keys: [{{id: abcd, user: a, hash: 'sha256:{'0' * 64}', scopes: [reads]}}]",
            "did you mean 'read'?",
        ),
    ],
)
def test_mistakes_in_user_and_key_files_are_found_by_the_same_check(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    write(tmp_path, text, "people.yaml")
    section = {
        "users": "passwords: {file: people.yaml}",
        "keys": "api_keys: {file: people.yaml, scopes: {read: [readers]}}",
    }[name]
    problems = check(write(tmp_path, MINIMAL.replace("anonymous: {enabled: true}", section)))
    assert any(message in str(problem) and problem.file.endswith("people.yaml") for problem in problems), (
        problems
    )
    assert "hunter2" not in str(problems)
