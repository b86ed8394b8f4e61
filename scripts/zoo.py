#!/usr/bin/env python3
"""Build full-size exporters' graphs and hold the engines against ONNX Runtime.

    zoo.py --sinter PROGRAM --zoo FOLDER [--work FOLDER] [--json FILE] [--device DEVICE] [--precision PRECISION]
           [--jobs COUNT] [NAME ...]

FOLDER holds the graphs without weights, `materialize.py` that fills them and `reference.py` that makes inputs and
outputs; its README states the rule of agreement, which is applied here. No kernel and no pass may be dropped. As many graphs
as there are jobs, one by default, are filled at a time and deleted again. Prints a line per graph; exit status 1 when one fails. Needs onnx, onnxruntime and
numpy.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np


def run(command):
    start = time.time()
    done = subprocess.run(command, capture_output=True, text=True)
    return done, time.time() - start


def disagreement(found, expected, spread, quantized, narrow):
    """The first output that the zoo's rule does not allow, as text; `None` where all agree."""
    for name, wanted in expected.items():
        e, cosine = (float(v) for v in spread[name])
        if np.isinf(e) and not quantized:
            continue
        got = found.get(name)
        if got is None or got.shape != wanted.shape:
            return f"'{name}' is {'absent' if got is None else got.shape}, expected {wanted.shape}"
        a, b = got.astype(np.float64).ravel(), wanted.astype(np.float64).ravel()
        if a.size == 0:
            continue
        if quantized:
            angle = a @ b / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-300)
            least = 1 - 2 * (1 - cosine) - 1e-3
            if not angle >= least:
                return f"'{name}' has cosine {angle:.6f}, at least {least:.6f} is needed"
            continue
        worst, bound = np.abs(a - b).max(), max(1e-6 + 1e-3 * np.abs(b).max(), 3 * e)
        if narrow:
            angle = a @ b / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-300)
            if not angle >= 0.999:
                return f"'{name}' has cosine {angle:.6f}, at least 0.999 is needed"
            bound = max(bound, 2e-2 * np.abs(b).max())
        if not worst <= bound:
            return f"'{name}' differs by {worst:.3e}, {bound:.3e} is allowed"
    return None


def check(name, args, work):
    """(result, details) of one graph."""
    python = sys.executable
    made, _ = run([python, os.path.join(args.zoo, "materialize.py"), work, name])
    if made.returncode:
        return "failed", {"reason": "materialize: " + made.stderr[-300:]}
    referenced, _ = run([python, os.path.join(args.zoo, "reference.py"), work, work, name])
    if referenced.returncode:
        return "failed", {"reason": "reference: " + referenced.stderr[-300:]}
    model = os.path.join(work, name + ".onnx")
    stem = os.path.join(work, name)
    spread = dict(np.load(stem + ".spread.npz"))
    quantized = name.endswith("_int8_qdq")
    if not quantized and any(np.isinf(s[0]) for s in spread.values()):
        cut, _ = run([python, os.path.join(args.zoo, "reference.py"), work, work, "--cut", name])
        if cut.returncode:
            return "failed", {"reason": "cut: " + cut.stderr[-300:]}
        model, stem = os.path.join(work, name + ".cut.onnx"), os.path.join(work, name + ".cut")
        spread = dict(np.load(stem + ".spread.npz"))
        if all(np.isinf(s[0]) for s in spread.values()):
            return "failed", {"reason": "nothing in front of the selection is stable"}
    plan = os.path.join(work, name + ".plan")
    device = ["--device", args.device] if args.device else []
    precision = ["--precision", args.precision] if args.precision != "fp32" else []
    built, seconds = run([args.sinter, "build", model, "-o", plan, "--json", "-"] + device + precision)
    details = {"build_s": round(seconds, 2), "cut": model.endswith(".cut.onnx")}
    if built.returncode:
        return "failed", details | {"reason": built.stderr.strip()[-400:]}
    verification = json.loads(built.stdout)["verification"]
    details |= {k: verification[k] for k in ("skipped", "agreed")}
    details["dropped"] = len(verification["dropped"])
    details["unverified"] = len(verification["unverified"])
    if verification["dropped"]:
        return "dropped", details | {"reason": str(verification["dropped"][0])[-400:]}
    outputs = stem + ".found.npz"
    ran, _ = run([args.sinter, "run", plan, "--inputs", stem + ".in.npz", "--outputs", outputs] + device)
    if ran.returncode:
        return "failed", details | {"reason": ran.stderr.strip()[-400:]}
    reason = disagreement(dict(np.load(outputs)), dict(np.load(stem + ".out.npz")), spread, quantized, bool(precision))
    return ("differs", details | {"reason": reason}) if reason else ("agrees", details)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--sinter", required=True)
    parser.add_argument("--zoo", required=True)
    parser.add_argument("--work")
    parser.add_argument("--json")
    parser.add_argument("--device", help="as `sinter build --device`: the processor by default")
    parser.add_argument("--precision", default="fp32", help="fp32, fp16 or bf16")
    parser.add_argument("--jobs", type=int, default=1, help="graphs at a time")
    args = parser.parse_args()
    names = args.names or sorted(f.removesuffix(".onnx.xz") for f in os.listdir(args.zoo) if f.endswith(".onnx.xz"))

    def one(name):
        with tempfile.TemporaryDirectory(dir=args.work) as work:
            result, details = check(name, args, work)
        row = {"graph": name, "result": result} | details
        print(json.dumps(row), flush=True)
        return row

    with ThreadPoolExecutor(args.jobs) as pool:
        rows = list(pool.map(one, names))
    good = sum(row["result"] == "agrees" for row in rows)
    print(f"{good} of {len(rows)} agree")
    if args.json:
        json.dump(rows, open(args.json, "w"), indent=1)
    sys.exit(good != len(rows))


if __name__ == "__main__":
    main()
