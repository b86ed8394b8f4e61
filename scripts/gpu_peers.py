"""Times what `figures_of_products` and `figures_of_convolutions` time by PyTorch (cuBLASLt, cuDNN) on the same machine.

One recorded graph of 20 launches on copies of the operands that exceed the cache; median of 5.
"""

import torch

SHAPES = [
    (4096, 4096, 4096),
    (2048, 2048, 2048),
    (12288, 1024, 4096),
    (16384, 4096, 1024),
    (1024, 4096, 4096),
    (384, 1024, 4096),
    (128, 3072, 1024),
    (128, 4096, 1024),
    (32, 4096, 4096),
    (8, 4096, 4096),
    (1, 4096, 4096),
]

# Images, channels, side, output channels, taps, stride.
LAYERS = [
    (32, 3, 224, 64, 7, 2),
    (32, 64, 56, 64, 3, 1),
    (32, 128, 28, 128, 3, 1),
    (32, 256, 14, 256, 3, 1),
    (32, 512, 7, 512, 3, 1),
    (32, 256, 56, 128, 1, 1),
    (32, 1024, 14, 256, 1, 1),
    (1, 256, 14, 256, 3, 1),
]


def microseconds(functions):
    """Median time of one launch."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for function in functions:
            function()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for launch in range(20):
            functions[launch % len(functions)]()
    graph.replay()
    times = []
    for _ in range(5):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) * 1e3 / 20)
    return sorted(times)[2]


for m, n, k in SHAPES:
    copies = min(20, max(1, -(-int(3e8) // (2 * (m * k + k * n + m * n)))))
    for order in ("nn", "nt"):
        functions = []
        for _ in range(copies):
            a = torch.randn(m, k, device="cuda").half()
            b = torch.randn(k, n, device="cuda").half() if order == "nn" else torch.randn(n, k, device="cuda").half().t()
            y = torch.empty(m, n, device="cuda", dtype=torch.half)
            functions.append(lambda a=a, b=b, y=y: torch.mm(a, b, out=y))
        time = microseconds(functions)
        print(f"figure: torch {order} {m} {n} {k}: {time:.2f} us, {2 * m * n * k / time / 1e6:.0f} TFLOP/s", flush=True)

torch.backends.cudnn.benchmark = True
for n, c, side, m, taps, stride in LAYERS:
    for order in (torch.contiguous_format, torch.channels_last):
        functions = []
        for _ in range(4):
            x = torch.randn(n, c, side, side, device="cuda").half().to(memory_format=order)
            w = torch.randn(m, c, taps, taps, device="cuda").half().to(memory_format=order)
            bias = torch.randn(m, device="cuda").half()
            functions.append(lambda x=x, w=w, bias=bias: torch.conv2d(x, w, bias, stride, taps // 2))
        time = microseconds(functions)
        work = 2 * n * m * (-(-side // stride)) ** 2 * c * taps * taps
        name = str(order).split(".")[-1]
        print(f"figure: torch {name} {n}x{c}x{side} {m}x{taps}/{stride}: {time:.1f} us, {work / time / 1e6:.0f} TFLOP/s", flush=True)
