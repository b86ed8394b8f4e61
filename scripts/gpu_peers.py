"""Times what `figures_of_products`, `figures_of_convolutions` and `figures_of_attention` time by PyTorch (cuBLASLt, cuDNN, its
attention back ends) on the same machine.

One recorded graph of 20 launches on copies of the operands that exceed the cache; median of 5.
"""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

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


def attention(name, q, k, v, masks=(None,), **options):
    """The fastest back end, with a mask in the first of these forms that it is fastest with."""
    times = {}
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION):
        for mask in masks:
            copies = min(20, max(1, int(3e8) // (2 * (2 * q.numel() + k.numel() + v.numel()))))
            sets = [(q.clone(), k.clone(), v.clone()) for _ in range(copies)]
            try:
                with sdpa_kernel(backend):
                    call = lambda own: lambda: scaled_dot_product_attention(*own, mask, **options)
                    times[backend.name] = min(times.get(backend.name, 1e9), microseconds([call(own) for own in sets]))
            except RuntimeError:
                torch.cuda.synchronize()
    best = min(times, key=times.get)
    print(f"figure: torch attention {name}: {times[best]:.2f} us, {best.lower()}", flush=True)


for size in (64, 128):
    for batch, length in ((1, 128), (32, 128), (1, 384), (16, 384), (8, 1024), (2, 4096)):
        q, k, v = (torch.randn(batch, 16, length, size, device="cuda").half() for _ in range(3))
        row = torch.randn(batch, 1, 1, length, device="cuda").half()
        mask = torch.randn(batch, 1, length, length, device="cuda").half()
        forms = lambda mask: [mask, mask.expand(batch, 1, length, length), mask.expand(batch, 16, length, length)]
        attention(f"plain {batch} {length} {size}", q, k, v)
        attention(f"causal {batch} {length} {size}", q, k, v, is_causal=True)
        attention(f"row {batch} {length} {size}", q, k, v, forms(row))
        attention(f"mask {batch} {length} {size}", q, k, v, forms(mask))
for batch, total in ((1, 4096), (8, 4096), (1, 32768)):
    q = torch.randn(batch, 32, 1, 128, device="cuda").half()
    k, v = (torch.randn(batch, 8, total, 128, device="cuda").half() for _ in range(2))
    attention(f"decode {batch} {total} 128", q, k, v, enable_gqa=True)
