"""A child that answers, for each statement on its standard input, how ClickHouse's own parser reads it.

One JSON string a line in, one JSON string a line out: the statement as the engine formats it, or "" where
the engine rejects it. Kept out of the test process because chdb keeps state in the process for good.
"""

import json
import sys

import chdb.session


def main() -> None:
    session = chdb.session.Session()
    for line in sys.stdin:
        text = json.loads(line)
        literal = "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
        try:
            answer = str(session.query(f"SELECT formatQuerySingleLine({literal}) AS q", "JSONEachRow"))
            formatted = json.loads(answer)["q"]
        except Exception as error:
            formatted = "" if "yntax error" in str(error) or "SYNTAX" in str(error) else f"!{error}"
        sys.stdout.write(json.dumps(formatted) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
