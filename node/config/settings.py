"""Every setting of a node: name, kind, default and meaning. `load.py` reads them, `render.py` writes them out."""

import os
from pathlib import Path
from typing import Final, Literal, TypeAlias

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from node.config.machine import (
    ApiSettings,
    ExecutionSettings,
    LoggingSettings,
    NetworkSettings,
    NodeSettings,
    OperationsSettings,
    StorageSettings,
)
from node.config.section import Section
from node.config.trade import ProviderSettings, RequesterSettings
from node.config.values import Addresses, Dollars, LocalPath, RpcUrl, WalletAddress
from protocol.spending import SpendingCaps
from protocol.units import Amount

ENV_PREFIX: Final = "STOA_"
ENV_DELIMITER: Final = "__"
LOCAL_RPC_URL: Final = "http://127.0.0.1:8545"
MAX_SOCKET_PATH_BYTES: Final = 107
"""What the kernel's `sockaddr_un` holds."""

ProfileName: TypeAlias = Literal["local", "sepolia", "polygon", "mainnet"]


class ChainSettings(Section):
    """The chain that holds the contracts."""

    profile: ProfileName = Field(default="local", description="Which chain.")
    rpc_url: RpcUrl | None = Field(
        default=None,
        description=f"JSON-RPC endpoint of the chain. Only the local profile has a default, {LOCAL_RPC_URL}.",
        examples=["https://rpc.example/v1/your-key"],
    )
    deployments: LocalPath | None = Field(
        default=None,
        description="File with the contracts' addresses and code hashes. Default: deployments.json in the data folder "
        "if it is there, else what the release ships for the chain.",
        examples=["deployments.json"],
    )
    confirmations: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Blocks after which a log counts. Default: the chain's.",
        examples=[12],
    )
    coin_price: Dollars | None = Field(
        default=None,
        description="Worth of a coin of the chain's own money, in dollars: weighs fees against what a claim brings. "
        "Default: the chain's.",
        examples=["2500"],
    )
    max_fee_gwei: float | None = Field(
        default=None, gt=0, description="Most to pay per gas, in gwei. Default: the chain's.", examples=[100.0]
    )

    @model_validator(mode="after")
    def _need_url(self) -> "ChainSettings":
        if self.profile != "local" and self.rpc_url is None:
            raise ValueError(f"rpc_url is missing: profile {self.profile} needs the address of a node of that chain")
        return self

    @property
    def endpoint(self) -> str:
        """The JSON-RPC endpoint."""
        return self.rpc_url or LOCAL_RPC_URL


class CapSettings(Section):
    """Most that the wallet signs away, in dollars; checked before each signature."""

    per_task: Dollars = Field(default=Amount(50_000_000), description="To one task, over its life.")
    per_hour: Dollars = Field(default=Amount(100_000_000), description="To anyone, within any hour.")
    per_day: Dollars = Field(default=Amount(500_000_000), description="To anyone, within any 24 hours.")
    per_peer: Dollars = Field(default=Amount(100_000_000), description="To one peer, within any 24 hours.")

    def to_spending_caps(self) -> SpendingCaps:
        """Return the caps as the spending rule takes them."""
        return SpendingCaps(
            per_task=self.per_task, per_hour=self.per_hour, per_day=self.per_day, per_peer=self.per_peer
        )


class WalletSettings(Section):
    """The key that signs money and law."""

    keystore: LocalPath | None = Field(
        default=None,
        description="Encrypted key file (keystore V3). Default: wallet.json in the data folder.",
        examples=["/etc/stoa/wallet.json"],
    )
    password_file: LocalPath | None = Field(
        default=None,
        description="File whose first line is the password. Default: the variable below, else ask on the terminal.",
        examples=["/run/credentials/stoa-password"],
    )
    password_env: str = Field(
        default="STOA_WALLET_PASSWORD",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Environment variable that holds the password. Its value never stands in this file.",
    )
    caps: CapSettings = Field(default_factory=CapSettings)


class ArbiterSettings(Section):
    """Judging other people's disputes, for their fees (docs/guide/arbiter.md)."""

    enabled: bool = Field(
        default=False,
        description="Sit in cases that this node's tickets are drawn for. `stoa arbiter enlist` buys them.",
    )


class DisputeSettings(Section):
    """How far this node goes in cases about its own tasks and work."""

    open: bool = Field(
        default=True, description="Take refuted receipts, contested claims and unpaid parts to the network's court."
    )
    appeal: bool = Field(default=True, description="Appeal a decision that contradicts what this node ran itself.")
    max_bond: Dollars | None = Field(
        default=None,
        description="Most to put down in one case unasked, appeals included; the wallet's caps hold besides.",
        examples=["10.00"],
    )


class PaymentSettings(Section):
    """How money moves, once it is promised."""

    channel_deposit: Dollars = Field(
        default=Amount(5_000_000), description="Least that a new channel, or a top-up, brings, if the wallet has it."
    )
    claim_at: Dollars = Field(
        default=Amount(5_000_000), description="Unclaimed amount in one channel from which it is claimed unasked."
    )
    free_at: Dollars = Field(
        default=Amount(5_000_000), description="Stake and bonuses that can be freed from which that is done unasked."
    )
    success_bonus: bool = Field(
        default=True, description="Add 5 % for success to awards whose provider locks stake for them."
    )
    claim_patience_h: float | None = Field(
        default=None,
        ge=0,
        le=7 * 24,
        description="Hours for which claims that nothing urges wait for cheap gas. Default: the chain's.",
        examples=[6.0],
    )
    close_within_s: int = Field(
        default=120, ge=1, le=7 * 86_400, description="Seconds a payee has to agree to a close, before we leave alone."
    )
    confirm_timeout_s: float = Field(
        default=300.0, gt=0, le=86_400, description="Seconds to wait for opening, topping up or funding to confirm."
    )


