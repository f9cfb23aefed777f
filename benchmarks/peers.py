"""LanceDB, FAISS and Chroma, called as their own pages say.

Each takes the same material. Knows nothing of ForgetNet and of what is measured.
"""

from __future__ import annotations

import importlib.util
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import faiss
import lancedb
import numpy as np
import pyarrow as pa
from material import DIM, Floats, Material

CHROMA_BATCH = 5000


def arrow(part: Material) -> pa.Table:
    """Return records as the Arrow table that LanceDB takes without further work."""
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(part.vectors.ravel()), DIM)
    return pa.table(
        {
            "id": part.ids,
            "text": part.texts,
            "subject": part.subjects,
            "topic": part.topics,
            "vector": vectors,
        }
    )


def dictionaries(part: Material) -> list[dict[str, Any]]:
    """Return records as the list of dictionaries of LanceDB's first examples."""
    columns = zip(part.ids, part.texts, part.subjects, part.topics, part.vectors, strict=True)
    return [
        {"id": i, "text": text, "subject": subject, "topic": topic, "vector": vector}
        for i, text, subject, topic, vector in columns
    ]


class Lance:
    """A LanceDB table without an index."""

    def __init__(self, folder: Path) -> None:
        schema = pa.schema(
            [
                *(pa.field(name, pa.string()) for name in ("id", "text", "subject", "topic")),
                pa.field("vector", pa.list_(pa.float32(), DIM)),
            ]
        )
        self.folder = folder
        self._table: Any = lancedb.connect(folder).create_table("items", schema=schema)

    def add(self, rows: pa.Table | list[dict[str, Any]]) -> None:
        """Add rows in one call."""
        self._table.add(rows)

    def search(self, vector: Floats, k: int) -> list[str]:
        """Search flat by dot product; the ids."""
        columns = ["id", "text", "subject", "topic", "_distance"]
        query = self._table.search(vector).distance_type("dot").limit(k).select(columns)
        ids: list[str] = query.to_arrow().column("id").to_pylist()
        return ids

    def forget(self, subject: str) -> None:
        """Delete a subject and clean up as thoroughly as the documentation of the table knows."""
        self._table.delete(f"subject = '{subject}'")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns other processes, of which there are none
            self._table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)


class Flat:
    """A FAISS ``IndexFlatIP``: vectors only, in memory only."""

    def __init__(self, vectors: Floats) -> None:
        faiss.omp_set_num_threads(1)
        self._index = faiss.IndexFlatIP(DIM)
        self._index.add(vectors)

    def search(self, vector: Floats, k: int) -> list[int]:
        """Return the rows of the best inner products."""
        _, rows = self._index.search(vector[None], k)
        found: list[int] = rows[0].tolist()
        return found


def has_chroma() -> bool:
    """Tell whether chromadb is installed."""
    return importlib.util.find_spec("chromadb") is not None


class Chroma:
    """A persistent Chroma collection, with its HNSW index."""

    def __init__(self, folder: Path) -> None:
        import chromadb
        from chromadb.config import Settings

        self.folder = folder
        quiet = Settings(anonymized_telemetry=False)
        self._client: Any = chromadb.PersistentClient(str(folder), quiet)
        self._items: Any = self._client.create_collection(
            "items", embedding_function=None, configuration={"hnsw": {"space": "ip"}}
        )

    def add(self, part: Material) -> None:
        """Add records in one call; at most ``CHROMA_BATCH``."""
        owners = zip(part.subjects, part.topics, strict=True)
        self._items.add(
            ids=part.ids,
            documents=part.texts,
            embeddings=np.asarray(part.vectors),
            metadatas=[{"subject": subject, "topic": topic} for subject, topic in owners],
        )

    def search(self, vector: Floats, k: int) -> list[str]:
        """Search its index; the ids."""
        found: list[str] = self._items.query(query_embeddings=[vector], n_results=k)["ids"][0]
        return found

    def forget(self, subject: str) -> None:
        """Delete a subject."""
        self._items.delete(where={"subject": subject})

    def close(self) -> None:
        """Let go of the files."""
        self._client.close()
