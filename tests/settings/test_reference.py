"""The published reference and schema are what the models say."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel

from gateway.settings import check
from gateway.settings.kinds import Section
from gateway.settings.reference import refreshed, schema, schema_text

ROOT = Path(__file__).parents[2]
REFRESH = "run: python -m gateway.settings.reference"


def test_the_reference_is_fresh() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == refreshed(page), REFRESH


def test_the_schema_is_fresh() -> None:
    assert (ROOT / "docs" / "gateway.schema.json").read_text(encoding="utf-8") == schema_text(), REFRESH


def test_every_setting_is_explained() -> None:
    def sections(model: type[BaseModel]) -> list[type[BaseModel]]:
        return [model, *(deeper for child in model.__subclasses__() for deeper in sections(child))]

    ours = [model for model in sections(Section) if model.__module__.startswith("gateway.settings")]
    missing = [
        f"{m.__name__}.{n}" for m in ours for n, field in m.model_fields.items() if not field.description
    ]
    assert len(ours) > 25
    assert missing == []


def test_the_example_is_good_and_every_key_of_it_is_in_the_schema() -> None:
    assert check(ROOT / "gateway.example.yaml") == []
    text = (ROOT / "gateway.example.yaml").read_text()
    for key in schema()["required"]:
        assert f"\n{key}:" in text


def test_every_example_in_comments_is_good_too(tmp_path: Path) -> None:
    """Uncomment the example's commented settings, give them the files they name, and check the result."""
    lines = (ROOT / "gateway.example.yaml").read_text().splitlines()
    text = "\n".join(line.replace("# ", "", 1) if _is_setting(line) else line for line in lines)
    text = text.replace("governance: off", "governance: {mode: off}").replace(
        "/run/secrets/store-password", "secret"
    )
    text = text.replace("credentials: {user: default}\n", "\n").replace(
        "{env: CLICKHOUSE_PASSWORD}", "{file: secret}"
    )
    text = text.replace("{env: GATEWAY_KEY}", "{file: secret}")
    (tmp_path / "tls").mkdir()
    for name in ("secret", "tls/gateway.crt", "tls/gateway.key"):
        (tmp_path / name).write_text("x")
    (tmp_path / "users.yaml").write_text("users: []")
    (tmp_path / "keys.yaml").write_text("keys: []")
    (tmp_path / "gateway.yaml").write_text(text)
    assert [str(problem) for problem in check(tmp_path / "gateway.yaml")] == []
    assert "jwks_url" in json.dumps(text)


def _is_setting(line: str) -> bool:
    """A comment that begins at a place where a setting could, and reads like one."""
    body = line.strip()
    return (
        body.startswith("# ")
        and (": " in body or body.endswith(":") or ":  " in body)
        and "Every" not in body
        and ("Check it" not in body and "$schema" not in body)
    )
