"""Triton's interpreter without what it does again and again: most of its time.

Before a kernel runs it lays out `triton.language` anew, and then once more for each call of a
function inside of the kernel. The kernel's own layout serves its functions as well, and that of
Triton's own functions stays from the first of their calls on.
"""

from __future__ import annotations

from typing import Any

OURS = "tl"  # what kernels call triton.language; Triton's own functions have `core`


def quick_interpreter() -> None:
    """From here on; nothing where Triton is not installed."""
    try:
        from triton.runtime.interpreter import InterpretedFunction
    except ImportError:
        return
    laid_out = InterpretedFunction.__call__
    if laid_out.__name__ == "called":
        return
    first = True

    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal first
        if OURS in self.fn.__globals__ or not first:
            return self.rewrite()(*args, **kwargs)
        first = False
        return laid_out(self, *args, **kwargs)

    InterpretedFunction.__call__ = called
