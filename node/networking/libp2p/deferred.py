"""Packages whose own code runs at the first use of what it defines, while their submodules can be imported at once."""

import importlib.util
import sys
import warnings
from typing import Any


def defer_package(dotted: str) -> None:
    """Put a package into `sys.modules` without running its `__init__`; harmless if it is there already.

    Unlike `importlib.util.LazyLoader`, which loads the package as soon as one of its submodules is imported.

    Args:
        dotted: Its name; parents first.
    """
    if dotted in sys.modules:
        return
    spec = importlib.util.find_spec(dotted)
    assert spec is not None
    loader = spec.loader
    assert loader is not None
    package = importlib.util.module_from_spec(spec)

    def load(name: str) -> Any:
        if name.startswith("__"):  # asked of any module by whoever looks around, and no reason to load one
            raise AttributeError(name)
        del package.__getattr__
        with warnings.catch_warnings():
            # libp2p 0.8.1 imports a deprecated part of websockets, which this node does not use.
            warnings.simplefilter("ignore", DeprecationWarning)
            loader.exec_module(package)
        return getattr(package, name)

    package.__getattr__ = load  # PEP 562
    sys.modules[dotted] = package
    parent, _, child = dotted.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, package)
