"""liger-kernel's norms, feed-forward and rotary embedding in place of transformers' own, for a while, on one model.

Hsu et al., 2024, arXiv:2410.10989. Each is one kernel where transformers' code launches five to ten.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from inspect import signature
from typing import Any

from spelling_transfer.models.load import base_of

_LOGGER = logging.getLogger(__name__)
_WANTED = {"rope": True, "rms_norm": True, "swiglu": True, "cross_entropy": False, "fused_linear_cross_entropy": False}


@contextmanager
def fused_kernels(model: Any, device: str) -> Iterator[None]:
    """Runs a model on CUDA with liger's kernels inside the block; without them, or on another device, as it is.

    liger changes transformers' module for good; here it gets back what it had.

    Args:
        model: The model, with or without an adapter.
        device: Where it is to run.
    """
    base = base_of(model)
    apply = _liger_for(base.config.model_type) if device == "cuda" else None
    if apply is None:
        yield
        return
    namespace = vars(sys.modules[type(base).__module__])
    before = dict(namespace)
    attributes = {module: set(vars(module)) for module in base.modules()}
    wanted = {name: value for name, value in _WANTED.items() if name in signature(apply).parameters}
    try:
        apply(model=base, **wanted)
        yield
    finally:
        namespace.update(before)
        for module, names in attributes.items():
            for name in set(vars(module)) - names:
                delattr(module, name)


@cache
def _liger_for(kind: str) -> Any:
    # It warns of each of its kernels that is for another machine than this one.
    logging.getLogger("liger_kernel").setLevel(logging.ERROR)
    try:
        functions = import_module("liger_kernel.transformers.monkey_patch").MODEL_TYPE_TO_APPLY_LIGER_FN
    except ImportError:
        _LOGGER.info("liger-kernel is not installed: steps take about half as long again. pip install liger-kernel")
        return None
    except AttributeError:
        _LOGGER.warning("liger-kernel has an unsupported version (0.8 is supported): its kernels are not used.")
        return None
    if kind not in functions:
        _LOGGER.info("liger-kernel has no kernels for %s: steps take longer than they could.", kind)
    return functions.get(kind)
