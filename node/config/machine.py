"""What the node may take of this machine and its network, and what it says about itself: sections of the settings."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from node.config.section import Section
from node.config.values import (
    HttpUrl,
    ListenAddress,
    LocalPath,
    Multiaddrs,
    PeerAddresses,
    PostgresUrl,
)

LogLevelName: TypeAlias = Literal["debug", "info", "warning", "error"]
ReachableName: TypeAlias = Literal["auto", "yes", "no"]
LogFormatName: TypeAlias = Literal["console", "json"]
Port = Annotated[int, Field(ge=0, le=65_535)]


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
