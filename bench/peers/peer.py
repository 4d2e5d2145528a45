"""What the peers share: requests on standard input, answers on standard output, a JSON object a line.

    {"case": {...}}  make the case ready and run it once   -> {"samples": [seconds], "extraBytes": n}
    {"seconds": s}   run it for about so long              -> {"samples": [seconds, ...], "extraBytes": n}

extraBytes is how much the resident set grew over the runs of the case, at its highest, from when the case was ready.
"""
import contextlib
import gc
import json
import os
import sys
import threading
import time
import traceback

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def resident():
    """Bytes of the resident set; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@contextlib.contextmanager
def watched(peak):
    """Keeps peak[0] at the largest resident set seen."""
    stop = threading.Event()

    def look():
        while not stop.wait(0.003):
            peak[0] = max(peak[0], resident())

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        peak[0] = max(peak[0], resident())


def timed(run, count):
    started = time.perf_counter()
    for _ in range(count):
        run()
    return (time.perf_counter() - started) / count


def turn(run, first, seconds):
    """Seconds a run: one run after another where a turn holds no more, else the means of samples of an eighth of the turn."""
    if first > seconds / 2:
        run()  # the first run after seconds of the other side's turn takes a tenth longer
        return [timed(run, 1)]
    count = max(1, round(seconds / 8 / first))
    begun, samples = time.perf_counter(), []
    while len(samples) < 3 or time.perf_counter() - begun < seconds:
        samples.append(timed(run, count))
    return samples


def serve(make):
    """Answers requests until the input ends. make(**case) returns the function to time."""
    torch.set_num_threads(int(sys.argv[1]))
    torch.manual_seed(0)
    run = first = base = None
    peak = [0]
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "case" in request:
                run = None  # what the last case held goes first
                gc.collect()
                run = make(**request["case"])
                base, peak = resident(), [0]
                with watched(peak):
                    first = timed(run, 1)
                    if first < 1:
                        first = timed(run, 1)  # the first run also loads and allocates
                samples = [first]
            else:
                with watched(peak):
                    samples = turn(run, first, request["seconds"])
            reply = {"samples": samples, "extraBytes": max(0, peak[0] - base)}
        except Exception:
            reply = {"error": traceback.format_exc(limit=-2).strip()}
        print(json.dumps(reply), flush=True)
