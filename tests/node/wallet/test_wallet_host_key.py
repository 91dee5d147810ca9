"""The host key's file."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from node.wallet.errors import KeyFileDamaged, KeyFileExists, KeyFileExposed, KeyFileMissing, WrongPassword
from node.wallet.host_key import create_host_key, open_host_key
from node.wallet.keystore import EmptyPassword, create_wallet, open_wallet
from node.wallet.keystore_v3 import ScryptCost

CHEAP = ScryptCost(n=2)


async def test_a_host_key_opens_and_its_seed_signs_for_its_public_key(tmp_path: Path) -> None:
    path = tmp_path / "host.json"
    public_key = await create_host_key(path, "pw", cost=CHEAP)
    host = await open_host_key(path, "pw")
    assert host.public_key == public_key
    signature = Ed25519PrivateKey.from_private_bytes(host.seed.reveal()).sign(b"hello")
    Ed25519PublicKey.from_public_bytes(public_key).verify(signature, b"hello")
    assert host.seed.reveal().hex() not in path.read_text() + repr(host)


async def test_wrong_password_missing_exposed_and_existing_files_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "host.json"
    with pytest.raises(KeyFileMissing):
        await open_host_key(path, "pw")
    with pytest.raises(EmptyPassword):
        await create_host_key(path, "", cost=CHEAP)
    await create_host_key(path, "pw", cost=CHEAP)
    with pytest.raises(KeyFileExists):
        await create_host_key(path, "pw", cost=CHEAP)
    with pytest.raises(WrongPassword):
        await open_host_key(path, "guess")
    path.chmod(0o644)
    with pytest.raises(KeyFileExposed):
        await open_host_key(path, "pw")


async def test_a_wallet_is_no_host_key_and_a_host_key_no_wallet(tmp_path: Path) -> None:
    wallet, host = tmp_path / "wallet.json", tmp_path / "host.json"
    await create_wallet(wallet, "pw", cost=CHEAP)
    await create_host_key(host, "pw", cost=CHEAP)
    with pytest.raises(KeyFileDamaged, match="no host key"):
        await open_host_key(wallet, "pw")
    with pytest.raises(KeyFileDamaged, match="not a wallet key"):
        await open_wallet(host, "pw")


async def test_a_public_key_of_another_seed_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "host.json"
    await create_host_key(path, "pw", cost=CHEAP)
    document = json.loads(path.read_text())
    document["public_key"] = "11" * 32
    path.write_text(json.dumps(document))
    with pytest.raises(KeyFileDamaged, match="another public key"):
        await open_host_key(path, "pw")
