"""How large the code is, and how many walls it has: the table of docs/RESULTS.md, section House.

Counts with `ast` what stands in src, tests, benchmarks and tools. With `--trace` a voice speaks
from the command line and by POST /v1/audio/speech, in processes of their own, and the calls of the
package's functions are counted, over all threads.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import multiprocessing
import os
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
import types
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

TEXT = "Hello world. This is a test."
START_SECONDS = 60.0
Function = ast.FunctionDef | ast.AsyncFunctionDef


def count_lines(paths: Iterable[Path]) -> int:
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)


def find_file(module: str, source: Path) -> Path:
    """Return the file of `piper.a.b`, or of the module that the last part is a name of."""
    path = source.joinpath(*module.split("."))
    while not path.with_suffix(".py").is_file() and not (path / "__init__.py").is_file():
        path = path.parent
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def find_imports(tree: ast.Module, source: Path) -> set[Path]:
    """Return the package's files that a module imports, anywhere in it."""
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return {find_file(name, source) for name in names if name.split(".")[0] == "piper"}


def find_lonely(trees: dict[Path, ast.Module], source: Path) -> list[str]:
    """Return the modules whose only importer lies in their own folder."""
    importers = defaultdict(set)
    for path, tree in trees.items():
        for other in find_imports(tree, source) - {path}:
            importers[other].add(path)
    return [
        f"{path.relative_to(source)} <- {next(iter(users)).name}"
        for path, users in sorted(importers.items())
        if len(users) == 1 and next(iter(users)).parent == path.parent
        if path.name != "__init__.py"
    ]


def find_public(tree: ast.Module) -> list[Function | ast.ClassDef]:
    """Return a module's public functions and classes, and these classes' public methods."""
    found: list[Function | ast.ClassDef] = []
    bodies: list[list[ast.stmt]] = [tree.body]
    for body in bodies:
        for node in body:
            if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
                found.append(node)
                if isinstance(node, ast.ClassDef):
                    bodies.append(node.body)
    return found


def is_typed(function: Function) -> bool:
    args = function.args
    named = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
    bare = [arg for arg in named if arg is not None and arg.annotation is None]
    return function.returns is not None and all(arg.arg in ("self", "cls") for arg in bare)


def measure_code(root: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the table's figures, and the modules with one importer in their folder."""
    source = root / "src"
    trees = {path: ast.parse(path.read_text("utf-8")) for path in sorted(source.rglob("*.py"))}
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    functions = [node for node in nodes if isinstance(node, Function)]
    public = [node for tree in trees.values() for node in find_public(tree)]
    documented = [ast.get_docstring(node) is not None for node in [*trees.values(), *public]]
    lines = count_lines(trees)
    lonely = find_lonely(trees, source)
    beside = [path for name in ("benchmarks", "tools") for path in (root / name).rglob("*.py")]
    return {
        "lines under src": lines,
        "files under src": len(trees),
        "lines of tests": count_lines((root / "tests").rglob("*.py")),
        "lines of benchmarks and tools": count_lines(beside),
        "modules with one importer in their folder": len(lonely),
        "lines that are imports": _share(sum(map(_length, imports)) / lines),
        "lines of a function, median": int(statistics.median(map(_length, functions))),
        "public functions with types": _share(
            statistics.mean(is_typed(node) for node in public if isinstance(node, Function))
        ),
        "public names with docstrings": _share(statistics.mean(documented)),
    }, lonely


def _length(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


class Tracer:
    """Counts calls of the package's functions in threads that begin after it, while it is on.

    Args:
        package: Folder of the package.
    """

    def __init__(self, package: Path) -> None:
        self._prefix = f"{package.resolve()}{os.sep}"
        self._last: dict[int, str] = {}
        self.is_on = False
        self.calls, self.changes = 0, 0
        self.functions: set[tuple[str, str, int]] = set()
        threading.setprofile(self._see)
        sys.setprofile(self._see)

    def _see(self, frame: types.FrameType, event: str, _: object) -> None:
        code = frame.f_code
        is_function = code.co_flags & 0x1  # CO_OPTIMIZED: no body of a module or a class
        if not (self.is_on and event == "call" and is_function):
            return
        if not code.co_filename.startswith(self._prefix):
            return
        thread = threading.get_ident()
        self.calls += 1
        self.changes += self._last.get(thread, code.co_filename) != code.co_filename
        self._last[thread] = code.co_filename
        self.functions.add((code.co_filename, code.co_qualname, code.co_firstlineno))

    def describe(self) -> dict[str, int]:
        """Return the counts."""
        return {
            "files": len({file for file, _, _ in self.functions}),
            "changes of file": self.changes,
            "functions": len(self.functions),
            "calls": self.calls,
        }


def trace_command(source: Path, voice: Path) -> dict[str, int]:
    """Speak by the command line; count."""
    sys.path.insert(0, str(source))
    from piper.cli import main

    with tempfile.TemporaryDirectory() as folder:
        command = ["-m", str(voice), "-f", str(Path(folder) / "out.wav"), "--", TEXT]
        tracer = Tracer(source / "piper")
        tracer.is_on = True
        main(command)
        tracer.is_on = False
    return tracer.describe()


def trace_request(source: Path, voice: Path) -> dict[str, int]:
    """Serve, ask once for speech; count from the request to its whole answer."""
    sys.path.insert(0, str(source))
    from piper.http_server import main

    tracer = Tracer(source / "piper")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    client = threading.Thread(target=_ask, args=(f"http://127.0.0.1:{port}", tracer))
    client.start()
    with contextlib.suppress(KeyboardInterrupt):
        main(["-m", str(voice), "--port", str(port)])
    client.join()
    return tracer.describe()


def _ask(address: str, tracer: Tracer) -> None:
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{address}/v1/models").read()
                break
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        body = json.dumps(
            {"model": "tts-1", "voice": "alloy", "input": TEXT, "response_format": "wav"}
        ).encode()
        request = urllib.request.Request(
            f"{address}/v1/audio/speech", body, {"Content-Type": "application/json"}
        )
        tracer.is_on = True
        with urllib.request.urlopen(request) as answer:
            answer.read()
        time.sleep(0.2)  # what the server does after the last byte
        tracer.is_on = False
    finally:
        os.kill(os.getpid(), signal.SIGINT)


def trace(root: Path, voice: Path, work: Callable[[Path, Path], dict[str, int]]) -> dict[str, int]:
    """Do some work twice, each in a new process; return the second's counts, its caches filled."""
    spawned = multiprocessing.get_context("spawn")
    counts: dict[str, int] = {}
    for _ in range(2):
        with ProcessPoolExecutor(1, mp_context=spawned) as pool:
            counts = pool.submit(work, root / "src", voice.resolve()).result()
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--root", type=Path, default=Path(__file__).parents[1], help="of the repository"
    )
    parser.add_argument("--names", action="store_true", help="of the modules with one importer")
    parser.add_argument("--trace", type=Path, metavar="VOICE", help="count what speaking calls")
    args = parser.parse_args()
    figures, lonely = measure_code(args.root)
    if args.trace is not None:
        for name, work in {"command": trace_command, "POST": trace_request}.items():
            counts = trace(args.root, args.trace, work)
            figures |= {f"{name}: {count}": value for count, value in counts.items()}
    for name, value in figures.items():
        print(f"{name:44}{value}")
    if args.names:
        print(*lonely, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
