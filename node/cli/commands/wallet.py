"""`stoa wallet`: balances from the node; the key file without it."""

from pathlib import Path
from typing import Annotated

import trio
import typer
from rich.console import Group, RenderableType

from node.api.facade import NodeFacade
from node.api.views import WalletView
from node.cli.failures import UsageMistake
from node.cli.lazy import StoaCommand, new_app
from node.cli.options import options_of
from node.cli.output import dollars, facts, long_address, native, new_console, print_document, show, table
from node.cli.session import call
from node.cli.setup import ask_password, read_password, read_password_file, settings_of
from node.wallet.keystore import export_keystore, import_keystore, import_private_key
from protocol.identity import format_address

app = new_app("The wallet: what it has, what it may still spend, and its key.")

PasswordFile = Annotated[
    Path | None, typer.Option(help="File whose first line is the wallet's password; else variable or terminal.")
]


@app.command("show", cls=StoaCommand)
def show_wallet(context: typer.Context) -> None:
    """Show address, balances, deposits, and what the spending caps leave.

    Example:
      stoa wallet show
    """
    options = options_of(context)
    view = call(options, NodeFacade.wallet_show)
    show(options, view, lambda: _render(view))


@app.command(cls=StoaCommand)
def export(
    context: typer.Context,
    destination: Annotated[Path, typer.Argument(help="New file; must not exist.", show_default=False)],
    *,
    password_file: PasswordFile = None,
    new_password_file: Annotated[
        Path | None, typer.Option(help="File whose first line is the copy's password; else asked for.")
    ] = None,
) -> None:
    """Write a copy of the key under a password of its own, in the Keystore V3 format that other wallets read.

    Example:
      stoa wallet export backup/wallet.json
    """
    options = options_of(context)
    settings = settings_of(options)
    password = read_password(settings, password_file)
    new = (
        read_password_file(new_password_file)
        if new_password_file
        else ask_password("Password of the copy: ", twice=True)
    )
    address = trio.run(export_keystore, settings.keystore, password, destination, new)
    if options.json_output:
        print_document({"wallet": format_address(address), "exported": str(destination)})
    else:
        new_console().print(f"The key of {format_address(address)} is in {destination}.", soft_wrap=True)


@app.command("import", cls=StoaCommand)
def import_key(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(help="Keystore V3 file, or with --raw a file of 64 hexadecimal digits.", show_default=False),
    ],
    *,
    raw: Annotated[bool, typer.Option("--raw", help="SOURCE is a bare private key, not an encrypted file.")] = False,
    source_password_file: Annotated[
        Path | None, typer.Option(help="File whose first line is the source's password; else asked for.")
    ] = None,
    password_file: PasswordFile = None,
) -> None:
    """Make this node's wallet from an existing key. The wallet file must not exist yet; none is ever overwritten.

    Examples:
      stoa wallet import ~/old-wallet.json
      stoa wallet import key.txt --raw
    """
    options = options_of(context)
    settings = settings_of(options)
    password = read_password(settings, password_file, is_new=True)
    settings.keystore.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if raw:
        address = trio.run(import_private_key, settings.keystore, _read_text(source), password)
    else:
        source_password = (
            read_password_file(source_password_file)
            if source_password_file
            else ask_password(f"Password of {source}: ", twice=False)
        )
        address = trio.run(import_keystore, settings.keystore, source, source_password, password)
    if options.json_output:
        print_document({"wallet": format_address(address), "keystore": str(settings.keystore)})
    else:
        new_console().print(f"The wallet is {format_address(address)}, in {settings.keystore}.", soft_wrap=True)
        new_console().print("Make the other files that a node needs with: stoa init")


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageMistake(f"can't read a key from {path}", advice="Name a file of 64 hexadecimal digits.") from error


def _render(view: WalletView) -> RenderableType:
    caps = table(
        "\nSpending caps",
        "cap", ">limit", ">left now",
        rows=((cap.name, dollars(cap.limit), dollars(cap.left)) for cap in view.caps),
        empty="",
    )  # fmt: skip
    return Group(
        facts(
            ("address", long_address(view.address)),
            ("name", view.did),
            ("balance", f"{dollars(view.token_balance)}  (token {long_address(view.token)})"),
            ("for fees", native(view.gas_balance)),
            ("deposits", f"{dollars(view.in_channels)} in channels, {dollars(view.in_escrow)} in escrow"),
        ),
        caps,
    )