class Erc8004Settings(Section):
    """Feedback in a registry of ERC-8004, "Trustless Agents": shown, and written about what was paid."""

    registry: WalletAddress | None = Field(
        default=None,
        description="Address of the chain's Reputation Registry. Default: none.",
        examples=["0x8004BAa17C55a88189AE136b182e5fdA19dE9b63"],
    )
    write: bool = Field(
        default=False, description="Write feedback about each award that this node paid; costs a fee each."
    )
    write_from: Dollars = Field(
        default=Amount(10_000_000), description="Least that an award must have cost for that, in dollars."
    )
    agent_id: int | None = Field(
        default=None, ge=0, lt=2**256, description="This node's own agent there, told to who asks.", examples=[22]
    )
    clients: Addresses = Field(
        default=(),
        description="Whose feedback is shown beside our own.",
        examples=[["0x52908400098527886E0F7030069857D2E4169EE7"]],
    )

    @model_validator(mode="after")
    def _writing_has_a_place(self) -> "Erc8004Settings":
        if self.write and self.registry is None:
            raise ValueError("write is set, and registry is not: there is nothing to write to")
        return self


class ReputationSettings(Section):
    """What this node says of others. Opinions: no node takes another's for true."""

    anchor: bool = Field(
        default=False,
        description="Once an epoch, put the root of this node's opinions on the chain, if they changed; costs a fee.",
    )
    epoch_h: float = Field(default=24.0, ge=0.01, le=24 * 366, description="Hours of an epoch.")
    erc8004: Erc8004Settings = Field(default_factory=Erc8004Settings)


class WatchtowerSettings(Section):
    """Who watches this node's channels while it is away, and for whom it watches."""

    towers: Addresses = Field(
        default=(),
        max_length=8,
        description="Wallets of nodes that watch the channels that pay this one; each has this wallet in its clients.",
        examples=[["0x52908400098527886E0F7030069857D2E4169EE7"]],
    )
    hand_at: Dollars = Field(
        default=Amount(1_000_000),
        description="Money at stake in a channel, beyond what a tower knows of, from which the tower is told.",
    )
    clients: Addresses = Field(
        default=(),
        max_length=256,
        description="Wallets of nodes for which this one watches, at its own cost for gas. Empty: for nobody.",
        examples=[["0x8617E340B3D01FA5F11F306F4090FD50E238070D"]],
    )
    watches_per_client: int = Field(default=256, ge=1, le=4096, description="Most channels of one client.")
    mib_per_client: int = Field(default=4, ge=1, le=64, description="Most disk for all that one client hands over.")
    least: Dollars = Field(
        default=Amount(1_000_000),
        description="Smallest deposit that is watched, and smallest gain for which a transaction is sent.",
    )
    acts_per_day: int = Field(
        default=48, ge=1, le=10_000, description="Most transactions for one client in any 24 hours."
    )


class Settings(BaseSettings):
    """The whole configuration. Made by `load_settings`, which names all mistakes at once."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
        enable_decoding=False,  # lists come with commas, not as JSON that may fail before the other mistakes are seen
    )

    node: NodeSettings = Field(default_factory=NodeSettings)
    network: NetworkSettings = Field(default_factory=NetworkSettings)
    chain: ChainSettings = Field(default_factory=ChainSettings)
    wallet: WalletSettings = Field(default_factory=WalletSettings)
    requester: RequesterSettings = Field(default_factory=RequesterSettings)
    provider: ProviderSettings = Field(default_factory=ProviderSettings)
    arbiter: ArbiterSettings = Field(default_factory=ArbiterSettings)
    payments: PaymentSettings = Field(default_factory=PaymentSettings)
    reputation: ReputationSettings = Field(default_factory=ReputationSettings)
    watchtower: WatchtowerSettings = Field(default_factory=WatchtowerSettings)
    disputes: DisputeSettings = Field(default_factory=DisputeSettings)
    execution: ExecutionSettings = Field(default_factory=ExecutionSettings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    api: ApiSettings = Field(default_factory=ApiSettings)
    logging: LoggingSettings = Field(default_factory=LoggingSettings)
    operations: OperationsSettings = Field(default_factory=OperationsSettings)

    @model_validator(mode="after")
    def _socket_path_fits(self) -> "Settings":
        path = os.fsencode(self.control_socket)
        if len(path) > MAX_SOCKET_PATH_BYTES:
            raise ValueError(
                f"the path of the control socket has {len(path)} bytes, and may have {MAX_SOCKET_PATH_BYTES}; "
                "set api.control_socket (or node.data_dir) to a shorter path"
            )
        return self

    @property
    def keystore(self) -> Path:
        """The wallet's key file."""
        return self.wallet.keystore or self.node.data_dir / "wallet.json"

    @property
    def host_key(self) -> Path:
        """The key file of the host, which secures the network."""
        return self.node.data_dir / "host.json"

    @property
    def control_socket(self) -> Path:
        """The local socket of the API."""
        return self.api.control_socket or self.node.data_dir / "control.sock"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take arguments alone: `load_settings` merges file, environment and options, and knows which is which."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)
