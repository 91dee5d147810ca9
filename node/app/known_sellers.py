"""Nodes whose records say that they sell, and for what: what a requester knows of the market before any auction."""

from node.market.ports import Asked
from node.networking.directory import Directory
from protocol.task.manifest import Manifest
from protocol.task.pricing import price_at_limits


class KnownSellers:
    """See `Sellers`. A record is a hint: only an award binds, and a seller that asks more by now refuses it."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def of(self, manifest: Manifest) -> tuple[Asked, ...]:
        """See `Sellers`."""
        return tuple(
            Asked(wallet=each.wallet, price=price_at_limits(each.body.rates, manifest, 0, len(manifest.parts)))
            for each in self._directory.all()
            if manifest.engine in each.body.engines and each.body.rates is not None
        )
