"""The shard map: leaves of a binary trie over the keyed hash of a subject.

A node of the trie is a leaf if its live records fit the cap, or if it holds one subject. So the
map is a function of the set of live records: it never remembers what was deleted, nor in which
order things came. The same leaf names a subject's bucket in the store, its segment of the index
and its expert. Knows nothing of files or records, only of keys and counts.
"""

from __future__ import annotations

import hashlib
import hmac
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping

__all__ = ["KEY_BITS", "find", "internal", "leaves", "regions", "shard_key"]

KEY_BITS = 64


def shard_key(salt: bytes, subject: str) -> str:
    """Hash a subject to its place in the trie: 64 characters 0 or 1."""
    mac = hmac.digest(salt, b"shard\0" + subject.encode(), hashlib.sha256)
    return f"{int.from_bytes(mac[: KEY_BITS // 8]):0{KEY_BITS}b}"


def leaves(counts: Mapping[str, int], cap: int, prefix: str = "") -> list[str]:
    """Compute the leaves below ``prefix`` for live ``counts`` by key, in order, none empty."""
    total = sum(counts.values())
    if total == 0:
        return []
    if total <= cap or len(counts) == 1:
        return [prefix]
    depth = len(prefix)
    found = []
    for bit in "01":
        part = {key: n for key, n in counts.items() if key[depth] == bit}
        found += leaves(part, cap, prefix + bit)
    return found


def internal(prefixes: Iterable[str]) -> set[str]:
    """Return every proper prefix of the given leaves: the inner nodes of the trie."""
    return {prefix[:i] for prefix in prefixes for i in range(len(prefix))}


def find(inner: Collection[str], key: str) -> str:
    """Return the leaf, present or still empty, that ``key`` belongs to."""
    for i in range(KEY_BITS + 1):
        if key[:i] not in inner:
            return key[:i]
    return key


def regions(live: Mapping[str, Mapping[str, int]], touched: Iterable[str], cap: int) -> list[str]:
    """Return the nodes whose subtrees must be laid out anew when ``touched`` leaves have changed.

    For each it is the highest node above that should be a leaf now, so that its leaves merge;
    else the leaf itself. No node lies below another.

    Args:
        live: live records by key, by present leaf.
        touched: leaves, present in ``live`` or not.
        cap: most records that a leaf of several subjects may hold.
    """
    order = sorted(live)

    def fits(node: str) -> bool:
        """Tell whether what is live under a node, all in one place in the order, is one leaf's."""
        total = subjects = 0
        for at in range(bisect_left(order, node), len(order)):
            prefix = order[at]
            if not prefix.startswith(node) or (total > cap and subjects > 1):
                break
            total += sum(live[prefix].values())
            subjects += len(live[prefix])
        return total <= cap or subjects == 1

    found = set()
    for leaf in touched:
        node = leaf
        while node and fits(node[:-1]):  # whoever fits, so does all below it
            node = node[:-1]
        found.add(node)
    kept: list[str] = []
    for node in sorted(found):
        if not kept or not node.startswith(kept[-1]):
            kept.append(node)
    return kept
