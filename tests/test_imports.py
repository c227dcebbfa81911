"""Which part of the package may know which: read from the sources, and held against the arrows below."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ssl_lightning"
MAY_IMPORT = {
    "errors": set(),
    "ranges": set(),
    "color": set(),
    "distributed": set(),
    "hardware": set(),
    "randomness": set(),
    "record": set(),
    "modules": {"color", "distributed", "randomness"},
    "transforms": {"color"},
    "optim": {"hardware"},
    "evaluation": set(),
    "losses": {"distributed"},
    "data": {"evaluation", "figures", "modules", "randomness", "transforms"},
    "methods": {"color", "losses", "modules", "optim", "distributed", "randomness", "record", "transforms"},
    "loggers": {"config", "runs"},
    "runs": {"config", "distributed", "evaluation", "randomness", "record"},
    "config": {"runs"},
    "figures": {"evaluation", "record", "runs"},
    "launch": {"config", "distributed", "hardware", "modules", "runs"},
    "callbacks": {"evaluation", "figures", "launch", "record", "runs", "distributed"},
    "commands": {"config", "distributed", "evaluation", "figures", "launch", "loggers", "modules", "record", "runs"},
    "cli": {"config", "launch", "runs"},
    "plugins": {"config", "figures", "launch", "runs"},
    "pretrain": {"cli"},
    "evaluate": {"cli"},
    "bench": {"cli"},
    "export": {"cli"},
    "generate": {"cli"},
    "report": {"cli"},
    "embed": {"cli"},
    "__init__": {"runs"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def part(file: Path) -> str:
    """The first name below the package: a folder, or a module beside the folders."""
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(file: Path) -> Iterator[str]:
    """Dotted names that a file imports anywhere, also inside functions: `a.b` and `a.b.c` for `from a.b import c`."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def ours(file: Path) -> set[str]:
    """Names below the package that a file imports."""
    return {name.partition(".")[2] for name in imported(file) if name.startswith("ssl_lightning.")}


def test_every_part_has_its_arrows() -> None:
    assert {part(file) for file in FILES} == set(MAY_IMPORT)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_arrows(file: Path) -> None:
    reached = {name.partition(".")[0] for name in ours(file)}
    forbidden = reached - MAY_IMPORT[part(file)] - {part(file), "errors", "ranges"}
    assert not forbidden
    assert not any(name.startswith(".") for name in imported(file)), "imports are absolute"


@pytest.mark.parametrize("file", sorted((PACKAGE / "methods").glob("*.py")), ids=lambda file: file.stem)
def test_a_method_knows_no_other_method(file: Path) -> None:
    methods = {name.split(".")[1] for name in ours(file) if name.startswith("methods.")}
    assert methods <= ({"hooks"} if file.stem == "base" else {"base"})


def test_one_file_talks_to_torch_distributed() -> None:
    talking = [file for file in FILES if any(name.startswith("torch.distributed") for name in imported(file))]
    assert [str(file.relative_to(PACKAGE)) for file in talking] == ["distributed.py"]
    written_out = [file for file in FILES if "torch.distributed." in file.read_text() and file not in talking]
    assert not written_out


def test_commands_answer_without_torch() -> None:
    code = (
        "import sys, ssl_lightning.pretrain, ssl_lightning.evaluate, ssl_lightning.bench;"
        "import ssl_lightning.export, ssl_lightning.generate, ssl_lightning.embed, ssl_lightning.report;"
        "print([name for name in ('torch', 'lightning', 'torchvision', 'timm', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
