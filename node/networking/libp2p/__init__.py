"""The only place that imports py-libp2p."""

import warnings

with warnings.catch_warnings():
    # libp2p 0.8.1 imports a deprecated part of websockets, which this node does not use.
    warnings.simplefilter("ignore", DeprecationWarning)
    import libp2p as _libp2p  # noqa: F401  # pyright: ignore[reportUnusedImport]
