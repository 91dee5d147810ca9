"""The wallet's key file, against eth-account as an independent reader and writer of the same format."""

import json
import logging
import pickle
import secrets
import stat
from pathlib import Path
from typing import Literal

import pytest
from eth_account import Account

from node.wallet.errors import (
    InvalidPrivateKey,
    KeyFileDamaged,
    KeyFileExists,
    KeyFileExposed,
    KeyFileMissing,
    KeyFileUnwritable,
    WrongPassword,
)
from node.wallet.keystore import (
    EmptyPassword,
    change_password,
    create_wallet,
    export_keystore,
    import_keystore,
    import_private_key,
    open_wallet,
    read_address,
)
from node.wallet.keystore_v3 import LIGHT, STANDARD, ScryptCost, parse
from node.wallet.secret import Secret
from protocol.identity import format_address

CHEAP = ScryptCost(n=2)
KEY = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
ADDRESS = "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"  # of KEY, as eth-account's documentation gives it


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


async def test_a_created_wallet_opens_with_its_password_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    address = await create_wallet(path, "right", cost=CHEAP)
    assert (await open_wallet(path, "right")).address == address == await read_address(path)
    with pytest.raises(WrongPassword, match=str(path)):
        await open_wallet(path, "wrong")


async def test_the_standard_cost_is_written_by_default_and_eth_account_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    await import_private_key(path, KEY, "pässword")
    written = json.loads(path.read_text())
    assert (written["crypto"]["kdfparams"]["n"], written["crypto"]["kdfparams"]["r"]) == (STANDARD.n, STANDARD.r)
    assert Account.decrypt(written, "pässword").hex() == KEY
    assert written["address"] == ADDRESS[2:].lower()


@pytest.mark.parametrize("kdf", ["scrypt", "pbkdf2"])
async def test_a_file_that_eth_account_wrote_is_imported(tmp_path: Path, kdf: Literal["scrypt", "pbkdf2"]) -> None:
    source, path = tmp_path / "theirs.json", tmp_path / "ours.json"
    rounds = 4096 if kdf == "scrypt" else 1000
    source.write_text(json.dumps(Account.encrypt(bytes.fromhex(KEY), "theirs", kdf=kdf, iterations=rounds)))
    address = await import_keystore(path, source, "theirs", "ours", cost=CHEAP)
    assert format_address(address) == ADDRESS
    assert (await open_wallet(path, "ours")).private_key.reveal().hex() == KEY


