"""The corpus that is always there: what the interpreter says about itself, in English prose and examples.

The language reference as `help()` prints it (`pydoc_data.topics`), and the docstrings of the standard library, read
from its sources: nothing is imported, nothing downloaded. Python Software Foundation License.
"""

import ast
import contextlib
import functools
import os
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ssl_lightning.data.splits import digests_of
from ssl_lightning.data.text.corpus import Corpus
from ssl_lightning.errors import InputError

LEFT_OUT = {"test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3", "turtledemo", "ensurepip"}
LEFT_OUT |= {"pydoc_data"}
LEAST = 128
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def python_docs(root: str = "", split: str = "pretrain") -> Corpus:
    """Split "pretrain": one topic or docstring a document, 1.7 MB in about 2,850 of them (Python 3.11).

    Topics come first, by name, then modules by name, each in the order of its source. Documents below `LEAST`
    characters and those that came before are left out. Near copies stand in one module, and topics repeat each other,
    so no split parts a module, a package, or the topics: held out are the docstrings of whole modules. `root` is not
    used.
    """
    if split not in ("pretrain", "train"):
        raise InputError(f"python_docs has no labels and no split {split!r}: it has pretrain")
    return _read()


@functools.lru_cache(maxsize=1)
def _read() -> Corpus:
    texts: dict[str, str] = {}
    for text, origin in _all_texts():
        if len(text) >= LEAST:
            texts.setdefault(text, origin)
    return replace(Corpus.from_texts(texts), origins=digests_of(texts.values()))


def _all_texts() -> Iterator[tuple[str, str]]:
    """Texts, and the module or package that each is from."""
    with contextlib.suppress(ImportError):  # some distributions leave it out
        from pydoc_data.topics import topics

        for name in sorted(topics):
            yield topics[name].strip() + "\n", "pydoc_data"
    home = Path(sysconfig.get_path("stdlib"))
    for file in _sources(home):
        with contextlib.suppress(OSError, SyntaxError, ValueError):
            origin = file.relative_to(home).parts[0].removesuffix(".py")
            yield from ((text, origin) for text in _docstrings(_parsed(file)))


def _sources(home: Path) -> list[Path]:
    """The public modules below the standard library's folder, by name."""
    files = []
    for place, folders, names in os.walk(home):
        folders[:] = [name for name in folders if name not in LEFT_OUT and not name.startswith("_") and "-" not in name]
        public = [name for name in names if name == "__init__.py" or not name.startswith("_")]
        files += [Path(place, name) for name in public if name.endswith(".py")]
    return sorted(files, key=lambda file: file.relative_to(home).parts)


def _parsed(file: Path) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old escapes in the sources
        return ast.parse(file.read_bytes())


def _docstrings(node: ast.AST) -> Iterator[str]:
    """Of a module, class or function and of those inside it, in the order of the source; expressions hold none."""
    if isinstance(node, Documented) and (text := ast.get_docstring(node)):
        yield text.strip() + "\n"
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.ExceptHandler):
            yield from _docstrings(child)
