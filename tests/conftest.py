"""What every test may use: the real engines (tests/real/plugin.py)."""

from hypothesis import settings

settings.register_profile("soak", max_examples=5_000, deadline=None)  # tests/soak.py

pytest_plugins = ("tests.real.plugin",)
