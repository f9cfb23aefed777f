"""Encoders: from texts to unit vectors whose bits depend on the text alone.

A store keeps vectors and never computes one again, so an embedding must carry no trace of the
texts it was computed beside: that trace would outlive them. Knows texts and vectors; doesn't
know records, stores or files of a memory.
"""

from forgetnet.encode.choose import MINILM_SHA256, minilm, resolve_encoder
from forgetnet.encode.contract import Encoder, VectorsOnly, check_company, check_texts
from forgetnet.encode.hashed import HashEncoder
from forgetnet.encode.rows import TableEncoder
from forgetnet.encode.sentence import SentenceTransformerEncoder
from forgetnet.encode.vectors import Floats, check_vectors

__all__ = [
    "MINILM_SHA256",
    "Encoder",
    "Floats",
    "HashEncoder",
    "SentenceTransformerEncoder",
    "TableEncoder",
    "VectorsOnly",
    "check_company",
    "check_texts",
    "check_vectors",
    "minilm",
    "resolve_encoder",
]
