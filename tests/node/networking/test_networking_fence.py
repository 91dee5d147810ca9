# pyright: reportUnknownMemberType=false
import ast
from pathlib import Path

ROOT = Path(__file__).parents[3]
FENCED = {"libp2p", "multiaddr", "noise"}
INSIDE = ROOT / "node" / "networking" / "libp2p"


def imported(path: Path) -> set[str]:
    """The packages that a module imports, wherever in it."""
    names: set[str] = set()
    for statement in ast.walk(ast.parse(path.read_text())):
        match statement:
            case ast.Import(names=aliases):
                names |= {alias.name.partition(".")[0] for alias in aliases}
            case ast.ImportFrom(module=str(module), level=0):
                names.add(module.partition(".")[0])
            case _:
                pass
    return names


def test_only_the_adapter_imports_libp2p() -> None:
    modules = [*(ROOT / "node").rglob("*.py"), *(ROOT / "protocol").rglob("*.py")]
    outside = [path for path in modules if INSIDE not in path.parents]
    assert len(outside) > 50
    assert [path for path in outside if imported(path) & FENCED] == []
    assert any("libp2p" in imported(path) for path in INSIDE.glob("*.py"))
