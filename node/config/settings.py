"""Every setting of a node: name, kind, default and meaning. `load.py` reads them, `render.py` writes them out."""

import os
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from node.config.values import (
    Addresses,
    Dollars,
    Hours,
    HttpUrl,
    ListenAddress,
    LocalPath,
    Multiaddrs,
    PeerAddresses,
    PostgresUrl,
    RpcUrl,
    WalletAddress,
)
from protocol.spending import SpendingCaps
from protocol.units import Amount

ENV_PREFIX: Final = "STOA_"
ENV_DELIMITER: Final = "__"
LOCAL_RPC_URL: Final = "http://127.0.0.1:8545"
MAX_SOCKET_PATH_BYTES: Final = 107
"""What the kernel's `sockaddr_un` holds."""

ProfileName: TypeAlias = Literal["local", "sepolia", "polygon", "mainnet"]
AuctionFormatName: TypeAlias = Literal["second-price", "first-price", "open"]
VerificationName: TypeAlias = Literal["trust", "audit", "copies"]
LogLevelName: TypeAlias = Literal["debug", "info", "warning", "error"]
ReachableName: TypeAlias = Literal["auto", "yes", "no"]
LogFormatName: TypeAlias = Literal["console", "json"]
Port = Annotated[int, Field(ge=0, le=65_535)]


