"""The map of a memory on the Poincare disk: where topics lie, and what a forget would take.

A topic's place comes from its path alone, so nothing moves when something is forgotten. Records lie
around their topics by a hash of their ids: what is near in the picture is filed nearby, and may
mean something else. Nothing here changes a memory.
"""

from __future__ import annotations
