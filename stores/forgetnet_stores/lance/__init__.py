"""The embedded engine on LanceDB: durable, laid out by leaf, and really purged.

Every leaf of the shard map is one piece, an immutable Lance table of a single version, with a
short tail of what came since. A purge writes the touched pieces anew and shreds the old ones, so
its cost follows the leaf, not the table. ``docs/format.md`` describes the files.
"""

from forgetnet_stores.lance.engine import LanceStore

__all__ = ["LanceStore"]
