"""Indexes in memory that remember nothing: all they hold follows from the live rows alone.

They know nothing of records, stores or files: rows are ids with a content vector and a place.
"""

from forgetnet.index.flat import FlatIndex, Tags
from forgetnet.index.tiers import Index

__all__ = ["FlatIndex", "Index", "Tags"]
