"""A model as bytes: records, vectors and states, in safetensors and the lines of an export.

No code is in the bytes and none is run to read them. Whoever has them has the records: a forget
doesn't reach a copy. Receipts and the ledger stay with the model. Knows nothing of scikit-learn.
"""

from __future__ import annotations

import json

import numpy as np
import safetensors.numpy

from forgetnet.encode import check_vectors
from forgetnet.errors import InvalidRecord, StoreCorrupt
from forgetnet.exchange.lines import Line, decode_line, encode_line
from forgetnet.experts.expert import State
from forgetnet.experts.shelf import Place, Slot
from forgetnet.forget.keys import derive_salt, derive_signer, key_id
from forgetnet.geometry import codes
from forgetnet.model.net import ForgetNet
from forgetnet.record import canonical_json, id_hash, split_topic

__all__ = ["PortableNet"]

_FORMAT = 1


class PortableNet(ForgetNet):
    """A model that can be written as bytes, and take up what an equal one wrote."""

    def to_bytes(self) -> bytes:
        """Return the records and states as safetensors, with JSON in the header.

        Raises:
            ForgetIncomplete: a forget is open and can't be finished.
        """
        digest = self.digest()  # which first finishes what was accepted
        with self._parts.lock:
            records = sorted(self._core.store.scan(), key=lambda record: id_hash(record.id))
            content, _ = self._core.store.vectors([record.id for record in records])
            lines = [encode_line(*pair) for pair in zip(records, content, strict=True)]
            # not in the header, which safetensors holds to 100 MB
            arrays = {"records": np.frombuffer("\n".join(lines).encode(), np.uint8)}
            rows: list[tuple[str, str, str, int]] = []
            for (part, leaf), row in sorted(self._core.shelf.slots.items()):
                for stage, slot in enumerate(row):
                    state = self._core.shelf.load((part, leaf), stage)
                    arrays[f"state {len(rows)}"] = np.frombuffer(state.to_bytes(), np.uint8)
                    rows.append((part, leaf, slot.inputs, slot.records))
        body = {"format": _FORMAT, "key": self._key(), "digest": digest, "states": rows}
        return bytes(safetensors.numpy.save(arrays, metadata={"model": canonical_json(body)}))

    def take_up(self, data: bytes) -> None:
        """Take up what :meth:`to_bytes` of a model of the same settings and key wrote.

        Nothing is learnt anew.

        Raises:
            InvalidRecord: this model has records already.
            StoreCorrupt: these aren't the bytes of a model of the same settings and key.
        """
        if self._core.store.count():
            raise InvalidRecord("only a new model takes up the bytes of another")
        try:
            length = int.from_bytes(data[:8], "little")
            body = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["model"])
            arrays = safetensors.numpy.load(data)
            if body["format"] != _FORMAT:
                raise ValueError
            text = arrays["records"].tobytes().decode()
            stored = [decode_line(line) for line in text.split("\n") if line]
            put: dict[Place, list[tuple[Slot, State | None]]] = {}
            for number, (part, leaf, inputs, count) in enumerate(body["states"]):
                state = State.from_bytes(arrays[f"state {number}"].tobytes())
                put.setdefault((part, leaf), []).append((Slot(inputs, count, ""), state))
            wanted, key = str(body["digest"]), body["key"]
        except (ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
            raise StoreCorrupt("these bytes are no model; restore them") from error
        if key != self._key():
            raise StoreCorrupt("these bytes are of a model with another key")
        with self._parts.lock:
            self._fill(stored, put)
        if self.digest() != wanted:
            raise StoreCorrupt("these bytes are of a model with other experts or settings")

    def _key(self) -> str:
        """Return the fingerprint of the key, which leaves and seeds depend on."""
        return key_id(derive_signer(self._parts.home.secret).public_key())

    def _fill(
        self, stored: list[Line], put: dict[Place, list[tuple[Slot, State | None]]]
    ) -> None:
        salt, dim = derive_salt(self._parts.home.secret), self.encoder.dim
        records = [record for record, _ in stored]
        vectors = [vector for _, vector in stored if vector is not None]
        content = check_vectors(np.array(vectors, np.float32).reshape(-1, dim), dim)
        place = codes.places([split_topic(record.topic) for record in records], salt)
        self._core.store.add(records, content, place)
        self._core.roster.take_in(records)
        self._core.shelf.commit(put)
        self._core.open()  # states whose inputs are the records as they are now answer at once
