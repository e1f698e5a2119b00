"""The configuration files that the real engines are started with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.sax.saxutils import escape

Properties = Mapping[str, str]

DEFAULT_CATALOGS: Mapping[str, Properties] = {
    "tpch": {"connector.name": "tpch"},
    "tpcds": {"connector.name": "tpcds"},
    # Room for two copies of the smallest TPC-DS (tests) or a scaled-up demo; the default is 128MB.
    "memory": {"connector.name": "memory", "memory.max-data-per-node": "512MB"},
    "blackhole": {"connector.name": "blackhole"},
}


def lake_catalog(location: Path) -> Properties:
    """Iceberg without any service: a file metastore and tables under `location`."""
    return {
        "connector.name": "iceberg",
        "iceberg.catalog.type": "testing_file_metastore",
        "hive.metastore.catalog.dir": "local:///meta",
        "fs.native-local.enabled": "true",
        "local.location": str(location),
    }


def link_plugins(trino: Path, folder: Path, names: Iterable[str]) -> None:
    """A plugin folder with links to just the plugins wanted: Trino starts much quicker.

    Raises ValueError for a plugin that this Trino does not have.
    """
    folder.mkdir(exist_ok=True)
    for name in set(names):
        source, link = trino / "plugin" / name, folder / name
        if not source.is_dir():
            raise ValueError(f"Trino has no plugin {name!r}; it has the folders of {trino / 'plugin'}")
        if not link.is_symlink():
            link.symlink_to(source)


def plugins_of(catalogs: Mapping[str, Properties]) -> list[str]:
    """The plugin folders of the catalogs' connectors."""
    return [properties["connector.name"].replace("_", "-") for properties in catalogs.values()]


def write_properties(path: Path, properties: Properties) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))


def write_trino(
    folder: Path,
    *,
    port: int,
    process_forwarded: bool,
    catalogs: Mapping[str, Properties],
    config: Properties,
) -> Path:
    """Write `etc` for one coordinator that also works; returns the path of config.properties."""
    etc = folder / "etc"
    for name, properties in catalogs.items():
        if location := properties.get("local.location"):
            Path(location).mkdir(parents=True, exist_ok=True)
        write_properties(etc / "catalog" / f"{name}.properties", properties)
    path = etc / "config.properties"
    write_properties(
        path,
        {
            "coordinator": "true",
            "node-scheduler.include-coordinator": "true",
            "http-server.http.port": str(port),
            "discovery.uri": f"http://127.0.0.1:{port}",
            "http-server.process-forwarded": "true" if process_forwarded else "false",
            "query.max-memory": "512MB",
            "catalog.management": "dynamic",
            "catalog.store": "file",
            "plugin.dir": str(folder / "plugin"),
            **config,
        },
    )
    return path


def trino_command(
    java: Path, trino: Path, folder: Path, config: Path, memory: str, quick_start: bool
) -> list[str]:
    """Trino's main class directly, so that the pid we hold is the server's own."""
    return [
        str(java),
        *(["-XX:TieredStopAtLevel=1"] if quick_start else []),
        f"-Xmx{memory}",
        "-XX:+UseG1GC",
        "-XX:ReservedCodeCacheSize=150M",
        "-XX:+ExitOnOutOfMemoryError",
        "-Djdk.attach.allowAttachSelf=true",
        "--enable-native-access=ALL-UNNAMED",
        "--sun-misc-unsafe-memory-access=allow",
        "-Dnode.environment=test",
        f"-Dnode.id={folder.name}",
        f"-Dnode.data-dir={folder / 'data'}",
        f"-Dnode.config-file={config.parent / 'node.properties'}",
        f"-Dconfig={config}",
        "-Dlog.enable-console=true",
        "-cp",
        f"{trino / 'lib'}/*",
        "io.trino.server.TrinoServer",
    ]


_CLICKHOUSE_CONFIG = """<clickhouse>
  <users_config>{users}</users_config>
  <user_directories><users_xml><path>{users}</path></users_xml></user_directories>
  <access_control_improvements>
    <allow_impersonate_user>0</allow_impersonate_user>
    <on_cluster_queries_require_cluster_grant>true</on_cluster_queries_require_cluster_grant>
  </access_control_improvements>
  <max_server_memory_usage>2000000000</max_server_memory_usage>
  <query_log>
    <database>system</database><table>query_log</table>
    <flush_interval_milliseconds>200</flush_interval_milliseconds>
  </query_log>
  <http_options_response>
    <header><name>Access-Control-Allow-Origin</name><value>*</value></header>
    <header><name>Access-Control-Allow-Headers</name><value>origin, x-requested-with</value></header>
    <header><name>Access-Control-Allow-Methods</name><value>POST, GET, OPTIONS</value></header>
  </http_options_response>
  {more}
</clickhouse>
"""

# A server of its own has implicit_select and introspection off; this build, made for local use, has them on.
_CLICKHOUSE_USERS = """<clickhouse>
  <profiles>
    <default><implicit_select>0</implicit_select><allow_introspection_functions>0</allow_introspection_functions></default>
    {profiles}
  </profiles>
  <quotas><default><interval><duration>3600</duration><queries>0</queries></interval></default></quotas>
  <users>
    <default>{default}</default>
    <gateway>{gateway}</gateway>
    {users}
  </users>
</clickhouse>
"""


def _full_rights(password: str) -> str:
    return (
        f"<password>{escape(password)}</password><networks><ip>127.0.0.1</ip></networks>"
        "<profile>default</profile><quota>default</quota>"
        "<access_management>1</access_management><named_collection_control>1</named_collection_control>"
    )


def write_clickhouse(
    folder: Path, *, gateway_password: str, users_xml: str, profiles_xml: str, config_xml: str
) -> Path:
    """Write the server's two XML files; returns the path of config.xml.

    `default` has no password, as on a fresh install: the build opens its ports in a session of its own that
    logs in as `default` without one, and it reads users only at the start.
    """
    users, config = folder / "users.xml", folder / "config.xml"
    users.write_text(
        _CLICKHOUSE_USERS.format(
            profiles=profiles_xml,
            default=_full_rights(""),
            gateway=_full_rights(gateway_password),
            users=users_xml,
        )
    )
    config.write_text(_CLICKHOUSE_CONFIG.format(users=escape(str(users)), more=config_xml))
    return config
