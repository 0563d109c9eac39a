"""The `pycnn` command, one file a command; importing a file puts its command into the app."""

from pycnn.cli import bench, choose, demo, env, explain, list, profile, run, summary, verify
from pycnn.cli.app import app, main

__all__ = [
    "app",
    "bench",
    "choose",
    "demo",
    "env",
    "explain",
    "list",
    "main",
    "profile",
    "run",
    "summary",
    "verify",
]
