"""What a subclass makes: fresh supernets with choices, and models that can be run at all."""

from __future__ import annotations

from typing import Any

from torch import nn

from dnas.core import Architecture, SuperNet
from dnas.testing.contracts.given import MakeBatch, MakeSuperNet
from dnas.testing.contracts.tensors import stray_modules


def check_what_is_made(make_supernet: MakeSuperNet, make_batch: MakeBatch) -> None:
    """``make_supernet`` gives a fresh supernet each time, and torch sees all that it holds."""
    first, second = _made(make_supernet), _made(make_supernet)
    shared = {id(p) for p in first.parameters()} & {id(p) for p in second.parameters()}
    assert not shared, (
        f"make_supernet gives {'the same supernet' if first is second else 'the same parameters'} "
        "each time it is called, so one check would change what the next one sees; make all of it "
        f"anew in every call: lambda: {type(first).__name__}(...)"
    )
    check_modules_are_seen(first, "the supernet")
    assert first.choices, (
        f"{type(first).__name__} has no Choice in its module tree, so there is nothing to search; "
        "make one in __init__ and keep it in an attribute or an nn.ModuleList: "
        'self.width = dnas.Choice("width", {"layer": (8, 16)})'
    )


def _made(make_supernet: MakeSuperNet) -> SuperNet:
    instead = "give a function that makes a new one in every call: lambda: MySuperNet(...)"
    given: Any = make_supernet
    assert not isinstance(given, nn.Module), (
        f"make_supernet is a {type(given).__name__} itself; {instead}"
    )
    net: Any = make_supernet()
    what = f"the class {net.__name__}" if isinstance(net, type) else f"a {type(net).__name__}"
    assert isinstance(net, SuperNet), f"make_supernet() gives {what}, not a SuperNet; {instead}"
    return net


def check_modules_are_seen(module: nn.Module, whose: str) -> None:
    """No module with weights stands in a plain list, tuple or dict."""
    for name, part in stray_modules(module):
        raise AssertionError(
            f"contract 6: {name} of {whose} holds a {type(part).__name__} in a plain list, tuple "
            "or dict, where torch does not see its weights: they are neither trained, saved nor "
            "moved; keep it in an nn.ModuleList or an nn.ModuleDict"
        )


def built(net: SuperNet, architecture: Architecture, *, inherit_weights: bool = False) -> nn.Module:
    """``net.build(...)``.

    Raises:
        AssertionError: It gives no module, or torch refuses what it does.
    """
    call = f"build({architecture}, inherit_weights={inherit_weights})"
    try:
        module: Any = net.build(architecture, inherit_weights=inherit_weights)
    except RuntimeError as error:
        raise AssertionError(
            f"contract 1: {call} fails; a layer that weights are copied into must have the sizes "
            f"of the supernet's: {error}"
        ) from error
    assert module is not None, f"contract 1: {call} gives None; return the model that it makes"
    assert isinstance(module, nn.Module), (
        f"contract 1: {call} gives a {type(module).__name__}, not a torch module"
    )
    return module
