"""Merkle trees that OpenZeppelin's MerkleProof verifies (docs/spec, C3).

Leaves are hashed twice, so that an inner node can never be passed off as a leaf; pairs are hashed in sorted order, so a
proof needs no left-or-right flags; an odd node at the end of a layer moves up unchanged.
"""

from collections.abc import Sequence

from protocol.identity import ZERO_DIGEST, Digest
from protocol.signing.keccak import keccak256


class MerkleTree:
    """A tree that is hashed once and proves many leaves; it may have none."""

    def __init__(self, leaves: Sequence[Digest]) -> None:
        self._layers = _layers(leaves)

    @property
    def root(self) -> Digest:
        """The root over the leaves in their order; zero for none."""
        top = self._layers[-1]
        return top[0] if top else ZERO_DIGEST

    def proof(self, index: int) -> tuple[Digest, ...]:
        """Return the siblings of leaf `index`, from the bottom up."""
        proof: list[Digest] = []
        for layer in self._layers[:-1]:
            sibling = index ^ 1
            if sibling < len(layer):
                proof.append(layer[sibling])
            index //= 2
        return tuple(proof)


def leaf_hash(encoded: bytes) -> Digest:
    """Return the leaf of some ABI-encoded words."""
    return keccak256(keccak256(encoded))


def merkle_root(leaves: Sequence[Digest]) -> Digest:
    """Return the root over `leaves` in their order; zero for none."""
    return MerkleTree(leaves).root


def merkle_proof(leaves: Sequence[Digest], index: int) -> tuple[Digest, ...]:
    """Return the siblings of leaf `index`, from the bottom up."""
    return MerkleTree(leaves).proof(index)


def verify_proof(root: Digest, leaf: Digest, proof: Sequence[Digest]) -> bool:
    """Return whether `proof` leads from `leaf` to `root`."""
    node = leaf
    for sibling in proof:
        node = _pair(node, sibling)
    return node == root


def _layers(leaves: Sequence[Digest]) -> list[Sequence[Digest]]:
    layers: list[Sequence[Digest]] = [leaves]
    while len(layers[-1]) > 1:
        below = layers[-1]
        layers.append([_pair(*below[i : i + 2]) if i + 1 < len(below) else below[i] for i in range(0, len(below), 2)])
    return layers


def _pair(a: Digest, b: Digest) -> Digest:
    return keccak256(a + b if a < b else b + a)
