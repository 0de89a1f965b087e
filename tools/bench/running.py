"""What the rows of table.py share: starting programs, reading their figures, alternating rounds."""
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
ENV = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
           OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_MCA_hwloc_base_binding_policy="none")
# An allocator that gives no page back: without it PyTorch touches new memory in every step.
TUNED_MALLOC = {"MALLOC_MMAP_THRESHOLD_": "8000000000", "MALLOC_TRIM_THRESHOLD_": "32000000000",
                "MALLOC_TOP_PAD_": "268435456"}
SMALL = {"image_encoder": "resnet-tiny", "text_encoder": "clip:tiny", "pretrained": False, "embed_dim": 64,
         "img_size": 48, "batch_size": 16, "use_superclip_loss": True, "learning_rate": 1e-3}


def run(command, env=None):
    r = subprocess.run(command, capture_output=True, text=True, env=dict(ENV, **(env or {})), cwd=ROOT)
    if r.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {r.returncode}: {(r.stdout + r.stderr)[-800:]}")
    return r.stdout + r.stderr


def usage(command, env=None):
    """Runs a command; the resource usage of this one process, whatever ran before it."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env=dict(ENV, **(env or {})), cwd=ROOT) as p:
        text = p.stdout.read()
        _, status, used = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
    if p.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {p.returncode}: {text[-800:]}")
    return used


def figure(text, pattern):
    found = re.search(pattern, text)
    if not found:
        raise RuntimeError(f"no '{pattern}' in: {text[-400:]}")
    return float(found.group(1))


class Bench:
    def __init__(self, build, work, kills, quick):
        self.build, self.work, self.kills, self.quick, self.count = build, work, kills, quick, 0
        self.rounds = 1 if quick else 3
        self.data = f"{work}/data"
        self.variants = {}  # what PyTorch is fastest with, by the kind of step
        run([f"{build}/bin/make_demo_data", self.data, "--images", "160", "--seed", "3"])

    def program(self, name):
        return f"{self.build}/bin/{name}"

    def config(self, configs):
        self.count += 1
        path = f"{self.work}/config{self.count}.json"
        with open(path, "w") as f:
            json.dump(configs, f)
        return path

    def train_command(self, config, out, *options, data=None):
        return [self.program("sc_mpi"), config, "--data-dir", data or self.data, "--output-dir",
                f"{self.work}/{out}", "--log-dir", f"{self.work}/log", "--cache-dir", f"{self.work}/cache", *options]

    def train(self, ranks, config, out, *options, env=None, data=None):
        """Runs sc_mpi; returns the seconds it took."""
        begin = time.monotonic()
        run(["mpirun", "-np", str(ranks), *self.train_command(config, out, *options, data=data)], env=env)
        return time.monotonic() - begin

    def result(self, out, name, file="history.json", fold=1):
        with open(f"{self.work}/{out}/{name}/fold_{fold}/{file}") as f:
            return json.load(f)

    def forget(self, out):
        shutil.rmtree(f"{self.work}/{out}", ignore_errors=True)

    def alternate(self, ours, theirs):
        """Medians of both over the rounds, each round one after the other."""
        pairs = [(theirs(), ours()) for _ in range(self.rounds)]
        return statistics.median(p[1] for p in pairs), statistics.median(p[0] for p in pairs)


def python(script, *options, env=None):
    return run([sys.executable, f"{HERE}/{script}", *map(str, options)], env=env)
