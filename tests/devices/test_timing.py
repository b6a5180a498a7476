"""Timings of `.tflite` files, by a user's commands as far as possible. See `fake_device.py` for the device."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf
from fake_device import HEADER, FakeDevice

from larq_nas import networks
from larq_nas.converters import tflite
from larq_nas.devices import benchmark_program, timing
from larq_nas.methods import bats, bnas

# What LCE 0.16's program prints, shortened.
OUTPUT = """INFO: STARTING!
INFO: Graph: [model.tflite]
INFO: Enable op profiling: [1]
INFO: Loaded model model.tflite
INFO: Initialized session in 1.471ms.
INFO: Running benchmark for at least 10 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=16 first=41707 curr=31234 min=30011 max=41707 avg=32491.4 std=123

INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=52 first=31500 curr=31234 min=31011 max=33007 avg=31420.6 std=223

INFO: Inference timings in us: Init: 1471, First inference: 41707, Warmup (avg): 32491.4, Inference (avg): 31420.6
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual.
INFO: Memory footprint delta from the start of the tool (MB): init=1.25 overall=3.5
INFO: Overall peak memory footprint (MB) via periodic monitoring: 5.625
INFO: Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
\t[node type]\t[first]\t[avg ms]\t[%]\t[cdf%]\t[mem KB]\t[times called]\t[Name]
\tAllocateTensors\t1.356\t1.356\t100.000%\t100.000%\t0.000\t1\tAllocateTensors/0

Timings (microseconds): count=1 curr=1356
1 nodes observed


INFO: Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
\t             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t             LceQuantize\t    0.199\t    0.203\t  0.646%\t  0.646%\t     0.000\t        1\t[a;  b/c d]:0
\t              LceBconv2d\t   20.398\t   20.407\t 64.951%\t 65.597%\t     0.000\t        1\t[tfl.conv]:1
\tConvolution (NHWC, F32)\t    5.405\t    5.405\t 34.403%\t100.000%\t     0.000\t        2\tDelegate/Convolution:2

============================== Top by Computation Time ==============================
\t             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t              LceBconv2d\t   20.398\t   20.407\t 64.951%\t 64.951%\t     0.000\t        1\t[tfl.conv]:1

Number of nodes executed: 3
Timings (microseconds): count=52 first=31400 curr=31100 min=30900 max=32900 avg=31300 std=200
Memory (bytes): count=0
3 nodes observed
"""
RUNS = "count=52 first=31500 curr=31234 min=31011 max=33007 avg=31420.6 std=223"
FILE = b"\x1c\0\0\0TFL3" + bytes(5000)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A device on which nothing must be left in the end, whose program prints `OUTPUT`."""
    (tmp_path / "device").mkdir()
    fake = FakeDevice(tmp_path / "device")
    fake.prints(OUTPUT)
    monkeypatch.setenv("PATH", f"{fake.here}:{os.environ['PATH']}")
    yield fake
    assert fake.left == []


@pytest.fixture
def cli(fake, tmp_path):
    """Runs `larq_nas benchmark WORDS` in a folder with the run directories `a` and `b c` and LCE's program."""
    for name in ("a", "b c"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "model.tflite").write_bytes(FILE)

    def cli(*words, device="ssh:pi@board", code=0):
        (tmp_path / "program").write_bytes(fake.program)
        command = [sys.executable, "-m", "larq_nas", "benchmark", f"--device={device}", "--benchmark_binary=program"]
        done = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == code, done.stderr
        if code:
            assert done.stderr.startswith("larq_nas: benchmark: ") and done.stderr.count("\n") == 1, done.stderr
            assert "Error:" not in done.stderr
        return done

    return cli


def results(tmp_path):
    return json.loads((tmp_path / "runs/benchmark/benchmark.json").read_text())


# --- the program's output ------------------------------------------------------------------------------------


def test_output_is_read():
    operators = [
        {"type": "LceQuantize", "name": "[a;  b/c d]:0", "ms": 0.203, "percent": 0.646},
        {"type": "LceBconv2d", "name": "[tfl.conv]:1", "ms": 20.407, "percent": 64.951},
        # Called twice.
        {"type": "Convolution (NHWC, F32)", "name": "Delegate/Convolution:2", "ms": 10.81, "percent": 34.403},
    ]
    expected = {
        "latency_ms": {"mean": 31.4206, "min": 31.011, "max": 33.007, "std": 0.223, "median": None},
        "first_ms": 41.707,
        "init_ms": 1.471,
        "runs": 52,
        "peak_memory_mb": 5.625,
        "operators": operators,
    }
    assert benchmark_program.parse(OUTPUT) == expected
    # A terminal's spaces for tabs, and a version without the prefix.
    assert benchmark_program.parse(OUTPUT.expandtabs().replace("INFO: ", "")) == expected


