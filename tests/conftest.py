"""What every test may use: the real engines (tests/real/plugin.py)."""

pytest_plugins = ("tests.real.plugin",)
