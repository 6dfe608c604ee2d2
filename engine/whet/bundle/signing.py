"""Signatures of bundles by OpenSSF model signing, which its own command checks, too:
`model_signing verify key BUNDLE --signature BUNDLE/model.sig --public_key KEY`.

A signature says which key made it, and not whose that is. This is the only module
that imports model_signing.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

from whet.bundle.contents import HUB_FOLDERS
from whet.bundle.provenance import MODEL_SIGNATURE, NAME, SIGNATURE
from whet.errors import CheckpointError, ConfigError, EnvironmentRefused
from whet.printable import printable
from whet.storage.places import user_path
from whet.storage.readable import readable_json, readable_text
from whet.version import install_line

PASSWORD = "WHET_SIGN_PASSWORD"  # of the environment, so that it is in no list of processes
LONGEST_KEY = 64 << 10  # bytes; a key has some hundred
KINDS = "an elliptic curve key (P-256, P-384 or P-521) as PEM"


def signer_of(key: str) -> Any:
    """What signs with a private key file, asked for before any work is begun.

    ConfigError for a file that holds no such key, or one whose password is not in
    WHET_SIGN_PASSWORD; EnvironmentRefused without the package.
    """
    package = _package()
    make = "Make one: openssl ecparam -name prime256v1 -genkey -noout -out KEY."
    path = _key_file(key, make)
    password = os.environ.get(PASSWORD)
    try:
        return package.signing.Config().use_elliptic_key_signer(
            private_key=path,
            password=password.encode() if password else None,
        )
    except Exception as error:  # cryptography raises a dozen types for what is no such key
        raise ConfigError(
            f"sign={printable(key)} cannot be used ({_reason(error)}). It takes the private half "
            f"of {KINDS}; a password goes into the environment as {PASSWORD}. {make}"
        ) from error


def sign_bundle(folder: Path, signer: Any) -> None:
    """Write `model.sig` over all files of a bundle, its record included.

    What hubs add later and the other signature are left out, and the signature says so.
    """
    package = _package()
    ignored = [Path(name) for name in (MODEL_SIGNATURE, SIGNATURE, *HUB_FOLDERS)]
    hashing = package.hashing.Config().set_ignored_paths(paths=ignored)
    signer.set_hashing_config(hashing).sign(folder, folder / MODEL_SIGNATURE)


def verifier_of(key: str) -> Any:
    """What checks signatures of the private half of this public key file, asked for before any work
    is begun. ConfigError for a file that holds none, EnvironmentRefused without the package.
    """
    package = _package()
    path = _key_file(key, "Give the public key of whoever signed it.")
    try:
        return package.verifying.Config().use_elliptic_key_verifier(public_key=path)
    except Exception as error:  # as above
        raise ConfigError(
            f"key={printable(key)} cannot be used ({_reason(error)}). It takes the public half of "
            f"{KINDS}: openssl ec -in KEY -pubout -out PUBLIC_KEY."
        ) from error


def check_signature(folder: Path, verifier: Any) -> None:
    """Check that `model.sig` is of the verifier's key, and of these files. CheckpointError where
    there is none, or it does not hold.
    """
    signature = folder / MODEL_SIGNATURE
    ask = "Ask whoever made the bundle."
    if not signature.exists():
        raise CheckpointError(
            f"{printable(folder)} is not signed: {MODEL_SIGNATURE} is missing. {ask}"
        )
    readable_json(signature, remedy=ask)
    try:
        verifier.verify(folder, signature)
        whole = NAME in _signed_names(signature)
    except Exception as error:  # a forged signature may raise whatever its parsers do
        raise CheckpointError(
            f"{printable(signature)} does not hold for this key and these files "
            f"({_reason(error)}). Whoever has the key did not sign this bundle as it is. {ask}"
        ) from error
    if not whole:
        raise CheckpointError(f"{printable(signature)} leaves {NAME} out: it says nothing. {ask}")


def _package() -> Any:
    try:
        import model_signing
        import model_signing.hashing
        import model_signing.signing
        import model_signing.verifying
    except ImportError as error:
        raise EnvironmentRefused(
            "Signing and checking a signature need OpenSSF model signing, which is not installed. "
            f"Run `{install_line('sign')}`, or leave the option out."
        ) from error
    return model_signing


def _key_file(key: str, remedy: str) -> Path:
    """The file, looked at before it is read: it is of a few bytes, and no pipe."""
    path = user_path(key)
    readable_text(path, remedy=remedy, error=ConfigError, most=LONGEST_KEY)
    return path


def _signed_names(signature: Path) -> list[str]:
    """The names of the files that a signature is over."""
    envelope = json.loads(signature.read_text(encoding="utf-8"))["dsseEnvelope"]
    payload = json.loads(base64.b64decode(envelope["payload"]))
    return [entry["name"] for entry in payload["predicate"]["resources"]]


def _reason(error: Exception) -> str:
    if isinstance(error, AttributeError):  # the package asks a key of any kind for its curve
        return "it is a key of another kind"
    return printable(str(error) or type(error).__name__)[:300].strip(" .")
