"""The key files and what opens them."""

import stat
from pathlib import Path

import trio

from node.app.doctor.finding import Finding, Patient, broken, ok, warning
from node.wallet import key_files
from node.wallet.host_key import open_host_key
from node.wallet.keystore import open_wallet
from protocol.errors import ConfigError
from protocol.identity import format_address


async def check_keys(patient: Patient) -> list[Finding]:
    """Whether both key files are there, private, and open with the password."""
    settings, found = patient.settings, list[Finding]()
    for path in (settings.keystore, settings.host_key):
        try:
            await trio.to_thread.run_sync(lambda path=path: key_files.read(path, must_be_private=True))
        except ConfigError as error:
            found.append(broken("keys", str(error), error.advice))
    if found:
        return found
    if patient.password is None:
        found.append(ok("keys", "wallet and host key are there and private"))
        advice = f"name wallet.password_file, set {settings.wallet.password_env}, or use --password-file"
        found.append(warning("password", "not at hand, so it was not tried", advice))
        return found
    wallet = await open_wallet(settings.keystore, patient.password)
    await open_host_key(settings.host_key, patient.password)
    return [
        ok("keys", f"wallet {format_address(wallet.address)} and host key are private, and the password opens both")
    ]


async def check_password_file(patient: Patient) -> list[Finding]:
    """Whether others can read the file with the password."""
    path = patient.settings.wallet.password_file
    if path is None:
        return []
    return await trio.to_thread.run_sync(_look_at_password_file, path)


def _look_at_password_file(path: Path) -> list[Finding]:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        reason = error.strerror or str(error)
        return [broken("password file", f"can't read {path}: {reason}", "correct wallet.password_file")]
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        text = f"{path} is open to other users (mode {mode:04o})"
        return [warning("password file", text, f"run: chmod 600 {path}")]
    return [ok("password file", f"{path} is private")]
