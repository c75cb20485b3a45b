import pytest

from lars_jax.compiler.hlo import Array, parse_instruction
from lars_jax.compiler.products import is_product, operations

LABELS = "window={size=3x3 stride=2x2 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f"
# 8 images of 6 x 6 x 5 give 3 x 3 x 7: each of 504 numbers takes 45 products.
IMAGES, KERNEL, RESULT = (
    Array("bf16", shape) for shape in ((8, 6, 6, 5), (7, 3, 3, 5), (8, 3, 3, 7))
)
OPERATIONS = 2 * 504 * 45


def parsed(line):
    one = parse_instruction(line)
    assert one is not None
    return one


@pytest.mark.parametrize(
    ("kind", "result", "operands"),
    [
        ("Forward", "8,3,3,7", (IMAGES, KERNEL)),
        ("BackwardInput", "8,6,6,5", (RESULT, KERNEL)),
        ("BackwardFilter", "7,3,3,5", (IMAGES, RESULT)),
    ],
)
def test_a_convolution_and_its_gradients_take_as_many_operations(
    kind, result, operands
):
    line = (
        f"  %c = (bf16[{result}]{{3,2,1,0}}, u8[0]{{0}}) custom-call(%a, %b), "
        f"{LABELS}, "
        f'custom_call_target="__cudnn$conv{kind}"'
    )
    one = parsed(line)
    assert is_product(one)
    assert operations(one, operands) == OPERATIONS


def test_groups_share_the_channels():
    line = f"  %c = bf16[8,3,3,6] convolution(%a, %b), {LABELS}, feature_group_count=2"
    images, kernel = Array("bf16", (8, 6, 6, 4)), Array("bf16", (6, 3, 3, 2))
    assert operations(parsed(line), (images, kernel)) == 2 * 432 * 18


def test_a_product_of_a_library_names_its_axes_as_text():
    line = (
        '  %g = f32[5,7] custom-call(%a, %b), custom_call_target="__cublas$gemm", '
        'backend_config={"dot_dimension_numbers":{"lhs_contracting_dimensions":["0"]}}'
    )
    operands = Array("f32", (11, 5)), Array("f32", (11, 7))
    assert operations(parsed(line), operands) == 2 * 5 * 7 * 11


def test_what_is_no_product_has_no_operations():
    one = parsed("  %s = f32[2] add(%a, %b)")
    assert not is_product(one)
    assert operations(one, (Array("f32", (2,)),) * 2) == 0
