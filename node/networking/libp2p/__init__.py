"""The only place that imports py-libp2p; and of it only what this node uses.

Version 0.8.1 imports every transport it has as soon as its name is mentioned: QUIC, WebSockets, mDNS, UPnP, an HTTP
client. That is 17 MiB and a third of a second for each node, so those packages run when something asks for what they
define, and nothing here does (docs/adr/1522).
"""

from node.networking.libp2p.deferred import defer_package

for _name in ("libp2p", "libp2p.transport", "libp2p.transport.quic"):
    defer_package(_name)
