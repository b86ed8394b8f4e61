#!/usr/bin/env python3
"""Build full-size exporters' graphs and hold the engines against ONNX Runtime.

    zoo.py --sinter PROGRAM --zoo FOLDER [--work FOLDER] [--json FILE] [NAME ...]

FOLDER holds the graphs without weights, `materialize.py` that fills them and `reference.py` that makes inputs and
outputs; its README states the rule of agreement, which is applied here. One graph at a time is filled and deleted
again. Prints a line per graph; exit status 1 when one fails. Needs onnx, onnxruntime and numpy.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np


def run(command):
    start = time.time()
    done = subprocess.run(command, capture_output=True, text=True)
    return done, time.time() - start


def bounds(spread):
    """Arguments of `sinter diff` for each way to agree; all outputs must agree in the same way."""
    if any(np.isinf(s[0]) for s in spread.values()):
        return None
    worst = max(float(s[0]) for s in spread.values())
    return [["--atol", "1e-6", "--rtol", "1e-3"], ["--atol", repr(3 * worst), "--rtol", "0"]]


def check(name, args, work):
    """(verdict, details) of one graph."""
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
    cosine = min(1 - 2 * (1 - float(s[1])) - 1e-3 for s in spread.values())
    ways = [["--min-cosine", repr(cosine)]] if quantized else bounds(spread)
    if ways is None:
        cut, _ = run([python, os.path.join(args.zoo, "reference.py"), work, work, "--cut", name])
        if cut.returncode:
            return "failed", {"reason": "cut: " + cut.stderr[-300:]}
        model, stem = os.path.join(work, name + ".cut.onnx"), os.path.join(work, name + ".cut")
        spread = dict(np.load(stem + ".spread.npz"))
        ways = bounds({k: v for k, v in spread.items() if not np.isinf(v[0])})
    plan = os.path.join(work, name + ".plan")
    built, seconds = run([args.sinter, "build", model, "-o", plan, "--json", "-"])
    details = {"build_s": round(seconds, 2), "cut": model.endswith(".cut.onnx")}
    if built.returncode:
        return "failed", details | {"reason": built.stderr.strip()[-400:]}
    verification = json.loads(built.stdout)["verification"]
    details |= {k: verification[k] for k in ("skipped", "agreed")}
    details["dropped"] = len(verification["dropped"])
    details["unverified"] = len(verification["unverified"])
    for way in ways:
        diff, _ = run([args.sinter, "diff", plan, "--inputs", stem + ".in.npz", "--expect", stem + ".out.npz", *way])
        if diff.returncode == 0:
            return "agrees", details
    return "differs", details | {"reason": (diff.stderr or diff.stdout).strip()[-400:]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--sinter", required=True)
    parser.add_argument("--zoo", required=True)
    parser.add_argument("--work")
    parser.add_argument("--json")
    args = parser.parse_args()
    names = args.names or sorted(f.removesuffix(".onnx.xz") for f in os.listdir(args.zoo) if f.endswith(".onnx.xz"))
    rows = []
    for name in names:
        with tempfile.TemporaryDirectory(dir=args.work) as work:
            verdict, details = check(name, args, work)
        rows.append({"graph": name, "verdict": verdict} | details)
        print(json.dumps(rows[-1]), flush=True)
    good = sum(row["verdict"] == "agrees" for row in rows)
    print(f"{good} of {len(rows)} agree")
    if args.json:
        json.dump(rows, open(args.json, "w"), indent=1)
    sys.exit(good != len(rows))


if __name__ == "__main__":
    main()
