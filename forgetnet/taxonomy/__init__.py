"""Taxonomies: concepts in a directed graph without cycles, whose paths are topics."""

from forgetnet.taxonomy.concepts import Concept
from forgetnet.taxonomy.graph import Change, Taxonomy
from forgetnet.taxonomy.paths import above, renamed

__all__ = ["Change", "Concept", "Taxonomy", "above", "renamed"]
