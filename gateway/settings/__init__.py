"""One typed `gateway.yaml`. Every mistake is reported with its line; secrets are kept only by reference.

settings = load_settings("gateway.yaml")      # raises SettingsError(problems)
problems = check("gateway.yaml")              # [] when it is good
print(redacted(settings))                     # `gateway config show`
"""

from gateway.settings.kinds import SecretRef, SecretUnavailable
from gateway.settings.load import check, load_file, load_settings, redacted
from gateway.settings.model import Settings
from gateway.settings.problems import Problem, SettingsError
from gateway.settings.sections.backends import Backend, Endpoint, Group
from gateway.settings.sections.doors import Admin, Listener, ListenerTls, Metrics
from gateway.settings.sections.governance import FeatureMode, Governance, Rules
from gateway.settings.sections.identity import Identity
from gateway.settings.sections.limits import Limits
from gateway.settings.sections.state import Audit, Server, Store, Telemetry
from gateway.settings.sections.wires import ClickHouseWire, TrinoWire
from gateway.settings.watch import Reload, SettingsWatcher

__all__ = [
    "Admin",
    "Audit",
    "Backend",
    "ClickHouseWire",
    "Endpoint",
    "FeatureMode",
    "Governance",
    "Group",
    "Identity",
    "Limits",
    "Listener",
    "ListenerTls",
    "Metrics",
    "Problem",
    "Reload",
    "Rules",
    "SecretRef",
    "SecretUnavailable",
    "Server",
    "Settings",
    "SettingsError",
    "SettingsWatcher",
    "Store",
    "Telemetry",
    "TrinoWire",
    "check",
    "load_file",
    "load_settings",
    "redacted",
]