class Section(BaseModel):
    """A table of the configuration file."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth_as_number(cls, value: object, info: ValidationInfo) -> object:
        """Pydantic would take `true` for 1."""
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation is not bool:
            raise ValueError(f"{str(value).lower()} is no value for this setting")
        return value


class NodeSettings(Section):
    """This node."""

    data_dir: LocalPath = Field(
        default=Path("~/.stoa").expanduser(), description="Folder of journal, blobs and keys. One node per folder."
    )
    name: str = Field(default="", max_length=64, description="Shown in your own tables and logs; never sent to anyone.")


MibPerSecond: TypeAlias = Annotated[float, Field(ge=0.0, le=100_000.0, allow_inf_nan=False)]


class NetworkSettings(Section):
    """How other nodes reach this one."""

    listen: bool = Field(
        default=True, description="Accept connections. A node that does not is reached through relays only."
    )
    listen_host: str = Field(default="0.0.0.0", min_length=1, description="Address to listen on.")  # noqa: S104 - a peer is meant to be reached
    listen_port: Port = Field(default=4600, description="TCP port to listen on; 0 lets the system choose.")
    bootstrap: PeerAddresses = Field(
        default=(),
        description="Peers to ask first for others.",
        examples=[["/ip4/203.0.113.7/tcp/4600/p2p/12D3KooWExample"]],
    )
    advertise: Multiaddrs = Field(
        default=(),
        description="Addresses to tell others, if not the one listened on (port forwarding, a DNS name).",
        examples=[["/dns4/node.example/tcp/4600"]],
    )
    reachable: ReachableName = Field(
        default="auto",
        description="Whether other nodes can connect to this one: yes, no (then it uses relays), or auto to ask them.",
    )
    relay: bool = Field(
        default=True,
        description="Pass on, encrypted and within limits, for nodes that can't be reached, if this one can be.",
    )
    relay_mib_s: MibPerSecond = Field(
        default=1.0, description="Most that passing on takes, in MiB a second; 0 for no limit."
    )
    max_peers: int = Field(default=64, ge=1, le=4096, description="Most connections at a time.")
    upload_mib_s: MibPerSecond = Field(
        default=0.0, description="Most that files served to others take, in MiB a second; 0 for no limit."
    )
    upload_mib_s_per_peer: MibPerSecond = Field(default=0.0, description="The same for each peer.")
    download_mib_s: MibPerSecond = Field(
        default=0.0, description="Most that files fetched from others take, in MiB a second; 0 for no limit."
    )
    download_mib_s_per_peer: MibPerSecond = Field(default=0.0, description="The same for each peer.")
    mdns: bool = Field(
        default=False, description="Look for other nodes on the local network, and be found by them (multicast DNS)."
    )


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


class RateSettings(Section):
    """How a bill weighs what a task used against its price at full limits. Only their proportions matter."""

    start: Dollars = Field(default=Amount(1_000), description="For beginning a part.")
    gfuel: Dollars = Field(default=Amount(2_000), description="For 10^9 units of fuel.")
    mib_gfuel: Dollars = Field(default=Amount(2), description="For a MiB of peak memory during 10^9 units of fuel.")
    mib_in: Dollars = Field(default=Amount(100), description="For a MiB of input.")
    mib_out: Dollars = Field(default=Amount(200), description="For a MiB of output and logs.")


class RequesterSettings(Section):
    """Buying computation: defaults that each task may override."""

    commit_window_s: float = Field(
        default=1.0, ge=0.1, le=86_400, description="Seconds in which providers may commit to a bid."
    )
    reveal_window_s: float = Field(default=1.0, ge=0.1, le=86_400, description="Seconds in which they may reveal it.")
    auction: AuctionFormatName = Field(
        default="second-price", description="Sealed second-price, sealed first-price, or open bids."
    )
    weight_price: int = Field(default=5000, ge=0, le=10_000, description="Weight of the price, basis points.")
    weight_reputation: int = Field(default=3000, ge=0, le=10_000, description="Weight of the reputation, basis points.")
    weight_speed: int = Field(
        default=2000, ge=0, le=10_000, description="Weight of the promised time. The three add up to 10000."
    )
    escrow_threshold: Dollars = Field(
        default=Amount(10_000_000), description="Tasks that may cost more are paid through escrow, others by channel."
    )
    liability_bps: int = Field(
        default=2000,
        ge=0,
        le=10_000,
        description="Stake that a provider locks for a task above the threshold, basis points of its budget. Needs an "
        "arbiter.",
    )
    min_stake: Dollars = Field(
        default=Amount(0), description="Least free stake of a bidder; who has less takes no part in our auctions."
    )
    bond: Dollars = Field(
        default=Amount(0), description="Stake that a bidder loses if it is proved to have committed twice."
    )
    start_within_s: int = Field(
        default=30, ge=1, le=86_400, description="Seconds from the award in which the winner must start."
    )
    verification: VerificationName = Field(
        default="trust",
        description="How results are checked: not at all, re-run by chance, or several copies compared.",
    )
    audit_rate: int = Field(default=1000, ge=1, le=10_000, description="With audit: chance of a re-run, basis points.")
    third_node_bps: int = Field(
        default=10_000,
        ge=0,
        le=10_000,
        description="Most that audits and copies may spend on other nodes where this one can't run a part, basis "
        "points of the task's budget on top of it; 0 hires nobody, and what can't be looked at again is paid.",
    )
    copies: int = Field(default=2, ge=2, le=16, description="With copies: how many providers run the task.")
    max_bidders: int = Field(default=64, ge=1, le=256, description="Most bidders taken into one auction.")
    standby_for_s: int = Field(
        default=3600, ge=1, le=86_400, description="Seconds after the reveals in which a standby may still be hired."
    )
    patience_s: float = Field(
        default=10.0,
        ge=0.5,
        le=3600,
        description="Seconds for which a provider may be unreachable and silent before a standby takes over.",
    )
    pace_s: int | None = Field(
        default=None,
        ge=1,
        le=7 * 86_400,
        description="Seconds that each side has to claim, to dispute and to answer on chain. Default: the chain's.",
        examples=[7200],
    )
    resolve_within_s: int | None = Field(
        default=None,
        ge=1,
        le=30 * 86_400,
        description="Seconds in which an arbiter must decide, at least what its court needs. Default: the chain's.",
        examples=[86400],
    )
    dispute_fee: Dollars | None = Field(
        default=None,
        description="Reserved for a committee, in tasks whose parts cost no less. Default: the least of the court.",
        examples=["0.25"],
    )
    rates: RateSettings = Field(default_factory=RateSettings)

    @model_validator(mode="after")
    def _weights_add_up(self) -> "RequesterSettings":
        total = self.weight_price + self.weight_reputation + self.weight_speed
        if total != 10_000:
            raise ValueError(
                f"weight_price, weight_reputation and weight_speed add up to {total}; make them add up to 10000"
            )
        return self


class PriceSettings(Section):
    """What this machine's work costs, in dollars, at most six decimals. `stoa provide` suggests values."""

    start: Dollars = Field(default=Amount(1_000), description="For beginning a part.")
    gfuel: Dollars = Field(default=Amount(2_000), description="For 10^9 units of fuel (about 10^9 WASM instructions).")
    mib_gfuel: Dollars = Field(default=Amount(2), description="For a MiB of peak memory during 10^9 units of fuel.")
    mib_in: Dollars = Field(default=Amount(100), description="For a MiB of input.")
    mib_out: Dollars = Field(default=Amount(200), description="For a MiB of output and logs.")


