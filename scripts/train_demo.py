#!/usr/bin/env python3
"""Trains the network of `sinter demo`: a small convolutional network for handwritten digits.

    train_demo.py [FOLDER]        default: crates/cli/demo; needs numpy, scikit-learn, onnx; about a minute

Data: the 1,797 digits of 8x8 pixels that scikit-learn carries (UCI "Optical Recognition of Handwritten Digits", test part).
The last 360 are held out. They are not shuffled: the digits stand in order of collection, so that the held-out ones come
mostly from other writers, which is harder than a random split. Training images are shifted by a pixel and slightly rotated
and scaled at random.

Writes digits.onnx, with batch normalization and ReLU as nodes of their own so that an optimizer has something to do, and
digits.npz with the held-out images (`image`) and their labels (`label`). Fixed seeds: the same machine gives the same file.
"""
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits

HELD_OUT, EPOCHS, BATCH, RATE = 360, 60, 64, 2e-3
EPSILON, MOMENTUM = 1e-5, 0.9
rng = np.random.default_rng(2024)


def windows(x):
    """All 3x3 windows of a padded image: [N, C, H, W] -> [N, H, W, C * 9]."""
    n, c, h, w = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    view = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return view.transpose(0, 2, 3, 1, 4, 5).reshape(n, h, w, c * 9)


class ConvNormRelu:
    """3x3 convolution without bias, batch normalization, ReLU."""

    def __init__(self, inputs, outputs):
        self.w = rng.normal(0, np.sqrt(2 / (9 * inputs)), (outputs, inputs, 3, 3)).astype(np.float32)
        self.scale, self.shift = np.ones(outputs, np.float32), np.zeros(outputs, np.float32)
        self.mean, self.variance = np.zeros(outputs, np.float32), np.ones(outputs, np.float32)

    def parameters(self):
        return [self.w, self.scale, self.shift]

    def forward(self, x, training):
        self.x_shape, self.columns = x.shape, windows(x)
        y = self.columns @ self.w.reshape(len(self.w), -1).T
        if training:
            mean, variance = y.mean((0, 1, 2)), y.var((0, 1, 2))
            self.mean += (1 - MOMENTUM) * (mean - self.mean)
            self.variance += (1 - MOMENTUM) * (variance - self.variance)
        else:
            mean, variance = self.mean, self.variance
        self.inverse = 1 / np.sqrt(variance + EPSILON)
        self.normal = (y - mean) * self.inverse
        self.out = np.maximum(self.normal * self.scale + self.shift, 0)
        return self.out.transpose(0, 3, 1, 2)

    def backward(self, gradient):
        g = gradient.transpose(0, 2, 3, 1) * (self.out > 0)
        d_scale, d_shift = (g * self.normal).sum((0, 1, 2)), g.sum((0, 1, 2))
        g = g * self.scale
        g = self.inverse * (g - g.mean((0, 1, 2)) - self.normal * (g * self.normal).mean((0, 1, 2)))
        flat = g.reshape(-1, len(self.w))
        d_w = (flat.T @ self.columns.reshape(len(flat), -1)).reshape(self.w.shape)
        n, c, h, w = self.x_shape
        spread = (g @ self.w.reshape(len(self.w), -1)).reshape(n, h, w, c, 3, 3)
        d_x = np.zeros((n, c, h + 2, w + 2), np.float32)
        for i in range(3):
            for j in range(3):
                d_x[:, :, i:i + h, j:j + w] += spread[..., i, j].transpose(0, 3, 1, 2)
        return d_x[:, :, 1:-1, 1:-1], [d_w, d_scale, d_shift]