def test_older_output_has_another_column_and_no_peak_memory():
    older = OUTPUT.replace("[first]", "[start]\t[first]").replace("\t    0.199", "\t    0.001\t    0.199")
    older = older.replace("\t   20.398", "\t   0.2\t   20.398").replace("\t    5.405\t", "\t 20.6\t    5.405\t", 1)
    older = "\n".join(line for line in older.splitlines() if "Overall peak" not in line)
    assert benchmark_program.parse(older) == {**benchmark_program.parse(OUTPUT), "peak_memory_mb": None}


def test_newer_output_has_the_median():
    newer = OUTPUT.replace(RUNS, f"{RUNS} p5=31020 median=31400 p95=32900")
    assert benchmark_program.parse(newer)["latency_ms"]["median"] == 31.4


@pytest.mark.parametrize(("line", "runs"), [("count=1 curr=31234", 1), ("count=3 curr=31234(all same)", 3)])
def test_runs_that_all_take_the_same_time(line, runs):
    found = benchmark_program.parse(OUTPUT.replace(RUNS, line))
    assert found["runs"] == runs
    assert found["latency_ms"] == {**dict.fromkeys(("mean", "min", "max", "median"), 31.234), "std": 0}


def test_output_without_a_profile_has_no_operators():
    assert benchmark_program.parse(OUTPUT.partition("INFO: Profiling")[0])["operators"] == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("avg=31420.6", "avg=nan"),
        ("avg=31420.6", "avg=inf"),
        ("avg=31420.6", "avg=0"),
        ("min=31011", "min=-5"),
        ("max=33007", "max=slow"),
        ("count=52", "count=x"),
        ("Init: 1471", "Init: ?"),
        ("First inference", "Inference no. 1"),
        ("Inference timings in us", "Timings"),
        ("5.625", "much"),
        (" 64.951%", " ..."),
    ],
)
def test_output_that_is_not_understood_is_refused(old, new):
    assert old in OUTPUT
    with pytest.raises(benchmark_program.BenchmarkError, match="not understood; use the version that pip show larq-"):
        benchmark_program.parse(OUTPUT.replace(old, new))


def test_elf_files_are_told_apart():
    big = HEADER[:5] + b"\x02" + HEADER[6:18] + (21).to_bytes(2, "big")
    contents = (HEADER, big, b"#!/bin/sh" * 9, b"\x7fELF")
    assert [benchmark_program.elf_machine(content) for content in contents] == [183, 21, None, None]
    own = benchmark_program.elf_machine(pathlib.Path(sys.executable).read_bytes())
    assert own == {"x86_64": 62, "aarch64": 183}.get(os.uname().machine)


# --- devices -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["adb", "ssh:pi@board"])
def test_a_benchmark_of_two_files(cli, fake, tmp_path, device):
    (tmp_path / "runs/b c/model.report.json").write_text('{"use_indirect_bgemm": true}')
    done = cli("--models=runs/a,runs/b c/model.tflite,runs/a/model.tflite", "--threads=4", "--repeat=2", device=device)
    *lines, last = done.stdout.splitlines()
    assert last == "runs/benchmark/benchmark.json" and done.stderr == ""
    header = ["model", "ms", "fastest", "slowest", "spread", "peak", "MB", "bytes", "kernel"]
    table = lines[[line.split() for line in lines].index(header) + 1 :]
    assert [line.split() for line in table[:2]] == [
        ["a", "31.42", "31.01", "33.01", "0.00", "5.6", "5,008", "default"],
        ["b", "c", "31.42", "31.01", "33.01", "0.00", "5.6", "5,008", "indirect"],
    ]
    found = results(tmp_path)
    assert found["device"] == device and found["options"]["threads"] == 4
    assert [(model["name"], len(model["measurements"])) for model in found["models"]] == [("a", 2), ("b c", 2)]
    measurement = found["models"][0]["measurements"][1]
    assert measurement["operators"][1]["type"] == "LceBconv2d"
    assert measurement["device"]["machine"] == "aarch64" and measurement["warnings"] == []
    # Of the last one.
    assert (fake.root / "arguments").read_text().split() == [
        "--graph=model.tflite",
        "--num_threads=4",
        "--num_runs=50",
        "--warmup_runs=10",
        "--use_xnnpack=false",
        "--use_indirect_bgemm=true",
        "--enable_op_profiling=true",
        "--report_peak_memory_footprint=true",
    ]


