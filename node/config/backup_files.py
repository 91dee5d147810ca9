"""Which files beside the data folder's own belong to a node, by their names in a backup."""

from pathlib import Path

from node.config.settings import Settings


def files_of(settings: Settings, config: Path | None) -> dict[str, Path]:
    """Return the files that a backup takes; some may be missing. Key files are encrypted and are taken as they are.

    Args:
        settings: Say where they are.
        config: The configuration, if the node was given one.
    """
    files = {
        "wallet.json": settings.keystore,
        "host.json": settings.host_key,
        "deployments.json": settings.chain.deployments or settings.node.data_dir / "deployments.json",
    }
    return files | ({"stoa.toml": config} if config is not None else {})
