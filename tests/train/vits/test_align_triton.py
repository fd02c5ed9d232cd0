"""The kernel for GPUs, as far as it can be tested without one: its results and its machine code."""

from __future__ import annotations

import json
import logging
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from piper.train.vits import align

PROBLEMS = Path(__file__).with_name("align_problems.py")


def count_different(sizes: list[tuple[int, int]]) -> int:
    result = subprocess.run(
        [sys.executable, str(PROBLEMS), json.dumps(sizes)],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return int(result.stdout)


@pytest.mark.long
def test_kernel_equals_the_plain_search_on_a_thousand_problems() -> None:
    draw = random.Random(1)
    sizes = [(1, 1), (1, 5), (2, 9), (9, 1), (9, 9)]
    sizes += [(draw.randint(1, 14), draw.randint(1, 10)) for _ in range(120)]
    assert len(sizes) * 8 == 1000
    assert count_different(sizes) == 0


@pytest.mark.long
def test_kernel_equals_the_plain_search_on_long_utterances() -> None:
    assert count_different([(700, 300), (520, 512), (300, 1100)]) == 0


@pytest.mark.long
@pytest.mark.parametrize("capability", [75, 80, 90, 120])
def test_kernel_compiles_for_graphics_cards(capability: int) -> None:
    """Down to machine code, which needs no card; no number is kept outside registers."""
    from triton import compile as compile_kernel
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from piper.train.vits import align_triton

    kernel = align_triton.search_one_utterance
    for block in (align_triton.SMALLEST_BLOCK, 1024, 2048, align_triton.LARGEST_BLOCK):
        types = ["*fp32", "*i32", "*i32", "*i8", "*fp32", "i32", "i32", "constexpr"]
        signature = dict(zip(kernel.arg_names, types, strict=True))
        source = ASTSource(kernel, signature, constexprs={(len(types) - 1,): block})
        compiled = compile_kernel(
            source,
            target=GPUTarget("cuda", capability, 32),
            options={"num_warps": align_triton.count_warps(block)},
        )
        assert compiled.asm["cubin"]
        assert ".local" not in compiled.asm["ptx"]
        # once a frame on each side of the exchange of scores, once before the decisions are read
        assert compiled.asm["ptx"].count("bar.sync") == 3


def test_without_triton_or_a_card_the_plain_search_serves(caplog: pytest.LogCaptureFixture) -> None:
    """No Triton in the usual environment, no driver in the long tests': one line either way."""
    align.find_kernel.cache_clear()
    align._say_why_plain.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert align.find_kernel(torch.device("cpu"), 128) is None
        assert align.find_kernel(torch.device("cpu"), 256) is None
    assert len(caplog.records) == 1
    assert "apt-get install gcc" in caplog.text


def test_cpu_never_asks_for_the_kernel(caplog: pytest.LogCaptureFixture) -> None:
    align.find_kernel.cache_clear()
    align.find_alignment(torch.zeros(1, 3, 2), torch.tensor([3]), torch.tensor([2]))
    assert align.find_kernel.cache_info().currsize == 0
    assert not caplog.records
