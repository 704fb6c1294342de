"""A network of the user's that knows the target domain, through which its discriminator looks too.

The network, a segmenter of membranes say, sees what the discriminator is shown; what it gives
stands beside the plane as further channels, as in transfer_em (2021). It is frozen: nothing of it
is trained, but gradients pass through it to the generator. So it has to be a TensorFlow SavedModel
of planes of one channel, whose preparation of images is linear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cellmill import extras
from cellmill.errors import BadInput
from cellmill.inference.engines import load_network
from cellmill.models.fetch import FetchedModel
from cellmill.models.networks import FORMS, network_digest, network_form
from cellmill.preprocessing.normalisation import normalisation_of
from cellmill.style_transfer.network import Levels

#: Planes that the network is given at once where it is measured.
_AT_ONCE = 4


@dataclass(frozen=True)
class Prior:
    """A frozen network, called with standardised planes of the target domain.

    Args:
        network: as TensorFlow's engine loads it; it owns the variables.
        heads: of its card.
        scale: grey values as it takes them are standardised ones times the first plus the second.
        alignment: planes are mirrored at their ends to multiples of it.
        channels: that it gives.
        digest: of its files.
        means: of what it gives for the target domain, a channel each.
        deviations: of the same; values are brought to mean 0 and deviation 1.
    """

    network: Any
    heads: tuple[Any, ...]
    scale: tuple[float, float]
    alignment: int
    channels: int
    digest: str
    means: np.ndarray
    deviations: np.ndarray

    def __call__(self, planes: Any) -> Any:
        """What it gives for planes `(N, n, n, 1)`: `(N, n, n, channels)`; 0 where it sees nothing.

        Gradients pass to the planes.
        """
        return (self._found(planes) - self.means) / self.deviations * self._seen(planes.shape[1])

    def _found(self, planes: Any) -> Any:
        tf = extras.load("tensorflow", "style transfer")
        side = planes.shape[1]
        given = planes * self.scale[0] + self.scale[1]
        more = -side % self.alignment
        given = tf.pad(given, ((0, 0), (0, more), (0, more), (0, 0)), "REFLECT")
        found = []
        for head, values in zip(self.heads, self.network.function(given), strict=True):
            for axis in (1, 2):
                values = tf.repeat(values, head.stride, axis)
            margin = head.margin
            edges = ((0, 0), (margin, margin), (margin, margin), (0, 0))
            found.append(tf.pad(values, edges)[:, :side, :side])
        return tf.concat(found, -1)

    def _seen(self, side: int) -> np.ndarray:
        """`(n, n, channels)`: 1 where a head has values, else 0."""
        seen = np.zeros((side, side, self.channels), np.float32)
        channel = 0
        for head in self.heads:
            inner = slice(head.margin, side - head.margin)
            seen[inner, inner, channel : channel + head.channels] = 1
            channel += head.channels
        return seen


def load_prior(
    fetched: FetchedModel, levels: Levels, planes: np.ndarray, *, trusted: bool = False
) -> Prior:
    """Load a network to look through.

    Args:
        fetched: the network and its card.
        levels: mean and standard deviation of the target domain.
        planes: `(N, n, n)` uint8 of it, as large as what the discriminator is shown.
        trusted: whether the network may do more than compute.

    Raises:
        BadInput: it is none of TensorFlow's, sees volumes, several channels or planes of another
            size, prepares images by more than a line, or no gradient passes through it.
    """
    tf = extras.load("tensorflow", "style transfer")
    card, what = fetched.card, f"prior '{fetched.origin}'"
    alignment = int(np.lcm(card.alignment, card.tiling.alignment))
    _check(fetched, planes.shape[1], alignment, what)
    # The training computes as fast as it did; what an engine sets holds for the process.
    fast = tf.config.experimental.tensor_float_32_execution_enabled()
    network: Any = load_network(fetched.folder, card, engine="tensorflow", trusted=trusted)
    tf.config.experimental.enable_tensor_float_32_execution(fast)
    _check_shape(
        network.function.inputs[0].shape, -(-planes.shape[1] // alignment) * alignment, what
    )
    scale = levels[1], levels[0]
    if card.preprocessing.method == "percentile":
        image = planes.reshape(-1, planes.shape[2], 1)
        (channel,) = normalisation_of(image, card.preprocessing).channels
        span = channel.high - channel.low or 1.0
        scale = levels[1] / span, (levels[0] - channel.low) / span
    channels = sum(head.channels for head in card.heads)
    one, none = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    digest = network_digest(fetched.folder)
    raw = Prior(network, card.heads, scale, alignment, channels, digest, none, one)
    standardised = ((planes - levels[0]) / levels[1])[..., None].astype(np.float32)
    found = np.concatenate(
        [
            np.asarray(raw(tf.constant(standardised[n : n + _AT_ONCE])))
            for n in range(0, len(planes), _AT_ONCE)
        ]
    )
    _check_gradient(raw, standardised[:1], what)
    inside = raw._seen(planes.shape[1]) > 0
    values = [found[:, inside[..., n], n] for n in range(channels)]
    means = np.array([each.mean() for each in values], np.float32)
    deviations = np.array([max(each.std(), 1e-6) for each in values], np.float32)
    return Prior(network, card.heads, scale, alignment, channels, digest, means, deviations)


def _check(fetched: FetchedModel, side: int, alignment: int, what: str) -> None:
    card = fetched.card
    if not card.heads:
        raise BadInput(what, expected="a network", found="a card without one")
    form = network_form(fetched.folder)
    if form != "savedmodel":
        expected = "a TensorFlow SavedModel, through which gradients pass"
        raise BadInput(what, expected=expected, found=FORMS[form].title)
    if card.input.sees_volumes or len(card.input.channels) != 1:
        expected = "a network of planes of one channel"
        found = "one of volumes" if card.input.sees_volumes else f"{len(card.input.channels)}"
        raise BadInput(what, expected=expected, found=found)
    method = card.preprocessing.method
    if method not in ("none", "percentile"):
        expected = "preprocessing 'none' or 'percentile', through which gradients pass"
        raise BadInput(what, expected=expected, found=f"'{method}'")
    margin = max(head.margin for head in card.heads)
    if 2 * margin >= side or -side % alignment >= side:
        expected = f"a network that gives something for planes of {side} px (a larger crop)"
        raise BadInput(what, expected=expected, found=f"margin {margin}, alignment {alignment}")


def _check_shape(shape: Any, side: int, what: str) -> None:
    """What a network's signature fixes has to be what it will be given."""
    fixed = shape.as_list() if shape.rank is not None else [None] * 4
    if fixed[0] is not None or any(n not in (None, side) for n in fixed[1:3]):
        expected = f"a network that takes any number of planes of {side} × {side}"
        raise BadInput(what, expected=expected, found=f"{tuple(fixed)}")


def _check_gradient(prior: Prior, planes: np.ndarray, what: str) -> None:
    tf = extras.load("tensorflow", "style transfer")
    given, gradient, found = tf.constant(planes), None, "none"
    try:
        with tf.GradientTape() as tape:
            tape.watch(given)
            total = tf.reduce_sum(prior(given))
        gradient = tape.gradient(total, given)
    except (LookupError, ValueError, tf.errors.OpError) as error:
        found = str(error).splitlines()[0]
    if gradient is None or not np.isfinite(gradient).all():
        raise BadInput(what, expected="a network through which gradients pass", found=found)
