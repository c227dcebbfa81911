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
from pathlib import Path

from ssl_lightning.data.text.corpus import Corpus
from ssl_lightning.errors import InputError
from ssl_lightning.ranges import PositiveInt

LEFT_OUT = {"test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3", "turtledemo", "ensurepip"}
LEFT_OUT |= {"pydoc_data"}
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def python_docs(
    root: str = "", split: str = "pretrain", at_least: PositiveInt = 128, at_most: PositiveInt = 4_000_000
) -> Corpus:
    """Split "pretrain": one topic or docstring a document, 1.7 MB in about 2,500 of them (Python 3.11).

    Topics come first, by name, then modules by name, each in the order of its source. Documents below `at_least`
    characters and those that came before are left out; the corpus ends before it has more than `at_most`. `root`
    is not used.
    """
    if split not in ("pretrain", "train"):
        raise InputError(f"python_docs has no labels and no split {split!r}: it has pretrain")
    return _read(at_least, at_most)


@functools.lru_cache(maxsize=1)
def _read(at_least: PositiveInt, at_most: PositiveInt) -> Corpus:
    texts: dict[str, None] = {}
    size = 0
    for text in _all_texts():
        if len(text) < at_least or text in texts:
            continue
        size += len(text)
        if size > at_most:
            break
        texts[text] = None
    if not texts:
        raise InputError(
            f"python_docs has no text of {at_least} to {at_most} characters: choose other bounds, or data=text_files"
        )
    return Corpus.from_texts(list(texts))


def _all_texts() -> Iterator[str]:
    with contextlib.suppress(ImportError):  # some distributions leave it out
        from pydoc_data.topics import topics

        for name in sorted(topics):
            yield topics[name].strip() + "\n"
    home = Path(sysconfig.get_path("stdlib"))
    for file in _sources(home):
        with contextlib.suppress(OSError, SyntaxError, ValueError):
            yield from _docstrings(_parsed(file))


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