def test_a_chart_is_drawn_where_matplotlib_is_installed(cli, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    assert "runs/benchmark/benchmark.png" in cli("--models=runs/a,runs/b c").stdout.splitlines()
    assert (tmp_path / "runs/benchmark/benchmark.png").read_bytes().startswith(b"\x89PNG")
    # A module of this name that is none.
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "matplotlib.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"))
    *_, hint, last = cli("--models=runs/a").stdout.splitlines()
    assert hint == "pip install matplotlib gives a chart, too" and last.endswith("benchmark.json")
    assert not (tmp_path / "runs/benchmark/benchmark.png").exists(), "it is of another benchmark"


def test_a_device_needs_no_tensorflow(cli, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys; sys.modules |= dict.fromkeys(['tensorflow', 'larq', 'larq_compute_engine'])"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    cli("--models=runs/a")


def test_files_whose_path_is_strange_are_timed(cli, tmp_path):
    name = 'it\'s $(touch x) "q"; *'
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.tflite").write_bytes(FILE)
    cli(f'--models="one/{name.replace(chr(34), chr(34) * 2)}.tflite"')
    assert [model["name"] for model in results(tmp_path)["models"]] == [name]
    assert not list(tmp_path.rglob("x"))


def test_names_are_unique(cli, tmp_path):
    (tmp_path / "a.tflite").write_bytes(FILE)
    cli("--models=runs/a,a.tflite,runs/b c")
    assert [model["name"] for model in results(tmp_path)["models"]] == ["runs/a/model.tflite", "a.tflite", "b c"]


def test_warnings_are_shown_once_and_kept(cli, fake, tmp_path):
    fake.answers(governor="powersave")
    done = cli("--models=runs/a,runs/b c")
    assert done.stdout.count("note: ssh:pi@board: CPU governor powersave") == 1
    assert "powersave" in results(tmp_path)["models"][1]["measurements"][0]["warnings"][0]


def test_the_load_of_the_measurement_before_is_no_reason_for_a_warning(fake, tmp_path):
    fake.answers(load=4.4)
    (tmp_path / "program").write_bytes(fake.program)
    with timing.open_device("adb", tmp_path / "program") as device:
        found = [device.measure(FILE, timing.Options(threads=4)).warnings for _ in range(2)]
    assert len(found[0]) == 1 and "load 4.4" in found[0][0] and found[1] == []


# --- failures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--models=runs/none"], "benchmark: models=runs/none: No such file or directory; larq_nas convert writes"),
        (["--models=runs/a,program"], "benchmark: models=program: not a .tflite file"),
        (["--models=runs/a", "--benchmark_binary=none"], "none: No such file or directory; benchmark_binary must be"),
        (["--models=runs/a", "--benchmark_binary=runs/a/model.tflite"], "not a program for Linux or Android"),
        (["--models=runs/a", "--device=ssh:-oProxyCommand=touch x"], "accepted are user@host"),
    ],
)
def test_what_cannot_work_is_refused_before_the_device_is_touched(cli, fake, tmp_path, words, said):
    assert said in cli(*words, code=3).stderr
    assert fake.calls == [] and not (tmp_path / "runs/benchmark").exists()


def test_without_the_program_the_error_says_where_it_is(fake):
    for device in ("adb", "ssh:pi@board"):
        with pytest.raises(benchmark_program.BenchmarkError) as caught, timing.open_device(device):
            pass
        for part in ("compute-engine/releases", "_aarch64", "_android_arm64", "pip show larq-compute-engine"):
            assert part in str(caught.value)
    assert fake.calls == []


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"machine": "x86_64"}, ": benchmark_binary is a program for 64-bit ARM, the device is x86_64"),
        ({"bits": 32}, "32-bit system"),
        ({"free_kb": 5}, "5,120 bytes free"),
    ],
)
def test_device_that_does_not_fit_is_refused_before_anything_is_pushed(cli, fake, facts, said):
    fake.answers(**facts)
    assert said in cli("--models=runs/a", code=3).stderr
    assert not any("cat >" in call[-1] for call in fake.calls)


def test_connection_that_is_lost_after_the_first_file_leaves_its_result(cli, fake, tmp_path):
    fake.fails("exec", "client_loop: send disconnect: Broken pipe", skip=1)
    error = cli("--models=runs/a,runs/b c", code=3).stderr
    assert "lost (client_loop" in error and "1 finished measurements are in runs/benchmark/benchmark.json" in error
    assert [model["name"] for model in results(tmp_path)["models"]] == ["a"]


def test_a_failed_benchmark_leaves_the_results_of_an_earlier_one(cli, fake, tmp_path):
    cli("--models=runs/a")
    before = results(tmp_path)
    fake.fails("", "ssh: connect to host board port 22: Connection refused", always=True)
    assert "connection refused" in cli("--models=runs/b c", code=3).stderr
    assert results(tmp_path) == before


