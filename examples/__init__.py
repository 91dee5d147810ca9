"""Tasks to copy from. A package only so that no dependency's stray package of this name hides it (libp2p has one)."""
