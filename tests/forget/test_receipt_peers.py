"""Other people's tools read and verify our receipts."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope as ForeignEnvelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from forgetnet.forget.receipt import (
    Receipt,
    derive_signer,
    public_pem,
)

SIGNER = derive_signer(b"a secret of the tests, long enough")
PEM = public_pem(SIGNER)
OTHER = public_pem(derive_signer(b"another secret, also long enough"))


def test_openssl_verifies_the_signature(receipt: Receipt, tmp_path: Path) -> None:
    if not (openssl := shutil.which("openssl")):
        foreign(receipt).verify([foreign_key()], 1)  # no such program here: the next best
        return
    (tmp_path / "key.pem").write_bytes(PEM)
    (tmp_path / "sig").write_bytes(receipt.envelope.signature)

    def verified(signed: bytes) -> bool:
        (tmp_path / "pae").write_bytes(signed)
        command = [openssl, "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin"]
        command += ["-in", "pae", "-sigfile", "sig"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
        return done.returncode == 0

    assert verified(receipt.envelope.pae)
    assert not verified(receipt.envelope.pae.replace(b"erased", b"failed", 1))


def test_the_documented_commands_verify_a_receipt(receipt: Receipt, tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "receipt.md"
    (script,) = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    script = script.replace("python3", shlex.quote(sys.executable))
    if not shutil.which("openssl"):
        script = script[: script.index("openssl")]
    receipt.save(tmp_path / "receipt.json")
    (tmp_path / "key.pem").write_bytes(PEM)
    subprocess.run(["sh", "-ec", script], cwd=tmp_path, capture_output=True, check=True)
    assert (tmp_path / "signed").read_bytes() == receipt.envelope.pae
    assert (tmp_path / "signature").read_bytes() == receipt.envelope.signature


def foreign(receipt: Receipt) -> ForeignEnvelope:
    return ForeignEnvelope.from_dict(json.loads(receipt.to_json()))


def foreign_key() -> SSlibKey:
    public = SIGNER.public_key()
    name = hashlib.sha256(public.public_bytes_raw()).hexdigest()
    return SSlibKey.from_crypto(public, keyid=name)


def test_securesystemslib_verifies_the_envelope(receipt: Receipt) -> None:
    envelope = foreign(receipt)
    assert envelope.pae() == receipt.envelope.pae
    assert list(envelope.verify([foreign_key()], 1)) == [receipt.envelope.keyid]
    envelope.payload = envelope.payload.replace(b"erased", b"failed", 1)
    with pytest.raises(VerificationError):
        envelope.verify([foreign_key()], 1)


def test_in_toto_accepts_the_statement(receipt: Receipt) -> None:
    parsed = json_format.Parse(receipt.envelope.payload, statement_pb2.Statement())
    statement = Statement.copy_from_pb(parsed)
    statement.validate()
    assert statement.pb.subject[0].digest["sha256"] == "ab" * 32
    assert statement.pb.predicate_type == "urn:forget-by-design:erasure:v1"
    assert json_format.MessageToDict(statement.pb.predicate) == receipt.predicate
