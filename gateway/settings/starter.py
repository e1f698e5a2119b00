"""The settings file that `gateway config init` writes."""

STARTER = """\
# Settings of the gateway. Every key is described in docs/configuration.md; `gateway check` finds mistakes.
version: 1

listeners:                       # ports that clients connect to
  - {name: trino, wire: trino, host: 0.0.0.0, port: 8080}
  - {name: clickhouse, wire: clickhouse, host: 0.0.0.0, port: 8123}

identity:                        # who may come in; also: jwt, api_keys, certificates
  passwords: {file: users.yaml}  # make entries with `gateway users hash`

backends:                        # the engines
  - {name: trino-a, engine: trino, url: "http://trino:8080"}
  - name: clickhouse-a
    engine: clickhouse
    url: http://clickhouse:8123
    user_mode: service           # or impersonate, mapped
    credentials: {user: gateway, password: {env: CLICKHOUSE_PASSWORD}}

admin: {socket: var/admin.sock}  # for `gateway top`, `gateway backends`, `gateway queries`

governance: off                  # said explicitly: nobody is restricted until policies are declared
"""
