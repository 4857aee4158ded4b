"""Named architectures: ``name → build(image_shape, n_classes) → nn.Sequential``, and each one's facts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnnclf._utils.text import did_you_mean, quote
from cnnclf.architectures._layers import (
    GELU,
    ArchitectureFunction,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalPool,
    ImageShape,
    Layer,
    Norm,
    Pool,
    ReLU,
    Residual,
    Stage,
)

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Architecture:
    """One row of the table: the layers before the output layer, their source and size.

    Attributes
    ----------
    layers : tuple of Layer
        The layers between the pixels and the output layer.
    source : str
        The origin of the architecture.
    n_parameters : int
        Trainable parameters for 1×28×28 images and 10 classes.
    """

    layers: tuple[Layer, ...]
    source: str
    n_parameters: int

    def build(self, image_shape: ImageShape, n_classes: int) -> "nn.Sequential":
        """Build the network for images of ``image_shape`` (channels, height, width) with ``n_classes`` logits."""
        from cnnclf.architectures._build import build_sequential  # torch, which the table alone does not need

        return build_sequential(self.layers, image_shape, n_classes)


def padded_stage(channels: int) -> tuple[Layer, ...]:
    """Return two padded convolutions, with a pooling behind the first one."""
    return (
        *(Conv(channels, padding="same", bias=False), Pool(), Norm(), ReLU()),
        *(Conv(channels, padding="same", bias=False), Norm(), ReLU()),
    )


def residual_stage(channels: int) -> tuple[Layer, ...]:
    """Return a padded convolution with a pooling behind it, and two more in a residual block.

    Source: He et al. 2016, Deep residual learning for image recognition.
    """
    block = Residual((Conv(channels, padding="same", bias=False), Norm(), GELU()) * 2)
    return (Conv(channels, padding="same", bias=False), Pool(), Norm(), GELU(), block)


# The first two blocks of four networks
TWO_BLOCKS = (*(Conv(32), ReLU(), Pool()), *(Conv(64), ReLU(), Pool()))

# The order inside our own blocks is convolution, pool, norm, ReLU: pooling first quarters the work of
# the other two, and a maximum commutes with ReLU.
ARCHITECTURES: dict[str, Architecture] = {
    "general": Architecture(
        layers=(
            *padded_stage(24),
            Stage((*padded_stage(48), Stage(padded_stage(96), smallest=2)), smallest=4),
            *(Stage(padded_stage(96), smallest=8) for _ in range(3)),
            *(GlobalPool("max"), Flatten()),
        ),
        source="cnnclf: any images; a stage for each halving of their size, and global pooling, so that the number of "
        "parameters does not grow with the area of the image",
        n_parameters=162_562,
    ),
    "residual": Architecture(
        layers=(
            # Most of the work is where maps are small: on all pixels there is one convolution.
            *(Conv(32, padding="same", bias=False), Pool(), Norm(), GELU()),
            Stage((*residual_stage(64), Stage(residual_stage(112), smallest=2)), smallest=4),
            *(Stage(residual_stage(112), smallest=8) for _ in range(3)),
            *(GlobalPool("mean"), Flatten()),
        ),
        source="cnnclf: photographs of things, and clothes; residual blocks where maps are small, and global pooling",
        n_parameters=385_002,
    ),
    "compact": Architecture(
        layers=(
            *(Conv(16, kernel=5, bias=False), Pool(), Norm(), ReLU()),
            *(Conv(32, kernel=5, bias=False), Pool(), Norm(), ReLU()),
            *(Flatten(), Dense(256), ReLU()),
        ),
        source="cnnclf: the fewest CPU seconds to 99 % on MNIST",
        n_parameters=147_194,
    ),
    "accurate": Architecture(
        layers=(
            *(Conv(32, kernel=5, bias=False), Norm(), ReLU()),
            *(Conv(48, kernel=5, stride=2, padding=2, bias=False), Norm(), ReLU()),
            *(Conv(64, kernel=5, bias=False), Norm(), ReLU()),
            *(Conv(96, kernel=5, bias=False), Norm(), ReLU()),
            *(Flatten(), Dropout(0.3)),
        ),
        source="cnnclf: the most accurate for its compute; 5×5 throughout, and a stride of 2 instead of pooling",
        n_parameters=285_450,
    ),
    "tiny": Architecture(
        layers=(
            *(Conv(10, bias=False), Norm(), ReLU()),
            *(Conv(14, bias=False), Pool(), Norm(), ReLU()),
            *(Conv(16, bias=False), Norm(), ReLU()),
            *(Conv(16, bias=False), Pool(), Norm(), ReLU(), Flatten()),
        ),
        source="cnnclf: fewer than 10,000 parameters",
        n_parameters=8_352,
    ),
    "lenet5": Architecture(
        layers=(
            *(Conv(6, kernel=5, padding=2), ReLU(), Pool()),
            *(Conv(16, kernel=5), ReLU(), Pool()),
            *(Flatten(), Dense(120), ReLU(), Dense(84), ReLU()),
        ),
        source="LeCun et al. 1998, Gradient-based learning applied to document recognition, fig. 2; "
        "with ReLU, max pooling and full connections",
        n_parameters=61_706,
    ),
    "keras_mnist": Architecture(
        layers=(*TWO_BLOCKS, Flatten(), Dropout(0.5)),
        source="Keras code example “Simple MNIST convnet”",
        n_parameters=34_826,
    ),
    "pytorch_mnist": Architecture(
        layers=(
            *(Conv(32), ReLU()),
            *(Conv(64), ReLU(), Pool(), Dropout(0.25)),
            *(Flatten(), Dense(128), ReLU(), Dropout(0.5)),
        ),
        source="PyTorch examples, mnist/main.py",
        n_parameters=1_199_882,
    ),
    "pool3_head1": Architecture(
        layers=(*TWO_BLOCKS, *(Conv(128), ReLU(), Pool()), *(Flatten(), Dense(128), ReLU(), Dropout(0.3))),
        source="course net: three convolution–pool blocks, one hidden dense layer",
        n_parameters=110_474,
    ),
    "pool3_head3": Architecture(
        layers=(
            *TWO_BLOCKS,
            *(Conv(128), ReLU(), Pool()),
            *(Flatten(), Dense(128), ReLU(), Dropout(0.3)),
            *(Dense(64), ReLU(), Dropout(0.3)),
            *(Dense(32), ReLU(), Dropout(0.3)),
        ),
        source="course net: three convolution–pool blocks, three hidden dense layers",
        n_parameters=119_850,
    ),
    "pool2_conv3": Architecture(
        layers=(*TWO_BLOCKS, *(Conv(64), ReLU()), *(Flatten(), Dense(64), ReLU())),
        source="course net: two convolution–pool blocks, a third convolution, one hidden dense layer",
        n_parameters=93_322,
    ),
}


def list_architectures() -> list[str]:
    """List the names that ``CNNClassifier(architecture=...)`` knows.

    Returns
    -------
    list of str
        First the one that ``architecture="auto"`` chooses.

    Examples
    --------
    >>> from cnnclf import list_architectures
    >>> list_architectures()[0]
    'general'
    """
    return list(ARCHITECTURES)


def find_architecture(name: str) -> Architecture:
    """Return an architecture by name.

    Parameters
    ----------
    name : str
        One of :func:`list_architectures`.

    Returns
    -------
    Architecture
        Its layers and facts.

    Raises
    ------
    ValueError
        If the name is unknown; the error suggests the nearest known one.

    Examples
    --------
    >>> find_architecture("lenet5").n_parameters
    61706
    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    names = ["auto", *ARCHITECTURES]  # "auto" is what may be asked for, though it is resolved before
    raise ValueError(
        f"Expected architecture to be one of {', '.join(names)}, or a function (image_shape, n_classes) -> "
        f"nn.Module; got {quote(name)}.{did_you_mean(name, names)}"
    )


def source_of(architecture: str | ArchitectureFunction) -> str:
    """Return the origin of a named architecture; an empty text for a function."""
    return find_architecture(architecture).source if isinstance(architecture, str) else ""
