"""An async wire-level SQL gateway for lakehouses."""

__version__ = "0.1.0"
