#!/usr/bin/env python3
"""Make the cases of `tests/microsoft`: ONNX Runtime's own operators, and those of ONNX whose node tests are older than their
definition, each with inputs and what ONNX Runtime computes.

    microsoft_cases.py [NAME ...]

Needs onnx, onnxruntime and numpy of the versions in `xtask/src/python.rs`. The folders have the layout of ONNX's test
data. Where ONNX Runtime's result is not what the operator's documentation says, the function of the case says so.
"""

import os
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "microsoft")
MICROSOFT = "com.microsoft"
random = np.random.default_rng(1)


def floats(*shape):
    return random.standard_normal(shape).astype(np.float32)


def codes(*shape, low=0, high=256, dtype=np.uint8):
    return random.integers(low, high, shape).astype(dtype)


def scalar(value, dtype=np.float32):
    return np.array(value, dtype)


def nibbles(values, data_type):
    """A tensor of 4-bit integers."""
    flat = values.ravel().astype(np.uint8) & 15
    packed = (flat[0::2] | flat[1::2] << 4).astype(np.uint8)
    return TensorProto(data_type=data_type, dims=values.shape, raw_data=packed.tobytes())


def session(model):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def model_of(op, inputs, outputs, domain, attributes, opset=21):
    """`inputs`: pairs of "x" or "w" and an array, or None; arrays of "w" become weights."""
    names = ["" if given is None else f"{given[0]}{i}" for i, given in enumerate(inputs)]
    node = helper.make_node(op, names, [f"y{i}" if wanted else "" for i, wanted in enumerate(outputs)],
                            domain=domain, **attributes)
    declared, weights, fed = [], [], {}
    for name, given in zip(names, inputs):
        if given is None:
            continue
        kind, value = given
        if kind == "w":
            tensor = value if isinstance(value, TensorProto) else numpy_helper.from_array(value)
            tensor.name = name
            weights.append(tensor)
        else:
            data_type = helper.np_dtype_to_tensor_dtype(value.dtype)
            declared.append(helper.make_tensor_value_info(name, data_type, value.shape))
            fed[name] = value
    results = [helper.make_tensor_value_info(f"y{i}", kind, None) for i, kind in enumerate(outputs) if kind]
    graph = helper.make_graph([node], "case", declared, results, weights)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10), fed


F, U8, I8, I32 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32


def write(name, model, fed, results):
    data = os.path.join(FOLDER, name, "test_data_set_0")
    os.makedirs(data, exist_ok=True)
    with open(os.path.join(FOLDER, name, "model.onnx"), "wb") as file:
        file.write(model.SerializeToString())
    for kind, values in (("input", fed.values()), ("output", results)):
        for index, value in enumerate(values):
            with open(os.path.join(data, f"{kind}_{index}.pb"), "wb") as file:
                file.write(numpy_helper.from_array(value).SerializeToString())


def case(name, op, inputs, outputs=(F,), domain=MICROSOFT, expected=None, near=None, opset=21, **attributes):
    """A case. `expected` takes the place of ONNX Runtime's results, which must then be as `near` to it as told."""
    if len(sys.argv) > 1 and name not in sys.argv[1:]:
        return
    model, fed = model_of(op, inputs, outputs, domain, attributes, opset)
    if near != "unsupported":
        results = session(model).run(None, fed)
        if expected is not None:
            for got, wanted in zip(results, expected):
                distance = np.abs(got.astype(np.float64) - wanted).max()
                assert distance <= near, f"{name}: ONNX Runtime is {distance} away"
    write(name, model, fed, expected if expected is not None else results)
    print(name)


def x(value):
    return ("x", value)


def w(value):
    return ("w", value)


# ---- attention

