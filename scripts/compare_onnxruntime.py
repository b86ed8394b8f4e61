#!/usr/bin/env python3
"""Hold an engine against ONNX Runtime, in one command.

    compare_onnxruntime.py MODEL [--inputs X.npz | --seed N] [--shapes NAME:SIZES,...] [--bench SECONDS] [--unoptimized]
                           [--keep FOLDER] [--sinter PROGRAM] [FLAGS OF sinter diff ...]

Without --inputs, `sinter run` makes inputs up. ONNX Runtime computes the model's outputs for them, and `sinter diff MODEL
--inputs X.npz --expect Y.npz` compares: a table of errors, exit status 1 when an output is outside its bounds. --unoptimized
turns off what ONNX Runtime does to the graph, --bench also times both with as many threads, --keep keeps both files. Needs
onnxruntime and numpy.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnxruntime as ort


def run(*command, stdout=None):
    """Runs a command; ends with its status when it fails."""
    status = subprocess.run(command, stdout=stdout).returncode
    if status:
        sys.exit(status)


def session_of(model, unoptimized, threads):
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    if unoptimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def median_ms(work, seconds):
    """The median time of a call in milliseconds."""
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def main():
    _, usage, text = __doc__.split("\n\n")
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(usage=usage.strip(), description=text, formatter_class=form)
    parser.add_argument("model")
    values = parser.add_mutually_exclusive_group()
    values.add_argument("--inputs")
    values.add_argument("--seed", default="0")
    parser.add_argument("--shapes")
    parser.add_argument("--bench", type=float, metavar="SECONDS")
    parser.add_argument("--unoptimized", action="store_true")
    parser.add_argument("--keep", metavar="FOLDER")
    parser.add_argument("--sinter", default="sinter", metavar="PROGRAM")
    given, of_diff = parser.parse_known_args()
    sizes = ["--shapes", given.shapes] if given.shapes else []
    threads = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        folder = given.keep or folder
        os.makedirs(folder, exist_ok=True)
        inputs, outputs, report = (os.path.join(folder, name) for name in ("inputs.npz", "outputs.npz", "report.json"))
        if given.inputs:
            inputs = given.inputs
        else:
            made = ["--seed", given.seed, "--save-inputs", inputs, "--no-verify"]
            run(given.sinter, "run", given.model, *made, *sizes, stdout=subprocess.DEVNULL)
        session = session_of(given.model, given.unoptimized, threads)
        names = [output.name for output in session.get_outputs()]
        feed = dict(np.load(inputs))
        np.savez(outputs, **dict(zip(names, session.run(names, feed))))
        if given.bench:
            timed = ["--seconds", str(given.bench), "--threads", str(threads), "--no-verify", "--json", report]
            run(given.sinter, "bench", given.model, "--inputs", inputs, *timed, *sizes)
            with open(report) as file:
                ours = json.load(file)["median_ms"]
            theirs = median_ms(lambda: session.run(names, feed), given.bench)
            print(f"\nmedian: sinter {ours:.3f} ms, ONNX Runtime {ort.__version__} {theirs:.3f} ms\n", flush=True)
        run(given.sinter, "diff", given.model, "--inputs", inputs, "--expect", outputs, *sizes, *of_diff)


if __name__ == "__main__":
    main()
