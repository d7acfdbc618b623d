"""Makes the vectors in assertions.json with Yubico's python-fido2.

    pip install fido2==1.2.0 && python make.py > assertions.json

Keys and signatures are random: a new run gives other vectors, which must hold
just as well.
"""

import hashlib
import json
import struct

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fido2.cose import ES256
from fido2.webauthn import AuthenticatorData, CollectedClientData

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def tagged(tag, *parts):
    """docs/spec/blocks.md: lengths are eight bytes, little-endian."""
    hasher = hashlib.sha256(struct.pack("<Q", len(tag)) + tag)
    for part in parts:
        hasher.update(struct.pack("<Q", len(part)) + part)
    return hasher.digest()


def vector(purpose, message, origin, cross_origin, flags, upper):
    key = ec.generate_private_key(ec.SECP256R1())
    challenge = tagged(purpose.encode(), message)
    client_data = CollectedClientData.create(
        type="webauthn.get", challenge=challenge, origin=origin, cross_origin=cross_origin
    )
    rp_id = hashlib.sha256(b"names.example").digest()
    data = AuthenticatorData.create(rp_id, flags, 7)
    signed = data + client_data.hash
    while True:
        signature = key.sign(signed, ec.ECDSA(hashes.SHA256()))
        r, s = decode_dss_signature(signature)
        if (s > ORDER // 2) == upper:
            break
    # The library's own verdict.
    ES256.from_cryptography_key(key.public_key()).verify(signed, encode_dss_signature(r, s))
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return {
        "purpose": purpose,
        "message": message.hex(),
        "point": point.hex(),
        "authenticator_data": data.hex(),
        "client_data": client_data.decode(),
        "signature_der": signature.hex(),
    }


UP = AuthenticatorData.FLAG.USER_PRESENT
UV = AuthenticatorData.FLAG.USER_VERIFIED
PURPOSE = "ringfort/transaction/1"
vectors = {
    "present": vector(PURPOSE, b"message", "https://names.example", False, UP, False),
    "verified": vector(PURPOSE, b"message", "https://names.example:8443", False, UP | UV, False),
    "upper_s": vector(PURPOSE, b"message", "https://names.example", False, UP, True),
    "absent": vector(PURPOSE, b"message", "https://names.example", False, 0, False),
    "cross_origin": vector(PURPOSE, b"message", "https://names.example", True, UP, False),
    "quoted_origin": vector(PURPOSE, b"message", 'https://a"\\,"crossOrigin":true', False, UP, False),
}
print(json.dumps(vectors, indent=1))
