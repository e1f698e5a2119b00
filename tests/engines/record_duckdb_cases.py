"""Record `duckdb_cases.jsonl` anew from a real Trino.

    python -m tests.engines.record_duckdb_cases http://127.0.0.1:8080 [FILE_WITH_MORE_STATEMENTS]

Statements stay as they are; answers are taken from Trino; lines where the embedded engine differs get `gap`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.engines.duckdb_rig import Embedded
from tests.engines.test_duckdb_values import CASES, answer, comparable
from tests.engines.trino_client import ask

FILE = Path(__file__).parent / "duckdb_cases.jsonl"


def main() -> None:
    url, *more = sys.argv[1:]
    statements = [case["sql"] for case in CASES]
    for name in more:
        statements += [line.strip() for line in Path(name).read_text().splitlines() if line.strip()]
    embedded = Embedded()
    lines, gaps = [], 0
    for statement in dict.fromkeys(statements):
        case = {"sql": statement, **ask(url, statement)}
        if comparable(answer(embedded, case) | {"sql": statement}) != comparable(case):
            case["gap"] = True
            gaps += 1
        lines.append(json.dumps(case, ensure_ascii=False))
    FILE.write_text("\n".join(lines) + "\n")
    print(f"{len(lines)} cases, {gaps} gaps")


if __name__ == "__main__":
    main()
