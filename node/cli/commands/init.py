"""`stoa init`: everything a node needs before its first start, and nothing twice."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import trio
import typer

from node.cli.lazy import StoaCommand
from node.cli.options import CONFIG_NAME, Options, options_of
from node.cli.output import facts, new_console, print_document
from node.cli.setup import read_password, settings_of
from node.config.render import render_default_toml
from node.config.settings import Settings
from node.wallet.host_key import create_host_key, open_host_key
from node.wallet.keystore import create_wallet, open_wallet, read_address
from protocol.errors import ConfigError
from protocol.identity import Address, format_address
from protocol.node_record import peer_id_of

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


class FolderUnwritable(ConfigError):
    """The data folder or the configuration can't be written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"can't write {path}: {reason}", advice="Choose another folder with --data-dir.")


@app.command(cls=StoaCommand)
def init(
    context: typer.Context,
    *,
    profile: Annotated[Literal["local", "sepolia", "polygon", "mainnet"], typer.Option(help="Which chain.")] = "local",
    rpc_url: Annotated[str | None, typer.Option(help="The chain's JSON-RPC endpoint.")] = None,
    listen_port: Annotated[int | None, typer.Option(min=0, max=65535, help="TCP port for other nodes.")] = None,
    name: Annotated[str | None, typer.Option(help="Name in your own tables; never sent to anyone.")] = None,
    bootstrap: Annotated[list[str] | None, typer.Option(help="Address of a first peer; may be repeated.")] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="File whose first line is the wallet's password; the node reads it too.")
    ] = None,
) -> None:
    """Make what a node needs: a configuration in which every setting is explained, a wallet, a host key.

    What is there already stays untouched, so it may be run again.

    Examples:
      stoa init
      stoa init --profile polygon --rpc-url https://rpc.example/v1/key --password-file ~/.stoa-password
      stoa --data-dir ./second init --listen-port 4601
    """
    options = options_of(context)
    values: dict[str, Any] = {
        "chain.profile": profile,
        "chain.rpc_url": rpc_url,
        "network.listen_port": listen_port,
        "node.name": name,
        "network.bootstrap": bootstrap or None,
        "wallet.password_file": str(password_file.expanduser().resolve()) if password_file else None,
        "node.data_dir": str(options.data_dir.expanduser().resolve()) if options.data_dir else None,
    }
    config, is_new = _write_config(options, {key: value for key, value in values.items() if value is not None})
    settings = settings_of(options)
    wallet, host, made = trio.run(_make_keys, settings, password_file)
    document = {
        "config": str(config),
        "data_dir": str(settings.node.data_dir),
        "wallet": format_address(wallet),
        "peer": peer_id_of(host),
        "created": [*(["config"] if is_new else []), *made],
    }
    if options.json_output:
        print_document(document)
        return
    console = new_console()
    console.print(
        facts(
            ("configuration", f"{config}{'' if is_new else '  (was there)'}"),
            ("wallet", f"{document['wallet']}  in {settings.keystore}{'' if 'wallet' in made else '  (was there)'}"),
            ("host", f"{document['peer']}{'' if 'host key' in made else '  (was there)'}"),
        )
    )
    console.print("\nKeep a copy of the wallet file and its password: whoever has both has your money, without them")
    console.print("it is gone. Next: " + _next_step(settings))


def _next_step(settings: Settings) -> str:
    return "stoa chain start, then stoa run" if settings.chain.profile == "local" else "stoa run"


def _write_config(options: Options, values: dict[str, Any]) -> tuple[Path, bool]:
    """Return the configuration's path and whether it was made now."""
    path = options.config or options.folder / CONFIG_NAME
    try:
        options.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # the RPC address may hold a key
    except FileExistsError:
        return path, False
    except OSError as error:
        raise FolderUnwritable(path, error.strerror or str(error)) from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(render_default_toml(values))
    return path, True


async def _make_keys(settings: Settings, password_file: Path | None) -> tuple[Address, bytes, list[str]]:
    """Return the wallet's address, the host's public key, and which of them were made now."""
    has_wallet, has_host = settings.keystore.exists(), settings.host_key.exists()
    password = read_password(settings, password_file, is_new=not has_wallet)
    for folder in (settings.node.data_dir, settings.keystore.parent):
        await trio.Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    made: list[str] = []
    if not has_wallet:
        wallet = await create_wallet(settings.keystore, password)
        made.append("wallet")
    elif not has_host:
        wallet = (await open_wallet(settings.keystore, password)).address  # one password must open both
    else:
        wallet = await read_address(settings.keystore)
    if not has_host:
        host = await create_host_key(settings.host_key, password)
        made.append("host key")
    else:
        host = (await open_host_key(settings.host_key, password)).public_key
    return wallet, host, made
