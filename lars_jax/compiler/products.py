"""Operations of convolutions and matrix products, told from their shapes."""

import math
import re
from collections.abc import Sequence

from lars_jax.compiler.hlo import Array, Instruction

PRODUCTS = frozenset({"convolution", "dot", "ragged-dot"})
"""Instructions that are one."""

LABELS = re.compile(r"dim_labels=(\w+)_(\w+)->(\w+)")
CONTRACTED = re.compile(
    r'lhs_contracting_(?:dims=\{|dimensions":\[)(?P<axes>[\d,"]*)[\]}]'
)


def is_product(one: Instruction) -> bool:
    """Return whether it is a convolution or a matrix product.

    >>> from lars_jax.compiler.hlo import parse_instruction
    >>> line = '%c = f32[2] custom-call(%a, %b), custom_call_target="__cublas$gemm"'
    >>> is_product(parse_instruction(line))
    True
    """
    return one.opcode in PRODUCTS or "conv" in one.target or "gemm" in one.target


def operations(one: Instruction, operands: Sequence[Array]) -> int:
    """Return the operations of a product: two for each multiplication.

    Of a convolution 2 B H' W' F k^2 C, with what it multiplies of its padding.

    Args:
        one: the product.
        operands: types of the arrays that it is given.

    >>> from lars_jax.compiler.hlo import parse_instruction
    >>> line = "%d = f32[5,7] dot(%a, %b), lhs_contracting_dims={1}"
    >>> operands = Array("f32", (5, 11)), Array("f32", (11, 7))
    >>> operations(parse_instruction(line), operands) == 2 * 5 * 7 * 11
    True
    """
    if len(operands) < 2 or not one.results:
        return 0
    first, second, result = *operands[:2], one.results[0]
    if labels := LABELS.search(one.attributes):
        # A gradient is labelled as the convolution that it belongs to.
        kernel, images = second, result
        if "BackwardInput" in one.target:
            images = first
        elif "BackwardFilter" in one.target:
            kernel, images = result, second
        features = kernel.shape[labels[2].index("o")]
        return 2 * math.prod(images.shape) * math.prod(kernel.shape) // features
    if contracted := CONTRACTED.search(one.attributes):
        axes = map(int, re.findall(r"\d+", contracted["axes"]))
        return 2 * math.prod(result.shape) * math.prod(first.shape[a] for a in axes)
    return 0
