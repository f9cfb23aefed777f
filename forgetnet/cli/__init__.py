"""The command line: ``forgetnet``, whose commands are named as the verbs of the Python package.

Thin: it parses, calls :class:`forgetnet.Memory`, and shows what came back. What it needs of the
rest is imported inside the commands, so that help comes at once.
"""

import io
import os
import sys

from forgetnet.cli.compare_command import compare
from forgetnet.cli.demo_command import demo
from forgetnet.cli.forget_commands import forget, sweep, verify
from forgetnet.cli.frame import build, group
from forgetnet.cli.geometry_commands import train_head
from forgetnet.cli.import_command import import_
from forgetnet.cli.keep_commands import audit, backup, hold, holds, lift, restore, restrict
from forgetnet.cli.map_command import map_
from forgetnet.cli.model_commands import predict, train
from forgetnet.cli.read_commands import export, get, search, stats
from forgetnet.cli.scope_command import scope
from forgetnet.cli.topic_commands import link_topics, list_topics, move_topic
from forgetnet.cli.write_commands import add, delete, purge, update

__all__ = ["app", "main"]

app = build(
    {
        "demo": demo,
        "import": import_,
        "add": add,
        "search": search,
        "get": get,
        "update": update,
        "delete": delete,
        "scope": scope,
        "forget": forget,
        "verify": verify,
        "sweep": sweep,
        "hold": hold,
        "restrict": restrict,
        "lift": lift,
        "holds": holds,
        "purge": purge,
        "audit": audit,
        "backup": backup,
        "restore": restore,
        "export": export,
        "map": map_,
        "stats": stats,
        "train": train,
        "predict": predict,
        "compare": compare,
    }
)

group(app, "geometry", "Heads that rank what is broader and narrower.", {"train": train_head})
group(
    app,
    "topic",
    "How records are filed.",
    {"list": list_topics, "move": move_topic, "link": link_topics},
)


def main() -> None:
    """Run the command line and leave the process with its exit code."""
    # Threads that wait for work must not spin: on a busy machine that takes five times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without emoji is no reason to stop
    app(prog_name="forgetnet")