async def test_a_file_whose_writer_dropped_the_leading_zeros_of_its_iv_opens(tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    while True:
        await import_private_key(path, KEY, "pw", cost=CHEAP)
        written = json.loads(path.read_text())
        iv = written["crypto"]["cipherparams"]["iv"]
        if iv.startswith("00"):
            break
        path.unlink()
    written["crypto"]["cipherparams"]["iv"] = iv.removeprefix("00")
    path.write_text(json.dumps(written))
    assert (await open_wallet(path, "pw")).private_key.reveal().hex() == KEY


async def test_capital_field_names_of_other_writers_are_read(tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    await import_private_key(path, KEY, "pw", cost=CHEAP)
    written = json.loads(path.read_text())
    written["Crypto"] = written.pop("crypto")
    path.write_text(json.dumps(written))
    assert format_address((await open_wallet(path, "pw")).address) == ADDRESS


async def test_an_exported_file_opens_with_its_own_password_alone(tmp_path: Path) -> None:
    path, copy = tmp_path / "wallet.json", tmp_path / "copy.json"
    await import_private_key(path, KEY, "one", cost=CHEAP)
    assert format_address(await export_keystore(path, "one", copy, "two", cost=LIGHT)) == ADDRESS
    assert Account.decrypt(json.loads(copy.read_text()), "two").hex() == KEY
    with pytest.raises(WrongPassword):
        await open_wallet(copy, "one")
    assert (await open_wallet(path, "one")).private_key.reveal().hex() == KEY


async def test_a_changed_password_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    await import_private_key(path, KEY, "old", cost=CHEAP)
    await change_password(path, "old", "new", cost=CHEAP)
    with pytest.raises(WrongPassword):
        await open_wallet(path, "old")
    assert (await open_wallet(path, "new")).private_key.reveal().hex() == KEY
    assert names(tmp_path) == ["wallet.json"]


async def test_a_wrong_password_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    await import_private_key(path, KEY, "old", cost=CHEAP)
    before = path.read_bytes()
    with pytest.raises(WrongPassword):
        await change_password(path, "guess", "new", cost=CHEAP)
    with pytest.raises(EmptyPassword):
        await change_password(path, "old", "", cost=CHEAP)
    assert path.read_bytes() == before


async def test_a_key_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    await import_private_key(path, KEY, "pw", cost=CHEAP)
    before = path.read_bytes()
    with pytest.raises(KeyFileExists):
        await create_wallet(path, "pw", cost=CHEAP)
    assert path.read_bytes() == before
    assert names(tmp_path) == ["wallet.json"]


async def test_a_missing_folder_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileUnwritable, match="No such file"):
        await create_wallet(tmp_path / "nowhere" / "wallet.json", "pw", cost=CHEAP)
    with pytest.raises(KeyFileMissing, match=r"wallet\.json"):
        await open_wallet(tmp_path / "wallet.json", "pw")
    with pytest.raises(KeyFileDamaged, match="directory"):
        await open_wallet(tmp_path, "pw")


async def test_the_file_is_private_from_the_start_and_refused_when_it_is_not(tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    await create_wallet(path, "pw", cost=CHEAP)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for mode in (0o640, 0o604, 0o620, 0o610):
        path.chmod(mode)
        with pytest.raises(KeyFileExposed, match="0600"):
            await open_wallet(path, "pw")
        with pytest.raises(KeyFileExposed):
            await read_address(path)


@pytest.mark.parametrize("text", ["", "12", KEY[:-2], KEY + "00", "zz" * 32, "00" * 32, "ff" * 32])
async def test_a_text_that_is_no_key_is_refused_without_being_repeated(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidPrivateKey) as caught:
        await import_private_key(tmp_path / "wallet.json", text, "pw", cost=CHEAP)
    assert len(text) < 3 or text not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.advice}"
    assert names(tmp_path) == []


def altered(path: Path, *keys: str, value: object) -> None:
    document = json.loads(path.read_text())
    inner = document
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("keys", "value", "says"),
    [
        (("version",), 4, "version"),
        (("crypto", "cipher"), "aes-256-gcm", "cipher"),
        (("crypto", "kdf"), "argon2", "kdf"),
        (("crypto", "kdfparams", "n"), 2**30, "scrypt"),
        (("crypto", "kdfparams", "n"), 2**17 + 1, "scrypt"),
        (("crypto", "kdfparams", "n"), 0, "scrypt"),
        (("crypto", "kdfparams", "r"), 2**22, "scrypt"),
        (("crypto", "kdfparams", "p"), 17, "scrypt"),
        (("crypto", "kdfparams", "dklen"), 16, "dklen"),
        (("crypto", "ciphertext"), "00" * 31, "ciphertext"),
        (("crypto", "mac"), "xy" * 32, "mac"),
        (("address",), "11" * 20, "another address"),
        (("address",), "11", "not an address"),
        (("public_key",), "11" * 32, "host key"),
    ],
)
async def test_a_damaged_file_is_refused_with_what_is_wrong(
    tmp_path: Path, keys: tuple[str, ...], value: object, says: str
) -> None:
    path = tmp_path / "wallet.json"
    await import_private_key(path, KEY, "pw", cost=CHEAP)
    altered(path, *keys, value=value)
    with pytest.raises(KeyFileDamaged, match=says):
        await open_wallet(path, "pw")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 10_000, b" " * 20_000, b'{"version": 3}'])
async def test_bytes_that_are_no_key_file_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "wallet.json"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(KeyFileDamaged):
        await open_wallet(path, "pw")


async def test_a_flipped_bit_of_the_ciphertext_reads_as_a_wrong_password(tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    await import_private_key(path, KEY, "pw", cost=CHEAP)
    ciphertext = bytearray.fromhex(json.loads(path.read_text())["crypto"]["ciphertext"])
    ciphertext[0] ^= 1
    altered(path, "crypto", "ciphertext", value=ciphertext.hex())
    with pytest.raises(WrongPassword):
        await open_wallet(path, "pw")


async def test_nothing_shows_a_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "wallet.json"
    await import_private_key(path, KEY, "pw", cost=CHEAP)
    wallet = await open_wallet(path, "pw")
    logging.getLogger("test").warning("wallet %s %r", wallet, wallet.private_key)
    shown = f"{wallet} {wallet!r} {wallet.private_key} {wallet.private_key!r} {caplog.text} {path.read_text()}"
    assert KEY not in shown
    assert repr(bytes.fromhex(KEY)) not in shown
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(wallet.private_key)
    assert Secret(b"same") != Secret(b"same")


async def test_two_files_of_one_key_share_no_salt(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.json", "b.json")]
    for path in files:
        await import_private_key(path, KEY, "pw", cost=CHEAP)
    first, second = (parse(path.read_bytes()).crypto for path in files)
    assert first.kdfparams["salt"] != second.kdfparams["salt"]
    assert first.ciphertext != second.ciphertext


async def test_many_random_keys_round_trip_through_both_programs(tmp_path: Path) -> None:
    for number in range(20):
        key = secrets.token_bytes(32)
        path = tmp_path / f"{number}.json"
        await import_private_key(path, key.hex(), "pw", cost=CHEAP)
        assert Account.decrypt(json.loads(path.read_text()), "pw") == key
