"""How property tests search: the same examples at every `make test`, new ones at every round of `make assurance`.

A rare find belongs to whoever looks for it, not to whoever happens to land a change that minute.
"""

import os

from hypothesis import settings

settings.register_profile("guard", derandomize=True, database=None)
settings.register_profile("explore", print_blob=True)
settings.load_profile(os.environ.get("STOA_SEARCH", "guard"))
