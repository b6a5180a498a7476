"""Functions that the experiments share: they run or resume commands of larq_nas."""

import shlex
import statistics
import subprocess
import sys

from larq_nas import runs


def command(words, data_dir, run_dir):
    """Runs or resumes a command of larq_nas and returns its `Run`."""
    words = [*shlex.split(words), f"--run_dir={run_dir}"]
    if data_dir:
        words.append(f"--data_dir={data_dir}")
    subprocess.run([sys.executable, "-m", "larq_nas", *words], check=True, stdout=subprocess.DEVNULL)
    return runs.Run(run_dir)


def accuracy(words, name, genotype, seed, folder, data_dir):
    """Trains the network of a genotype and returns its test accuracy in percent."""
    file = folder / "genotypes" / f"{name}.json"
    runs.write(file, genotype.to_json())
    run = command(f"{words} --genotype={shlex.quote(str(file))} --seed={seed}", data_dir, folder / f"{name}-{seed}")
    result = 100 * runs.read_json(run.metrics)["test_accuracy"]
    print(f"{name}, seed {seed}: {result:.2f} %", flush=True)
    return result


def summary(values):
    """Returns the mean, the standard deviation and all values of accuracies, as cells of a table."""
    return (
        f"{statistics.mean(values):.2f} | {statistics.stdev(values):.2f} | "
        f"{', '.join(f'{value:.2f}' for value in values)}"
    )
