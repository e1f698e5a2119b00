"""The whole gateway as its users meet it: a process of its own, real clients, real engines."""
