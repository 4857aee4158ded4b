"""A batch of images on its way through an ``nn.Sequential``, in torch alone: recorded and exported is the same fold."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

from cnnclf.architectures._modules import Residual
from cnnclf.architectures._summary import list_layers

if TYPE_CHECKING:
    from cnnclf.inspection._trace import Step


@dataclass(frozen=True, eq=False)
class Pass:
    """What came to one layer and what left it, a batch of images, and what happened inside a block."""

    name: str
    layer: nn.Module
    input: torch.Tensor
    output: torch.Tensor
    steps: tuple["Pass", ...] = ()
    n_multiply_adds: int = 0


S = TypeVar("S", "Step", Pass)


@dataclass(frozen=True)
class How:
    """How a layer is applied, and what gives the multiply-adds until now."""

    apply: Callable[[nn.Module, Any], Any] = lambda layer, x: layer(x)
    count: Callable[[], int] = lambda: 0


PLAINLY = How()


def fold_to_softmax(module: nn.Module, x: torch.Tensor, how: How = PLAINLY) -> tuple[Pass, ...]:
    """Send a batch through a network and a softmax."""
    passes, logits = fold(module, x, "", how)
    softmax = nn.Softmax(dim=1)
    name = unused("softmax", [each.name for each in passes])
    return *passes, Pass(name, softmax, snapshot(logits), softmax(logits))


def fold(module: nn.Module, x: Any, prefix: str, how: How) -> tuple[tuple[Pass, ...], Any]:
    """Send a batch through the layers of an ``nn.Sequential``: what each one did, and what leaves the last."""
    passes = []
    before = snapshot(x)
    for name, layer in list_layers(module):
        counted = how.count()
        inside, x = enter(prefix + name, layer, x, how)
        after = snapshot(x)
        passes.append(Pass(prefix + name, layer, before, after, inside, how.count() - counted))
        before = after
    return tuple(passes), x


def enter(name: str, layer: nn.Module, x: Any, how: How) -> tuple[tuple[Pass, ...], Any]:
    """Send a batch through one layer: what happened inside, if it is a block, and what leaves it."""
    if is_forward_of(layer, nn.Sequential):
        return fold(layer, x, f"{name}.", how)
    if isinstance(layer, Residual) and is_forward_of(layer, Residual):
        before = snapshot(x)
        shortcut = nn.Identity() if layer.shortcut is None else layer.shortcut
        short_name = unused(f"{name}.shortcut", [f"{name}.{inner}" for inner, _ in list_layers(layer.body)])
        counted = how.count()
        inside, short = enter(short_name, shortcut, x, how)  # before the body, as in Residual.forward
        counted = how.count() - counted
        body, y = fold(layer.body, x, f"{name}.", how)
        return (*body, Pass(short_name, shortcut, before, snapshot(short), inside, counted)), y + short
    return (), how.apply(layer, x)


def is_forward_of(layer: nn.Module, kind: type[nn.Module]) -> bool:
    """Tell whether a layer computes what its class in torch computes, not what a subclass makes of it."""
    return getattr(layer.forward, "__func__", None) is kind.forward


def snapshot(x: Any) -> torch.Tensor:
    """Copy a tensor before a layer may write over it; of several, as recurrent layers give, the first."""
    while not isinstance(x, torch.Tensor):
        x = x[0]
    return x.clone()


def unused(name: str, taken: Collection[str]) -> str:
    """Lengthen a name until nothing else has it."""
    while name in taken:
        name += "_"
    return name


def in_order(steps: tuple[S, ...]) -> Iterator[S]:
    """Give every step in the order of computation, a block after what is inside it."""
    for step in steps:
        yield from in_order(step.steps)
        yield step