class Pool:
    """Largest of each 2x2 block."""

    def parameters(self):
        return []

    def forward(self, x, training):
        n, c, h, w = x.shape
        self.blocks = x.reshape(n, c, h // 2, 2, w // 2, 2)
        self.out = self.blocks.max((3, 5))
        return self.out

    def backward(self, gradient):
        mask = self.blocks == self.out[:, :, :, None, :, None]
        share = mask / mask.sum((3, 5), keepdims=True)
        n, c, h, _, w, _ = self.blocks.shape
        return (share * gradient[:, :, :, None, :, None]).reshape(n, c, h * 2, w * 2), []


class Dense:
    """Fully connected."""

    def __init__(self, inputs, outputs):
        self.w = rng.normal(0, np.sqrt(1 / inputs), (inputs, outputs)).astype(np.float32)
        self.b = np.zeros(outputs, np.float32)

    def parameters(self):
        return [self.w, self.b]

    def forward(self, x, training):
        self.shape, self.x = x.shape, x.reshape(len(x), -1)
        self.drop = (rng.random(self.x.shape) < 0.75).astype(np.float32) / 0.75 if training else 1
        self.x = self.x * self.drop
        return self.x @ self.w + self.b

    def backward(self, gradient):
        return (gradient @ self.w.T * self.drop).reshape(self.shape), [self.x.T @ gradient, gradient.sum(0)]


def augmented(images):
    """Each image moved, turned and scaled a little, with bilinear interpolation."""
    n = len(images)
    turn, scale = rng.uniform(-0.18, 0.18, n), rng.uniform(0.9, 1.12, n)
    down, right = rng.uniform(-1, 1, n), rng.uniform(-1, 1, n)
    y, x = np.mgrid[:8, :8] - 3.5
    ys = scale[:, None, None] * (np.cos(turn)[:, None, None] * y - np.sin(turn)[:, None, None] * x) + 3.5
    xs = scale[:, None, None] * (np.sin(turn)[:, None, None] * y + np.cos(turn)[:, None, None] * x) + 3.5
    ys, xs = ys + down[:, None, None] + 1, xs + right[:, None, None] + 1
    padded = np.pad(images[:, 0], ((0, 0), (1, 2), (1, 2)))
    ys, xs = ys.clip(0, 9), xs.clip(0, 9)
    y0, x0 = ys.astype(int), xs.astype(int)
    fy, fx, which = ys - y0, xs - x0, np.arange(n)[:, None, None]
    rows = [(1 - fy) * (1 - fx) * padded[which, y0, x0], (1 - fy) * fx * padded[which, y0, x0 + 1],
            fy * (1 - fx) * padded[which, y0 + 1, x0], fy * fx * padded[which, y0 + 1, x0 + 1]]
    return sum(rows)[:, None].astype(np.float32)


def train(layers, images, labels):
    moments = [[(np.zeros_like(p), np.zeros_like(p)) for p in layer.parameters()] for layer in layers]
    step, total = 0, EPOCHS * (len(images) // BATCH)
    for _ in range(EPOCHS):
        order = rng.permutation(len(images))[: len(images) // BATCH * BATCH].reshape(-1, BATCH)
        for batch in order:
            step += 1
            rate = RATE * 0.5 * (1 + np.cos(np.pi * step / total))
            x = augmented(images[batch]) / 16
            for layer in layers:
                x = layer.forward(x, True)
            p = np.exp(x - x.max(1, keepdims=True))
            gradient = p / p.sum(1, keepdims=True)
            gradient[np.arange(BATCH), labels[batch]] -= 1
            gradient = (gradient / BATCH).astype(np.float32)
            for layer, state in zip(reversed(layers), reversed(moments)):
                gradient, own = layer.backward(gradient)
                for parameter, g, (first, second) in zip(layer.parameters(), own, state):
                    first += 0.1 * (g - first)
                    second += 0.001 * (g * g - second)
                    unbiased = first / (1 - 0.9 ** step), second / (1 - 0.999 ** step)
                    parameter -= (rate * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)).astype(np.float32)


def answers(layers, images):
    x = images / 16
    for layer in layers:
        x = layer.forward(x, False)
    return x.argmax(1)


def to_onnx(layers):
    nodes, weights, value = [], [], "scaled"

    def weight(name, array):
        weights.append(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name))
        return name

    nodes.append(helper.make_node("Div", ["image", weight("brightest", np.array(16))], [value], name="scale"))
    for number, layer in enumerate(layers):
        if isinstance(layer, ConvNormRelu):
            conv, norm, relu = f"conv{number}", f"norm{number}", f"relu{number}"
            nodes.append(helper.make_node("Conv", [value, weight(conv + ".weight", layer.w)], [conv + ".out"], name=conv,
                                          kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
            statistics = [weight(f"{norm}.{part}", array) for part, array in
                          [("scale", layer.scale), ("shift", layer.shift), ("mean", layer.mean), ("variance", layer.variance)]]
            nodes.append(helper.make_node("BatchNormalization", [conv + ".out", *statistics], [norm + ".out"], name=norm,
                                          epsilon=EPSILON))
            nodes.append(helper.make_node("Relu", [norm + ".out"], [relu + ".out"], name=relu))
            value = relu + ".out"
        elif isinstance(layer, Pool):
            nodes.append(helper.make_node("MaxPool", [value], [f"pool{number}.out"], name=f"pool{number}",
                                          kernel_shape=[2, 2], strides=[2, 2]))
            value = f"pool{number}.out"
        else:
            nodes.append(helper.make_node("Flatten", [value], ["flat"], name="flatten"))
            nodes.append(helper.make_node("Gemm", ["flat", weight("dense.weight", layer.w), weight("dense.bias", layer.b)],
                                          ["logits"], name="dense"))
            nodes.append(helper.make_node("Softmax", ["logits"], ["scores"], name="softmax"))
    graph = helper.make_graph(
        nodes, "digits", [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 10])], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="sinter train_demo.py")
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent / "crates/cli/demo")
    data = load_digits()
    images, labels = data.images.astype(np.float32)[:, None], data.target
    layers = [ConvNormRelu(1, 16), ConvNormRelu(16, 32), Pool(), ConvNormRelu(32, 32), Dense(512, 10)]
    train(layers, images[:-HELD_OUT], labels[:-HELD_OUT])
    right = (answers(layers, images[-HELD_OUT:]) == labels[-HELD_OUT:]).mean()
    print(f"held-out accuracy {100 * right:.2f} % of {HELD_OUT}")
    model = to_onnx(layers)
    onnx.save(model, folder / "digits.onnx")
    np.savez_compressed(folder / "digits.npz", image=images[-HELD_OUT:], label=labels[-HELD_OUT:].astype(np.int64))
    print({p.name: p.stat().st_size for p in sorted(folder.glob("digits.*"))})
    if right < 0.97:
        sys.exit("below 97 %")


if __name__ == "__main__":
    main()
