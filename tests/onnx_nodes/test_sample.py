"""A fixed sample of ONNX's own node tests; `make onnx-nodes` runs them all."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.onnx_nodes.cases import NodeCase, collect_from
from tests.onnx_nodes.judge import Form, Outcome, judge
from tests.onnx_nodes.report import is_complete, named_operator

# One passing test for each of 63 operators, most of them drawn at random once with the seed 8: its module in
# onnx.backend.test.case.node and its name, by the form in which it passes. The pooling operators are left out because
# onnx needs seconds to compute their tests, and test_log because its error is 0.998 of the tolerance.
SAMPLE = {
    Form.FED: {
        "attention": "test_attention_3d_diff_heads_sizes",
        "ceil": "test_ceil",
        "clip": "test_clip_default_int8_inbounds",
        "concat": "test_concat_3d_axis_negative_3",
        "constant": "test_constant",
        "cos": "test_cos",
        "depthtospace": "test_depthtospace_crd_mode_example",
        "dropout": "test_dropout_default_old",
        "einsum": "test_einsum_batch_matmul",
        "flatten": "test_flatten_default_axis",
        "floor": "test_floor",
        "gelu": "test_gelu_default_2_expanded",
        "globalmaxpool": "test_globalmaxpool_precomputed",
        "greater": "test_greater_uint32",
        "hardsigmoid": "test_hardsigmoid",
        "hardswish": "test_hardswish_expanded",
        "leakyrelu": "test_leakyrelu",
        "less_or_equal": "test_less_equal_int16_expanded",
        "log": "test_log_example",
        "lrn": "test_lrn",
        "max": "test_max_float64",
        "mean": "test_mean_two_inputs",
        "meanvariancenormalization": "test_mvn_expanded_ver18",
        "mish": "test_mish_expanded",
        "negativeloglikelihoodloss": "test_nllloss_NCd1d2d3d4d5_mean_weight",
        "or_": "test_or_bcast3v2d",
        "reciprocal": "test_reciprocal",
        "relu": "test_relu",
        "rmsnormalization": "test_rms_normalization_4d_axis2_expanded",
        "rotaryembedding": "test_rotary_embedding_interleaved_expanded",
        "selu": "test_selu_example_expanded_ver18",
        "shape": "test_shape_start_1_end_negative_1",
        "sigmoid": "test_sigmoid",
        "sign": "test_sign",
        "sin": "test_sin_example",
        "softmax": "test_softmax_axis_0",
        "softmax_cross_entropy_loss": "test_sce_NCd1d2d3d4d5_none_no_weight_expanded",
        "softsign": "test_softsign",
        "spacetodepth": "test_spacetodepth_example",
        "sqrt": "test_sqrt_example",
        "swiglu": "test_swiglu_float16_expanded",
        "transpose": "test_transpose_all_permutations_5",
        "xor": "test_xor2d",
    },
    Form.INTEGERS_CONSTANT: {
        "center_crop_pad": "test_center_crop_pad_crop_expanded",
        "cumsum": "test_cumsum_2d_negative_axis",
        "gathernd": "test_gathernd_example_float32",
        "mod": "test_mod_uint32",
        "reduce_log_sum": "test_reduce_log_sum_asc_axes_expanded",
        "reducel1": "test_reduce_l1_do_not_keepdims_random_expanded",
        "reducemax": "test_reduce_max_negative_axes_keepdims_example",
        "reducesumsquare": "test_reduce_sum_square_negative_axes_keepdims_example_expanded",
        "slice": "test_slice",
        "squeeze": "test_squeeze",
        "tile": "test_tile",
        "unsqueeze": "test_unsqueeze_two_axes",
    },
    Form.OPERANDS_CONSTANT: {
        "batch_normalization": "test_batchnorm_example",
        "causal_conv_with_state": "test_causal_conv_with_state_silu_expanded",
        "conv": "test_conv_with_strides_padding",
        "gemm": "test_gemm_beta",
        "gru": "test_gru_batchwise",
        "rnn": "test_simple_rnn_defaults",
        "onehot": "test_onehot_with_axis",
        "pad": "test_constant_pad",
    },
}

# Tests that are refused today, by module, and the operator that each refusal names.
REFUSED = {
    "acosh": ("test_acosh_example", "Acosh"),
    "atanh": ("test_atanh", "Atanh"),
    "batch_normalization": ("test_batchnorm_epsilon_training_mode", "BatchNormalization"),
    "bitcast": ("test_bitcast_int32_to_float32", "BitCast"),
    "bernoulli": ("test_bernoulli", "Bernoulli"),
    "bitshift": ("test_bitshift_right_uint8", "BitShift"),
    "bitwiseand": ("test_bitwise_and_ui64_bcast_3v1d", "BitwiseAnd"),
    "bitwisenot": ("test_bitwise_not_4d", "BitwiseNot"),
    "col2im": ("test_col2im_5d", "Col2Im"),
    "cast": ("test_cast_FLOAT_to_DOUBLE", "Cast"),
    "constantofshape": ("test_constantofshape_float_ones", "ConstantOfShape"),
    "convinteger": ("test_convinteger_with_padding", "ConvInteger"),
    "dynamicquantizelinear": ("test_dynamicquantizelinear", "DynamicQuantizeLinear"),
    "gridsample": ("test_gridsample_bilinear_align_corners_1_additional_1", "GridSample"),
    "hannwindow": ("test_hannwindow_symmetric", "HannWindow"),
    "image_decoder": ("test_image_decoder_decode_jpeg_rgb", "ImageDecoder"),
    "lstm": ("test_lstm_with_peepholes", "LSTM"),
    "max": ("test_max_int16", "Max"),
    "nonmaxsuppression": ("test_nonmaxsuppression_suppress_by_IOU", "NonMaxSuppression"),
    "pow": ("test_pow", "Pow"),
    "quantizelinear": ("test_quantizelinear_blocked_symmetric", "QuantizeLinear"),
    "reducemax": ("test_reduce_max_empty_set", "ReduceMax"),
    "roialign": ("test_roialign_aligned_false", "RoiAlign"),
    "shape": ("test_shape_start_greater_than_end", "Shape"),
    "slice": ("test_slice_start_out_of_bounds", "Slice"),
    "stft": ("test_stft", "STFT"),
    "tensorscatter": ("test_tensorscatter_circular", "TensorScatter"),
    "tfidfvectorizer": ("test_tfidfvectorizer_tf_only_bigrams_skip0", "TfIdfVectorizer"),
    "unique": ("test_unique_not_sorted_without_axis", "Unique"),
}

PASSING = [(name, form) for form, tests in SAMPLE.items() for name in tests.values()]


@pytest.fixture(scope="module")
def cases() -> Mapping[str, NodeCase]:
    """The node tests of the sample's modules, by name."""
    modules = {module for tests in SAMPLE.values() for module in tests} | REFUSED.keys()
    return {case.name: case for case in collect_from(sorted(modules))}


@pytest.mark.parametrize(("name", "form"), PASSING)
def test_lower__operator_test_that_passed__still_passes(cases: Mapping[str, NodeCase], name: str, form: Form) -> None:
    result = judge(cases[name])
    assert (result.outcome, result.detail) == (Outcome.PASS, "")
    forms = list(Form)
    assert forms.index(result.form) <= forms.index(form), "more of its inputs have to be constant than before"


@pytest.mark.parametrize(("name", "operator"), REFUSED.values())
def test_lower__operator_that_is_refused__is_named_with_reason_and_remedy(
    cases: Mapping[str, NodeCase], name: str, operator: str
) -> None:
    result = judge(cases[name])
    assert result.outcome in (Outcome.PASS, Outcome.REFUSED), result.detail
    if result.outcome == Outcome.REFUSED:
        assert named_operator(result.detail) == operator
        assert is_complete(result.detail), result.detail
