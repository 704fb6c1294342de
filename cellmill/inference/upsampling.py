"""Convolutions of one pixel brought before the upsampling that they follow.

Bilinear upsampling works within a channel, with weights that add up to 1; a convolution of one
pixel, its bias and a batch normalisation work within a pixel. So these can be done first: the
result is the same but for rounding, and they cost a quarter for each doubling of the sides. Each
head of a PanopticNet ends so.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cellmill import extras

_BILINEAR = ("linear", "linear_onnx")
_AFFINE = ("Add", "Subtract", "Multiply", "Divide")
#: Upsampling so many times the channels would cost more than is saved.
_MOST_CHANNELS = 4
_TO_NCHW = np.array([0, 3, 1, 2])
_TO_NHWC = np.array([0, 2, 3, 1])


def convolve_first(model: Any) -> int:
    """Swap each bilinear upsampling with the convolution of one pixel that alone follows it.

    Args:
        model: an OpenVINO model of fixed shapes, as read from a SavedModel; changed in place.

    Returns:
        How many were swapped.
    """
    swapped = sum(_swap(node) for node in model.get_ordered_ops() if _is_pointwise(node))
    if swapped:
        model.validate_nodes_and_infer_types()
    return swapped


def _swap(convolution: Any) -> bool:
    ops = extras.load("openvino.opset11", "engine openvino")

    turned = convolution.input_value(0).get_node()
    if not _is_transpose(turned, _TO_NCHW):
        return False
    upsampling = turned.input_value(0).get_node()
    if not (_is_upsampling(upsampling) and _reader(upsampling) and _reader(turned)):
        return False
    channels, *sides = list(convolution.get_output_shape(0))[1:]
    if channels > _MOST_CHANNELS * upsampling.get_input_shape(0)[3]:
        return False
    result = ops.transpose(upsampling.input_value(0), _TO_NCHW)
    result = ops.convolution(result, convolution.input_value(1), [1, 1], [0, 0], [0, 0], [1, 1])
    last = convolution
    while affine := _affine_after(last, channels):
        node, place = affine
        operands = [node.input_value(0), node.input_value(1)]
        operands[place] = result.output(0)
        result = getattr(ops, node.get_type_name().lower())(*operands)
        last = node
    kept = upsampling.get_attributes()
    result = ops.interpolate(
        ops.transpose(result, _TO_NHWC),
        np.array(sides),
        kept["mode"],
        "sizes",
        coordinate_transformation_mode=kept["coordinate_transformation_mode"],
        axes=np.array([1, 2]),
    )
    result = ops.transpose(result, _TO_NCHW)
    for reader in last.output(0).get_target_inputs():
        reader.replace_source_output(result.output(0))
    return True


def _is_pointwise(node: Any) -> bool:
    if node.get_type_name() != "Convolution" or node.get_output_partial_shape(0).is_dynamic:
        return False
    has = node.get_attributes()
    is_plain = set(has["strides"]) == {1} and not any((*has["pads_begin"], *has["pads_end"]))
    return is_plain and list(node.get_input_shape(1))[2:] == [1, 1]


def _is_upsampling(node: Any) -> bool:
    if node.get_type_name() != "Interpolate" or node.get_input_partial_shape(0).is_dynamic:
        return False
    has, before, after = node.get_attributes(), node.get_input_shape(0), node.get_output_shape(0)
    return (
        has["mode"] in _BILINEAR
        and has["coordinate_transformation_mode"] != "tf_half_pixel_for_nn"
        and not has["antialias"]
        and not any((*has["pads_begin"], *has["pads_end"]))
        and (before[0], before[3]) == (after[0], after[3])
        and (after[1] >= before[1] and after[2] >= before[2])
        and math.prod(after) > math.prod(before)
    )


def _affine_after(node: Any, channels: int) -> tuple[Any, int] | None:
    """The node that alone reads this one, if it scales or shifts channels, and by which input."""
    reader = _reader(node)
    if reader is None or reader.get_node().get_type_name() not in _AFFINE:
        return None
    following, place = reader.get_node(), reader.get_index()
    other = following.input_value(1 - place).get_node()
    is_constant = other.get_type_name() == "Constant"
    if not is_constant or list(other.get_output_shape(0))[-3:] != [channels, 1, 1]:
        return None
    if following.get_type_name() == "Divide" and place == 1:
        return None
    return following, place


def _reader(node: Any) -> Any:
    """The one input that reads a node; None if there are several."""
    readers = list(node.output(0).get_target_inputs())
    return readers[0] if len(readers) == 1 else None


def _is_transpose(node: Any, order: np.ndarray) -> bool:
    if node.get_type_name() != "Transpose":
        return False
    given = node.input_value(1).get_node()
    return given.get_type_name() == "Constant" and np.array_equal(given.get_data(), order)