def test_a_program_that_takes_too_long_is_ended(cli, fake):
    fake.program_does("exec sleep 60")
    assert "not done within 2 seconds" in cli("--models=runs/a", "--timeout=2", code=3).stderr
    assert not fake.program_runs()


@pytest.mark.parametrize(
    ("output", "code", "said"),
    [
        ("Usage: another program", 0, "not understood; use the version"),
        (OUTPUT.replace("avg=31420.6", "avg=nan"), 0, "not understood; use the version"),
        ("INFO: STARTING!\nERROR: Bad file.\nBenchmarking failed.", 1, "ended with code 1: ERROR: Bad file."),
        ("./lce_benchmark_model: version `GLIBC_2.38' not found", 1, "ended with code 1: ./lce_benchmark_model: ver"),
        ("", 139, "ended with code 139: without a message"),
        (
            "ERROR: Grouped binary convolutions are not supported with this kernel.\nFailed to allocate tensors!",
            1,
            "this kernel.; this file needs use_indirect_bgemm",
        ),
    ],
    ids=["version", "garbage", "error", "libc", "crash", "groups"],
)
def test_a_program_that_fails_is_quoted(cli, fake, tmp_path, output, code, said):
    fake.prints(output, code)
    assert said in cli("--models=runs/a", code=3).stderr
    assert not (tmp_path / "runs/benchmark").exists()


# --- this machine --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def content():
    tf.keras.utils.set_random_seed(0)
    return tflite.convert(networks.build(bnas.space(3, 4).sample(0), (8, 8, 1))).bytes


OPTIONS = timing.Options(runs=5, warmup_runs=2)


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"runs": 0}, {"warmup_runs": -1}])
def test_impossible_numbers_of_runs_are_refused(wrong):
    with pytest.raises(ValueError, match="must be at least 1, 1 and 0"):
        timing.Options(**wrong)


def test_host_measures_with_both_kernels_and_takes_one(content):
    with timing.open_device("host") as device:
        found = [device.measure(content, dataclasses.replace(OPTIONS, use_indirect_bgemm=i)) for i in (None, 0, 1)]
    assert found[0].kernel in ("default", "indirect") and [m.kernel for m in found[1:]] == ["default", "indirect"]
    for measurement in found:
        times = measurement.latency_ms
        assert 0 < times["min"] <= times["median"] <= times["max"] and times["min"] <= times["mean"] <= times["max"]
        assert measurement.runs == 5 and measurement.first_ms > 0 and measurement.init_ms > 0
        assert measurement.device["device"] == "host" and measurement.peak_memory_mb is None
        portable = any("their times say nothing about ARM" in line for line in measurement.warnings)
        assert portable == (os.uname().machine not in ("arm64", "aarch64"))
    assert json.loads(json.dumps(found[0].to_dict())) == found[0].to_dict()


def test_host_needs_no_warm_up(content):
    options = dataclasses.replace(OPTIONS, runs=1, warmup_runs=0, use_indirect_bgemm=False)
    with timing.open_device("host") as device:
        found = device.measure(content, options)
    assert found.runs == 1 and found.latency_ms == {**dict.fromkeys(found.latency_ms, found.first_ms), "std": 0}
    assert timing.summarize([found])["spread_ms"] == 0


def test_host_runs_files_with_native_groups_with_the_only_kernel_that_can():
    tf.keras.utils.set_random_seed(0)
    space = bats.space(3, 64, groups=2)
    conversion = tflite.convert(networks.build(space.sample(0), (8, 8, 3)))
    assert conversion.report.use_indirect_bgemm
    with timing.open_device("host") as device:
        assert device.measure(conversion.bytes, OPTIONS).kernel == "indirect"
        with pytest.raises(benchmark_program.BenchmarkError, match="LCE cannot run this file"):
            device.measure(conversion.bytes, dataclasses.replace(OPTIONS, use_indirect_bgemm=False))


def test_host_stops_at_the_time_out(content):
    options = dataclasses.replace(OPTIONS, runs=10**9, timeout=1)
    with (
        timing.open_device("host") as device,
        pytest.raises(benchmark_program.BenchmarkError, match="timeout=1 seconds"),
    ):
        device.measure(content, options)


def test_command_on_this_machine(cli, content, tmp_path):
    (tmp_path / "runs/a/model.tflite").write_bytes(content)
    done = cli("--models=runs/a", "--runs=3", "--warmup_runs=1", device="host")
    assert done.stderr == "" and done.stdout.splitlines()[-1] == "runs/benchmark/benchmark.json"
    (model,) = results(tmp_path)["models"]
    assert model["file_bytes"] == len(content) and model["measurements"][0]["runs"] == 3
    (tmp_path / "runs/a/model.tflite").write_bytes(FILE)
    assert "LCE cannot run this file" in cli("--models=runs/a", device="host", code=3).stderr
