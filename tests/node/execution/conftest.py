from pathlib import Path

import pytest

from tests.node.execution.execution_lab import Lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    folder: Path = tmp_path_factory.mktemp("lab")
    return Lab(folder=folder)