def attentions():
    batch, length, hidden, heads = 2, 5, 8, 2
    x8, scale = codes(batch, length, hidden), scalar(0.02)
    bias = floats(3 * hidden) * 0.1
    w8, zero = codes(hidden, 3 * hidden), scalar(120, np.uint8)
    case("q_attention", "QAttention",
         [x(x8), w(w8), w(bias), w(scale), w(scalar(0.01)), None, w(zero), w(scalar(131, np.uint8))], num_heads=heads)
    signed = codes(hidden, 3 * hidden, low=-128, high=128, dtype=np.int8)
    columns = random.uniform(0.005, 0.02, 3 * hidden).astype(np.float32)
    lengths = np.array([3, 5], np.int32)
    case("q_attention_columns", "QAttention",
         [x(x8), w(signed), w(bias), w(scale), w(columns), x(lengths), w(zero), w(np.zeros(3 * hidden, np.int8))],
         num_heads=heads, unidirectional=1)
    past = floats(2, batch, heads, 3, hidden // heads)
    case("q_attention_past", "QAttention",
         [x(x8), w(signed), w(bias), w(scale), w(scalar(0.01)), None, w(zero), w(scalar(3, np.int8)), x(past)],
         outputs=(F, F), num_heads=heads, unidirectional=1)
    q = floats(batch, length, hidden)
    case("attention", "Attention", [x(q), w(floats(hidden, 3 * hidden)), w(bias), x(lengths)], num_heads=heads)
    case("multi_head_attention", "MultiHeadAttention",
         [x(q), x(floats(batch, 4, hidden)), x(floats(batch, 4, hidden)), w(bias)], num_heads=heads)
    weights, ranges = w(floats(hidden, 3 * hidden)), x(np.array([3, 5, 1, 2], np.int32))
    case("attention_ranges", "Attention", [x(q), weights, w(bias), ranges], num_heads=heads)
    case("attention_ranges_causal", "Attention", [x(q), weights, w(bias), ranges], num_heads=heads, unidirectional=1)
    longer = x(np.array([7, 8, 0, 2], np.int32))
    case("attention_ranges_past", "Attention", [x(q), weights, w(bias), longer, x(past)], outputs=(F, F), num_heads=heads,
         unidirectional=1)
    key, value = floats(batch, 4, hidden), floats(batch, 4, hidden)
    case("multi_head_attention_lengths", "MultiHeadAttention",
         [x(q), x(key), x(value), None, x(np.array([4, 2], np.int32))], num_heads=heads, mask_filter_value=-99.0)
    packed_operands(q, key, value, bias, heads)


def packed_operands(q, key, value, bias, heads):
    """Packed operands have kernels for GPUs only; the results are those of the same operands apart."""
    def apart(*operands):
        inputs = [x(operand) for operand in operands[:3]] + [w(operand) for operand in operands[3:]]
        return session(model_of("MultiHeadAttention", inputs, (F,), MICROSOFT, {"num_heads": heads})[0]).run(
            None, {f"x{i}": operand for i, operand in enumerate(operands[:3])})

    def together(*operands):
        by_heads = [operand.reshape(*operand.shape[:2], heads, 1, -1) for operand in operands]
        return np.concatenate(by_heads, axis=3)

    case("multi_head_attention_packed_kv", "MultiHeadAttention", [x(q), x(together(key, value))], num_heads=heads,
         expected=apart(q, key, value), near="unsupported")
    k, v = floats(*q.shape), floats(*q.shape)
    case("multi_head_attention_packed_qkv", "MultiHeadAttention", [x(together(q, k, v)), None, None, w(bias)],
         num_heads=heads, expected=apart(q, k, v, bias), near="unsupported")


def onnx_attentions():
    """ONNX's own Attention, corrected after the node tests of onnx 1.21: onnx/onnx#7867, #7913, #8068."""
    q, k, v = floats(2, 2, 3, 8), floats(2, 1, 5, 8), floats(2, 1, 5, 8)
    mask = floats(3, 5)
    mask[0, 2:], mask[1] = -np.inf, -np.inf

    def scores(name, inputs, **attributes):
        case(name, "Attention", inputs, outputs=(F, None, None, F), domain="", opset=24, **attributes)

    for mode, stage in enumerate(("products", "capped", "masked", "weights")):
        scores(f"onnx_attention_{stage}", [x(q), x(k), x(v), x(mask)], softcap=0.5, qk_matmul_output_mode=mode)
    flags = x(np.array([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], np.bool_))
    scores("onnx_attention_flags", [x(q), x(k), x(v), flags], softcap=0.5, qk_matmul_output_mode=3)
    fixed = [x(q), x(k), x(v), None, None, None, x(np.array([5, 2], np.int64))]
    scores("onnx_attention_cache", fixed, qk_matmul_output_mode=3)
    scores("onnx_attention_cache_causal", fixed, is_causal=1, qk_matmul_output_mode=3)


# ---- embeddings

def embeddings():
    batch, length, hidden, words, places = 2, 4, 6, 9, 7
    ids = codes(batch, length, high=words, dtype=np.int32)
    segments = codes(batch, length, high=2, dtype=np.int32)
    mask = np.array([[1, 1, 1, 0], [1, 0, 0, 0]], np.int32)
    tables = [codes(words, hidden), codes(places, hidden), codes(2, hidden), codes(hidden), codes(hidden)]
    scales = [scalar(v) for v in (0.01, 0.02, 0.015, 0.01, 0.005)]
    zeros = [scalar(v, np.uint8) for v in (128, 120, 131, 0, 127)]
    case("q_embed_layer_normalization", "QEmbedLayerNormalization",
         [x(ids), x(segments), *map(w, tables), x(mask), *map(w, scales), *map(w, zeros)], outputs=(F, I32))
    without = [w(tables[0]), w(tables[1]), None, w(tables[3]), w(tables[4])]
    case("q_embed_layer_normalization_words", "QEmbedLayerNormalization",
         [x(ids), None, *without, None, w(scales[0]), w(scales[1]), None, w(scales[3]), w(scales[4]),
          w(zeros[0]), w(zeros[1]), None, w(zeros[3]), w(zeros[4])], outputs=(F, I32))
    real = [floats(words, hidden), floats(places, hidden), floats(2, hidden), floats(hidden), floats(hidden)]
    case("embed_layer_normalization", "EmbedLayerNormalization",
         [x(ids), x(segments), *map(w, real), x(mask)], outputs=(F, I32, F), epsilon=1e-5)
    case("embed_layer_normalization_places", "EmbedLayerNormalization",
         [x(ids), None, w(real[0]), w(real[1]), None, w(real[3]), w(real[4]), None,
          x(codes(1, length, high=places, dtype=np.int32))], outputs=(F, I32))


# ---- recurrent

def lstms():
    steps, batch, inputs, hidden = 6, 2, 3, 4
    sequence = floats(steps, batch, inputs)

    def dequantized(stored, scale, zero):
        shape = scale.shape if scale.ndim == 2 else (-1, 1)
        return ((stored.astype(np.float32) - zero.astype(np.float32).reshape(shape)[:, None])
                * scale.reshape(shape)[:, None]).transpose(0, 2, 1).copy()

    def lstm(name, directions, stored, scales, zeros, rest, **attributes):
        """Expected is what the plain operator makes of the real weights: see the import function."""
        real = [dequantized(s, c, z) for s, c, z in zip(stored, scales, zeros)]
        plain, fed = model_of("LSTM", [x(sequence), w(real[0]), w(real[1]), *rest], (F, F, F), "",
                              {"hidden_size": hidden} | attributes)
        expected = session(plain).run(None, fed)
        given = [x(sequence), w(stored[0]), w(stored[1]), *rest] + [None] * (5 - len(rest))
        for scale, zero in zip(scales, zeros):
            given += [w(scale), w(zero)]
        case(name, "DynamicQuantizeLSTM", given, outputs=(F, F, F), expected=expected, near=0.03,
             hidden_size=hidden, **attributes)

    signed = {"low": -128, "high": 128, "dtype": np.int8}
    lstm("dynamic_quantize_lstm", 1, [codes(1, inputs, 4 * hidden), codes(1, hidden, 4 * hidden)],
         [np.array([0.005], np.float32), np.array([0.004], np.float32)],
         [np.array([128], np.uint8), np.array([121], np.uint8)],
         [w(floats(1, 8 * hidden) * 0.1), x(np.array([6, 4], np.int32))])
    lstm("dynamic_quantize_lstm_rows", 2, [codes(2, inputs, 4 * hidden, **signed), codes(2, hidden, 4 * hidden, **signed)],
         [random.uniform(0.002, 0.006, (2, 4 * hidden)).astype(np.float32) for _ in range(2)],
         [np.zeros((2, 4 * hidden), np.int8) for _ in range(2)],
         [w(floats(2, 8 * hidden) * 0.1), None, x(floats(2, batch, hidden) * 0.5), x(floats(2, batch, hidden) * 0.5),
          w(floats(2, 3 * hidden) * 0.1)], direction="bidirectional")


# ---- weights of few bits

def packed():
    def matmul(name, n, k, block, bits, zeros=None, rest=(), **attributes):
        blocks = -(-k // block)
        b = codes(n, blocks, block * bits // 8)
        scales = random.uniform(0.01, 0.1, (n, blocks)).astype(np.float32)
        zero = {None: None, "stored": w(codes(n, -(-blocks * bits // 8))), "real": w(floats(n, blocks) + 7)}[zeros]
        case(name, "MatMulNBits", [x(floats(2, 3, k)), w(b), w(scales), zero, *rest], K=k, N=n, block_size=block,
             bits=bits, **attributes)

    matmul("mat_mul_n_bits", 5, 64, 32, 4)
    matmul("mat_mul_n_bits_part_of_a_block", 3, 40, 16, 4, zeros="stored")
    matmul("mat_mul_n_bits_real_zeros", 4, 48, 16, 4, zeros="real")
    matmul("mat_mul_n_bits_8", 4, 64, 32, 8, zeros="stored")
    matmul("mat_mul_n_bits_2", 4, 64, 32, 2, zeros="stored")
    matmul("mat_mul_n_bits_bias", 4, 32, 16, 4, rest=(None, w(floats(4))))
    groups = random.permutation(np.repeat(np.arange(3, dtype=np.int32), 16))
    matmul("mat_mul_n_bits_groups", 4, 48, 16, 4, rest=(w(groups),))
    # Worked out here: ONNX Runtime's processor kernel forgets the zero points where there are groups.
    a, b, zeros, scales = floats(2, 48), codes(4, 3, 8), codes(4, 2), random.uniform(0.01, 0.1, (4, 3)).astype(np.float32)
    halves = [np.stack([v & 15, v >> 4], -1).reshape(4, -1).astype(np.float32) for v in (b, zeros)]
    real = (halves[0] - halves[1][:, groups]) * scales[:, groups]
    case("mat_mul_n_bits_groups_zeros", "MatMulNBits", [x(a), w(b), w(scales), w(zeros), w(groups)],
         expected=[a @ real.T], near="unsupported", K=48, N=4, block_size=16, bits=4)

    def bnb4(name, n, k, block, kind, **attributes):
        count = n * k
        case(name, "MatMulBnb4", [x(floats(2, k)), w(codes((count + 1) // 2)),
                                  w(random.uniform(0.5, 2, -(-count // block)).astype(np.float32))],
             K=k, N=n, block_size=block, quant_type=kind, **attributes)

    bnb4("mat_mul_bnb4_fp4", 4, 32, 16, 0)
    bnb4("mat_mul_bnb4_nf4", 4, 32, 64, 1)
    bnb4("mat_mul_bnb4_odd", 3, 13, 16, 1)
    # Worked out here: ONNX Runtime's processor kernel takes the transpose whatever transB says. Codes 0 to 15 of NF4.
    nf4 = [-1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.091050036, 0.0,
           0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0]
    a, b = floats(3, 2), np.array(nf4 + nf4[::-1], np.float32).reshape(2, 16) * np.array([[2], [0.5]], np.float32)
    stored = np.array([0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF, 0xFE, 0xDC, 0xBA, 0x98, 0x76, 0x54, 0x32, 0x10])
    case("mat_mul_bnb4_not_transposed", "MatMulBnb4", [x(a), w(stored.astype(np.uint8)), w(np.array([2, 0.5], np.float32))],
         expected=[a @ b], near="unsupported", N=2, K=16, block_size=16, quant_type=1, transB=0)

    places = np.array([[2, 0, -1], [1, 4, 2]], np.int64)
    data, scales = codes(5, 24), random.uniform(0.1, 1, (5, 3)).astype(np.float32)
    case("gather_block_quantized", "GatherBlockQuantized", [w(data), x(places), w(scales), w(codes(5, 2))],
         block_size=16, gather_axis=0, quantize_axis=1)
    case("gather_block_quantized_middle", "GatherBlockQuantized", [w(data), x(places), w(scales)],
         block_size=16, gather_axis=0, quantize_axis=1)
    case("gather_block_quantized_8", "GatherBlockQuantized",
         [w(codes(5, 48)), x(places), w(scales), w(codes(5, 3))], block_size=16, bits=8)
    outside = np.array([4, 5, -5, -6, 100], np.int32)
    case("gather_block_quantized_outside", "GatherBlockQuantized", [w(data), x(outside), w(scales)], block_size=16)
    for name, low, data_type in (("i4", -8, TensorProto.INT4), ("u4", 0, TensorProto.UINT4)):
        values = codes(2, 20, 6, low=low, high=low + 16, dtype=np.int8)
        case(f"gather_block_quantized_{name}", "GatherBlockQuantized",
             [w(nibbles(values, data_type)), x(np.array([1, 5, 0], np.int64)), w(floats(2, 2, 6))],
             block_size=16, gather_axis=2, quantize_axis=1)
    eighths = TensorProto(data_type=TensorProto.FLOAT8E4M3FN, dims=[5, 4], raw_data=codes(20, high=0x7F).tobytes())
    case("gather_block_quantized_f8", "GatherBlockQuantized",
         [w(eighths), x(places), w(np.array([[0.25]], np.float32))], block_size=0)


# ---- 8-bit integers

def integers():
    a, b = codes(2, 3, 5), codes(2, 3, 5)
    s = [w(scalar(v)) for v in (0.02, 0.03, 0.05)]
    z = [w(scalar(v, np.uint8)) for v in (120, 131, 125)]
    both = [x(a), s[0], z[0], x(b), s[1], z[1], s[2], z[2]]
    case("qlinear_add", "QLinearAdd", both, outputs=(U8,))
    case("qlinear_mul", "QLinearMul", both, outputs=(U8,))
    one = [x(a), s[0], z[0], s[2], z[2]]
    case("qlinear_leaky_relu", "QLinearLeakyRelu", one, outputs=(U8,), alpha=0.1)
    case("qlinear_sigmoid", "QLinearSigmoid", [x(a), s[0], z[0], w(scalar(1 / 256)), w(scalar(0, np.uint8))],
         outputs=(U8,))
    case("qlinear_softmax", "QLinearSoftmax", [x(a), s[0], z[0], w(scalar(1 / 256)), w(scalar(0, np.uint8))],
         outputs=(U8,), axis=-1, opset=13)
    case("qlinear_where", "QLinearWhere", [x(a > 100), *both], outputs=(U8,))
    case("qlinear_concat", "QLinearConcat", [s[2], z[2], x(a), s[0], z[0], x(b), s[1], z[1]], outputs=(U8,), axis=1)
    image = codes(1, 2, 6, 6)
    # Another scale, so that no mean lies between two stored values.
    pooled = [x(image), s[0], z[0], s[1], z[1]]
    case("qlinear_average_pool", "QLinearAveragePool", pooled, outputs=(U8,), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    case("qlinear_global_average_pool", "QLinearGlobalAveragePool", pooled, outputs=(U8,))
    m, n = codes(3, 4), codes(4, 5)
    case("q_gemm", "QGemm", [x(m), s[0], z[0], w(n), s[1], z[1], w(codes(5, low=-999, high=999, dtype=np.int32))])
    case("mat_mul_integer_to_float", "MatMulIntegerToFloat", [x(m), w(n), s[0], s[1], z[0], z[1], w(floats(5))])
    case("dynamic_quantize_mat_mul", "DynamicQuantizeMatMul", [x(floats(3, 4)), w(n), s[1], z[1], w(floats(5))])


# ---- fused floats

def fused():
    a, b = floats(2, 3, 4), floats(2, 4, 5)
    case("fused_mat_mul", "FusedMatMul", [x(floats(2, 4, 3)), x(b)], alpha=0.5, transA=1)
    case("fused_conv", "FusedConv", [x(floats(1, 2, 5, 5)), w(floats(3, 2, 3, 3)), w(floats(3))], activation="Relu")
    case("gelu", "Gelu", [x(a)])
    case("bias_gelu", "BiasGelu", [x(a), w(floats(4))])
    case("fast_gelu", "FastGelu", [x(a), w(floats(4))])
    case("quick_gelu", "QuickGelu", [x(a)], alpha=1.5)
    case("skip_layer_normalization", "SkipLayerNormalization",
         [x(a), x(floats(2, 3, 4)), w(floats(4)), w(floats(4)), w(floats(4))], outputs=(F, None, None, F), epsilon=1e-5)
    case("skip_simplified_layer_normalization", "SkipSimplifiedLayerNormalization",
         [x(a), x(floats(2, 3, 4)), w(floats(4))], outputs=(F, None, None, F), epsilon=1e-5)
    case("simplified_layer_normalization", "SimplifiedLayerNormalization", [x(a), w(floats(4))], domain="", epsilon=1e-5)
    angles = floats(8, 2)
    case("rotary_embedding", "RotaryEmbedding",
         [x(floats(2, 3, 8)), x(np.array([[0, 1, 2], [3, 4, 5]], np.int64)), w(np.cos(angles)), w(np.sin(angles))])
    for activation, parameters in (("LeakyRelu", {"alpha": 0.2}), ("Elu", {"alpha": 0.7}), ("Softsign", {}),
                                   ("Softplus", {}), ("ThresholdedRelu", {"alpha": 0.4}),
                                   ("HardSigmoid", {"alpha": 0.3, "beta": 0.6})):
        case(f"fused_gemm_{activation.lower()}", "FusedGemm", [x(floats(3, 4)), w(floats(4, 5)), w(floats(5))],
             activation=activation, beta=0.5, **{f"activation_{name}": value for name, value in parameters.items()})
    case("nhwc_max_pool", "NhwcMaxPool", [x(codes(1, 6, 7, 3, low=-128, high=128, dtype=np.int8))], outputs=(I8,),
         kernel_shape=[2, 3], pads=[0, 1, 1, 1], strides=[1, 2])


# ---- grouped attention

def grouped():
    """Behind the keys that count, a cache means nothing; ONNX Runtime leaves zeros there, and so do the cases."""
    def new(steps, batch=2):
        return [x(floats(batch, steps, 64)), x(floats(batch, steps, 32)), x(floats(batch, steps, 32))]

    def past(steps, batch=2):
        return [x(floats(batch, 2, steps, 16)), x(floats(batch, 2, steps, 16))]

    def told(*lengths):
        return [x(np.array(lengths, np.int32) - 1), w(np.array(max(lengths), np.int32))]

    def group(name, inputs, **attributes):
        case(name, "GroupQueryAttention", inputs, outputs=(F, F, F), num_heads=4, kv_num_heads=2, **attributes)

    angles = floats(16, 8)
    tables = [w(np.cos(angles)), w(np.sin(angles))]
    group("group_query_attention", new(5) + [None, None] + told(5, 5))
    group("group_query_attention_past", new(1) + past(6) + told(7, 7), scale=0.3)
    group("group_query_attention_steps", new(3, 1) + past(4, 1) + told(7))
    group("group_query_attention_rotary", new(1) + past(6) + told(7, 7) + tables, do_rotary=1)
    group("group_query_attention_prompt", new(5) + [None, None] + told(5, 5) + tables, do_rotary=1, rotary_interleaved=1)
    group("group_query_attention_window", new(1) + past(6) + told(7, 7), local_window_size=3)
    group("group_query_attention_packed", [x(floats(2, 1, 128)), None, None] + past(3) + told(4, 4) + tables, do_rotary=1)
    uneven = past(6)
    for _, cache in uneven:
        cache[1, :, 3:] = 0
    group("group_query_attention_lengths", new(1) + uneven + told(7, 4))
    sinks, extra = w(floats(4)), [None] * 3
    group("group_query_attention_softcap", new(3, 1) + past(4, 1) + told(7), softcap=0.7)
    group("group_query_attention_sinks", new(1) + past(6) + told(7, 7) + tables + [None, None, sinks], do_rotary=1,
          local_window_size=4, softcap=1.5)
    group("group_query_attention_smooth", new(5) + [None, None] + told(5, 5), smooth_softmax=1)
    group("group_query_attention_bias", new(2, 1) + past(4, 1) + told(6) + extra + [x(floats(1, 4, 2, 6))], softcap=0.7)
    group("group_query_attention_places", new(2, 1) + past(4, 1) + told(6) + tables + [x(np.array([[9, 3]]))], do_rotary=1)
    group("group_query_attention_places_of_prompt",
          new(3) + [None, None] + told(3, 3) + tables + [x(np.array([[4, 9, 1], [7, 2, 5]]))], do_rotary=1)


# ---- regions

def regions():
    r = np.array([[0, 0, 0, 7, 9], [1, 2.5, 1, 6, 4.25], [0, -3, -2, 15, 30], [1, 5, 5, 2, 2], [1, 6, 7, 40, 40]],
                 np.float32)
    image = floats(2, 3, 10, 8)
    case("max_roi_pool", "MaxRoiPool", [x(image), x(r)], domain="", pooled_shape=[3, 5])
    case("max_roi_pool_scaled", "MaxRoiPool", [x(image), x(r)], domain="", pooled_shape=[2, 2], spatial_scale=0.7)
    # Only two of the axes are resized; the others keep their elements.
    case("resize_of_two_axes", "Resize", [x(image), w(np.zeros(0, np.float32)), w(np.array([1, 1, 2, 3], np.float32))],
         domain="", opset=11, coordinate_transformation_mode="tf_half_pixel_for_nn", mode="nearest", nearest_mode="ceil")


for family in (attentions, onnx_attentions, embeddings, lstms, packed, integers, fused, grouped, regions):
    random = np.random.default_rng(1)
    family()
