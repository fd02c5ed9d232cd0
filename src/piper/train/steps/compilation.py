"""Parts of the generator compiled by `torch.compile`, and run as they are where that is of no use.

The decoder, whose pieces are of one length, and the duration predictor's couplings: they are more
than half of a step's kernels and hardly any of its arithmetic. The discriminators are left out: a
compiled backward pass computes the gradients of weights and audio both, and the step asks for each
alone.
"""

from __future__ import annotations

import logging
import os
import shutil
import sysconfig
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from piper.errors import ConfigError, describe_briefly
from piper.train.vits.durations import SplineCoupling
from piper.train.vits.network import VitsSynthesizer

UPDATES_WORTH_COMPILING = 10_000
"""Updates from which on `auto` compiles. Compiling takes some two minutes; training gains a factor
of 1.41 in the geometric mean of many networks (Ansel et al. 2024, "PyTorch 2", on an A100). At a
gain of 0.05 only, of a quarter of a second an update, 10,000 updates repay it."""

_RECOMPILATIONS = 64
"""Variants of one function before dynamo gives up: one for each batch size that it takes for a
constant, and each state of autocast."""

_LOGGER = logging.getLogger(__name__)


class Compiler:
    """Whether torch.compile has done what was asked of it until now."""

    works = True


class CompiledForward:
    """A module's compiled forward pass for training's pieces, its plain one for all else.

    Where compiling fails, the plain one serves from then on, and a line says why.

    Args:
        module: Whose forward pass is compiled; its state dict stays as it is.
        length: Size of the last axis of the pieces. Whole utterances have others, each of which
            would be compiled anew. None compiles once for all lengths.
        compiler: Shared by all parts, so that none tries again where another has failed.
    """

    def __init__(self, module: nn.Module, length: int | None, compiler: Compiler) -> None:
        self.module = module
        self.length = length
        self.compiler = compiler
        self.plain: Callable[..., Any] = MethodType(type(module).forward, module)
        self.compiled: Callable[..., Any] = torch.compile(
            self.plain, dynamic=True if length is None else None
        )

    def __call__(self, x: Tensor, *others: Any) -> Any:
        """Run the module on x (B, C, length) or on another length."""
        is_piece = self.module.training and self.length in (None, x.shape[-1])
        if not (is_piece and self.compiler.works):
            return self.plain(x, *others)
        try:
            return self.compiled(x, *others)
        except torch.OutOfMemoryError:
            raise  # of the batch, not of the compiler
        except Exception as error:  # of dynamo, inductor, Triton, a compiler or a driver
            self.compiler.works = False
            _LOGGER.warning(
                "torch.compile failed, so the network runs as it is (%s); --model.compile=off "
                "spares the attempt.",
                describe_briefly(error),
            )
        return self.plain(x, *others)


def compile_generator(generator: VitsSynthesizer) -> None:
    """Compile the parts of the generator that gain by it, at their next call in training.

    What is random (dropout) and what is saved (the state dict) stays as it was.
    """
    import torch._dynamo

    torch._dynamo.config.recompile_limit = _RECOMPILATIONS
    compiler = Compiler()
    parts: list[tuple[nn.Module, int | None]] = [(generator.dec, generator.config.segment_frames)]
    parts += [(part, None) for part in generator.modules() if isinstance(part, SplineCoupling)]
    for module, length in parts:
        module.forward = CompiledForward(module, length, compiler)


def should_compile(choice: str, device: torch.device, updates: float) -> bool:
    """Return whether to compile: `off`, `on`, or `auto`, on a GPU in a run that repays it."""
    if choice not in ("off", "on", "auto"):
        raise ConfigError(f"--model.compile is {choice!r}: choose off, on or auto.")
    is_worth_it = device.type == "cuda" and updates >= UPDATES_WORTH_COMPILING
    if choice == "off" or (choice == "auto" and not is_worth_it):
        return False
    missing = find_missing(device)
    if missing is not None:
        _LOGGER.warning("--model.compile=%s: nothing is compiled, for want of %s.", choice, missing)
    return missing is None


def find_missing(device: torch.device) -> str | None:
    """What this machine lacks to compile kernels for a device, or None."""
    if device.type != "cuda":
        has_compiler = _has_program("CXX", "g++", "clang++")
        return None if has_compiler else "a C++ compiler (apt-get install g++)"
    if find_spec("triton") is None:
        return "Triton (pip install triton)"
    if not _has_program("CC", "gcc", "clang"):
        return "a C compiler (apt-get install gcc)"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "Python's headers (apt-get install python3-dev)"
    return None


def _has_program(variable: str, *names: str) -> bool:
    """Whether a program is named by a variable of the environment, or found by one of its names."""
    return variable in os.environ or any(shutil.which(name) for name in names)
