"""Scopes by meaning: what is about something, proposed with what it probably misses."""

from forgetnet.meaning.scope import Opening, Ranked, Scope
from forgetnet.meaning.verbs import Scopes

__all__ = ["Opening", "Ranked", "Scope", "Scopes"]