class ProviderSettings(Section):
    """Selling this machine's time."""

    enabled: bool = Field(default=False, description="Bid for tasks.")
    cores: int | None = Field(
        default=None, ge=1, le=1024, description="Tasks run at a time. Default: all cores but one.", examples=[2]
    )
    memory_mib: int = Field(default=1024, ge=64, description="Memory for all tasks together.")
    working_hours: Hours | None = Field(
        default=None, description="When to bid, in local time. Default: always.", examples=["22:00-06:30"]
    )
    allow: Addresses = Field(
        default=(),
        description="Serve only these requesters. Empty: anyone not denied.",
        examples=[["0x52908400098527886E0F7030069857D2E4169EE7"]],
    )
    deny: Addresses = Field(default=(), description="Never serve these requesters.")
    credit_limit: Dollars = Field(
        default=Amount(1_000_000), description="Most unpaid work done for one requester without a hold or escrow."
    )
    fuel_per_s: int | None = Field(
        default=None,
        ge=1,
        description="What one core does of the slowest kind of work. Default: measured at the first start.",
        examples=[800000000],
    )
    prices: PriceSettings = Field(default_factory=PriceSettings)

    @property
    def worker_count(self) -> int:
        """Tasks run at a time."""
        return self.cores or max(1, (os.cpu_count() or 1) - 1)


class ArbiterSettings(Section):
    """Judging other people's disputes, for their fees (docs/guide/arbiter.md)."""

    enabled: bool = Field(
        default=False,
        description="Sit in cases that this node's tickets are drawn for. `stoa arbiter enlist` buys them.",
    )


class DisputeSettings(Section):
    """How far this node goes in cases about its own tasks and work."""

    open: bool = Field(default=True, description="Take refuted receipts and contested claims to the network's court.")
    appeal: bool = Field(default=True, description="Appeal a decision that contradicts what this node ran itself.")
    max_bond: Dollars | None = Field(
        default=None,
        description="Most to put down in one case, appeals included; the wallet's caps hold besides.",
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


class ExecutionSettings(Section):
    """Limits of the sandbox on this machine, whatever a task asks for."""

    max_memory_mib: int = Field(default=1024, ge=1, le=4096, description="Most memory of one task.")
    max_wall_s: int = Field(default=3600, ge=1, description="Longest run of one part, seconds.")
    max_input_mib: int = Field(default=1024, ge=1, description="Most that module and all inputs of one task may have.")
    max_output_mib: int = Field(default=256, ge=1, description="Most output of one part.")
    compile_memory_mib: int = Field(default=2048, ge=64, description="Most memory of the compiler.")
    compile_cpu_s: int = Field(default=60, ge=1, description="Most CPU seconds of the compiler.")
    cache_mib: int = Field(default=1024, ge=0, description="Disk for compiled modules.")


class StorageSettings(Section):
    """The data folder, and where the journal lies."""

    url: PostgresUrl | None = Field(
        default=None,
        description="PostgreSQL database for journal and tables (docs/operations/postgresql.md). Default: SQLite in "
        "the data folder.",
        examples=["postgresql://stoa@db.example:5432/stoa"],
    )
    password_file: LocalPath | None = Field(
        default=None,
        description="File whose first line is the password of the database's user. Default: in the address, else "
        "PGPASSWORD, else ~/.pgpass.",
        examples=["/run/credentials/stoa-database"],
    )
    blob_quota_mib: int = Field(default=10_240, ge=1, description="Disk for modules, inputs and outputs.")
    keep_results_h: int = Field(default=72, ge=1, description="Hours for which files of finished tasks are kept.")
    keep_history_d: int = Field(
        default=90,
        ge=60,
        le=36_500,
        description="Days for which the records of finished tasks are kept: longer than any dispute of them can take.",
    )

    @model_validator(mode="after")
    def _password_has_a_use(self) -> "StorageSettings":
        if self.password_file is not None and self.url is None:
            raise ValueError("password_file is set, and url is not: there is no database to open with it")
        return self

    @property
    def blob_quota_bytes(self) -> int:
        """The blob store's quota in bytes."""
        return self.blob_quota_mib * 2**20


class ApiSettings(Section):
    """The door for the command line."""

    control_socket: LocalPath | None = Field(
        default=None,
        description="Local socket that `stoa` commands speak to. Default: control.sock in the data folder.",
        examples=["/run/stoa/control.sock"],
    )


class LoggingSettings(Section):
    """What the node says about itself."""

    format: LogFormatName = Field(default="console", description="For people, or one JSON object a line.")
    level: LogLevelName = Field(default="info", description="Least level shown.")
    levels: dict[str, LogLevelName] = Field(
        default_factory=dict[str, LogLevelName],
        description="Other levels by module.",
        examples=[{"node.networking": "debug"}],
    )


class OperationsSettings(Section):
    """Watching the node from outside (docs/operations/monitoring.md)."""

    metrics_listen: ListenAddress | None = Field(
        default=None,
        description="Serve /metrics (Prometheus) and /healthz there. Default: nowhere. They tell balances, to whoever "
        "can connect: use a loopback or private address.",
        examples=["127.0.0.1:9464"],
    )
    traces_endpoint: HttpUrl | None = Field(
        default=None,
        description="Send spans of tasks to this OpenTelemetry collector (OTLP over HTTP, JSON). Default: nowhere.",
        examples=["http://127.0.0.1:4318/v1/traces"],
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
