import getpass
import os
import pathlib
import shutil
import signal
import subprocess
import threading
import time

import pytest
from fake_device import SERIAL, FakeDevice

from larq_nas import devices

TEXTS = ["adb", f"adb:{SERIAL}", "ssh:pi@board", "ssh:board:2222"]


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A device on which nothing must be left in the end."""
    (tmp_path / "device").mkdir()
    fake = FakeDevice(tmp_path / "device")
    monkeypatch.setenv("PATH", f"{fake.here}:{os.environ['PATH']}")
    yield fake
    assert fake.left == []


def refused(text, *fragments, fake=None):
    """One clear line."""
    with pytest.raises(devices.DeviceError) as caught, devices.find(text) as device:
        device.push(fake.program, "program")
        device.run(["./program"], timeout=20)
    assert "\n" not in str(caught.value)
    for fragment in fragments:
        assert fragment in str(caught.value)


# --- names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["", "host", "usb", "ssh", "ssh:", "ssh:a b", "ssh:-oProxyCommand=x", "ssh:-l@board", "ssh:pi@-oProxyCommand=x"]
    + ["ssh:pi@board;reboot", "ssh:pi@board:ssh", "ssh:pi@board:0", "ssh:pi@board:70000", "ssh:$(id)@board"]
    + ["ssh:pi@[-oX]", "ssh:pi@me@board", "ssh:pi@board\n", "adb:", "adb:-d", "adb:x y", "adb:`id`"],
)
def test_text_that_names_no_device_is_refused_before_anything_runs(fake, text):
    refused(text, "accepted are" if not text.startswith("adb:") else "adb devices lists them")
    assert fake.calls == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ssh:board", ["--", "board"]),
        ("ssh:pi@board.local:2222", ["-p", "2222", "--", "pi@board.local"]),
        ("ssh:pi@[fe80::1]:22", ["-p", "22", "--", "pi@fe80::1"]),
    ],
)
def test_ssh_gets_the_host_behind_its_options_and_never_asks(fake, text, words):
    with devices.find(text) as device:
        assert device.text == text
    for call in fake.calls:
        assert call[:2] == ["ssh", "-T"] and call[-len(words) - 1 : -1] == words
        assert "BatchMode=yes" in call and "ConnectTimeout=10" in call


# --- what works ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", TEXTS)
def test_program_runs_in_a_fresh_directory_with_its_arguments_as_they_are(fake, text):
    fake.program_does("pwd; cat data; echo to stderr >&2; exit 3")
    words = ["a b", "it's", '"', "$HOME", "*", "; reboot", ""]
    with devices.find(text) as device, devices.find(text) as other:
        device.push(fake.program, "program")
        device.push(bytes(range(256)) * 1000, "data")
        (files,) = (set(os.listdir(path)) for path in (fake.root / "tmp").iterdir() if any(path.iterdir()))
        assert files == {"program", "data"}
        other.push(b"", "data")
        output, code = device.run(["./program", *words], timeout=20)
    assert code == 3 and output.endswith("to stderr\n")
    assert (fake.root / "arguments").read_text() == "\n".join(words) + "\n"


@pytest.mark.parametrize("text", TEXTS[1:3])
def test_description_of_a_device(fake, text):
    android = "arm64-v8a,armeabi-v7a" if text.startswith("adb") else None
    fake.answers(abis=android or "")
    with devices.find(text) as device:
        before = len(fake.calls)
        found = device.describe()
        assert len(fake.calls) == before + 1
    assert found["model"] == "Pixel 9" or not android
    assert {name: value for name, value in found.items() if name != "model"} == {
        "device": text,
        "machine": "aarch64",
        "abis": android,
        "bits": 64,
        "cores": 4,
        "free_bytes": 1_024_000_000,
        "load": 0.25,
        "governor": "performance",
        "temperature": 45.123,
    }
    devices.check(found, 1_024_000_000)
    assert devices.warnings(found) == []


def test_what_a_device_does_not_tell_is_none_and_no_obstacle(fake):
    fake.answers(machine="", bits="many", free_kb="?", load="?", governor="", millidegrees="hot")
    with devices.find("ssh:board") as device:
        found = device.describe()
    assert {name for name, value in found.items() if value is not None} - {"model"} == {"device", "cores"}
    devices.check(found, 10**12)
    assert devices.warnings(found) == []


# --- what does not -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"bits": 32}, "32-bit system (aarch64)"),
        ({"bits": "", "machine": "armv7l"}, "32-bit system (armv7l)"),
        ({"abis": "armeabi-v7a,armeabi"}, "32-bit system (armeabi-v7a,armeabi)"),
        ({"free_kb": 97}, "99,328 bytes free, but 100,000 bytes must be copied"),
    ],
)
def test_device_that_cannot_run_a_benchmark_is_refused(fake, facts, said):
    fake.answers(**facts)
    with devices.find("adb") as device, pytest.raises(devices.DeviceError) as caught:
        devices.check(device.describe(), 100_000)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"load": 2.01}, "load 2.0 on 4 cores"),
        ({"governor": "ondemand"}, "CPU governor ondemand"),
        ({"millidegrees": 70000}, "70 °C"),
    ],
)
def test_what_makes_timings_doubtful_is_said(fake, facts, said):
    fake.answers(**facts)
    with devices.find("ssh:board") as device:
        (line,) = devices.warnings(device.describe())
    assert said in line


def test_own_load_is_no_reason_for_a_warning(fake):
    fake.answers(load=4.5)
    with devices.find("ssh:board") as device:
        found = device.describe()
    assert devices.warnings(found, own_load=4) == [] and len(devices.warnings(found, own_load=1)) == 1


@pytest.mark.parametrize("text", ["adb", "ssh:board"])
def test_missing_program_says_how_to_get_it(fake, text, monkeypatch):
    monkeypatch.setenv("PATH", str(fake.root / "tmp"))
    refused(text, f"{text[:3]} is not installed; install", "apt install")


@pytest.mark.parametrize(
    ("text", "listed", "said"),
    [
        ("adb", [], ["adb: no device; connect one"]),
        ("adb", [("A1", "device"), ("B2", "device")], ["several devices", "adb:SERIAL, of A1, B2"]),
        ("adb:C3", [("A1", "device"), ("B2", "device")], ["no device C3; connected are A1, B2"]),
        ("adb", [("A1", "unauthorized")], ["adb:A1: unauthorized", "accept this computer's key"]),
        ("adb:A1", [("A1", "offline")], ["adb:A1: offline"]),
        ("adb", [("A1", "no permissions (udev rules)")], ["adb:A1: not ready (no permissions (udev rules))"]),
    ],
)
def test_android_device_that_is_not_there(fake, text, listed, said):
    fake.adb_lists(*listed)
    refused(text, *said)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("ssh: connect to host board port 22: Connection refused", "is an ssh server running there"),
        ("No ED25519 host key is known for board\nHost key verification failed.", "host key is unknown"),
        ("pi@board: Permission denied (publickey,password).", "ssh-copy-id"),
        ("ssh: Could not resolve hostname board: Name or service not known", "no such host"),
        ("ssh: connect to host board port 22: No route to host", "failed or was lost (ssh: connect to host"),
    ],
)
def test_ssh_that_gets_no_connection(fake, message, said):
    fake.fails("", message, always=True)
    refused("ssh:pi@board", "ssh:pi@board: ", said)


@pytest.mark.parametrize(
    ("text", "message", "code"),
    [("ssh:board", "client_loop: send disconnect: Broken pipe", 255), ("adb", "error: device 'x' not found", 1)],
)
def test_connection_lost_in_the_middle(fake, text, message, code):
    fake.fails("exec", message, code)
    refused(text, f"the connection failed or was lost ({message})", fake=fake)


def test_answer_without_an_exit_code_is_a_lost_connection(fake):
    fake.fails("exec", "", code=0)
    refused("ssh:board", "the connection failed or was lost", fake=fake)


def test_directory_is_removed_even_if_the_answer_to_its_creation_is_lost(fake):
    (fake.here / "real").write_text((fake.here / "ssh").read_text().replace("name, words", "_, words", 1))
    (fake.here / "real").chmod(0o755)
    text = f'#!/bin/sh\n{fake.here}/renamed/ssh "$@" > {fake.root}/answer\ncase "$*" in *mkdir*) exit 255 ;; esac\n'
    (fake.here / "renamed").mkdir()
    shutil.move(fake.here / "ssh", fake.here / "renamed" / "ssh")
    (fake.here / "ssh").write_text(f"{text}cat {fake.root}/answer\n")
    (fake.here / "ssh").chmod(0o755)
    refused("ssh:board", "the connection failed or was lost")
    assert ["mkdir" in call[-1] for call in fake.calls] == [True, False]


@pytest.mark.parametrize("guard", ["yes", ""])
@pytest.mark.parametrize("text", ["adb", "ssh:board"])
def test_time_out_ends_the_program_there(fake, text, guard):
    fake.answers(timeout=guard)
    fake.program_does("exec sleep 60")
    with pytest.raises(devices.DeviceError, match="not done within 2 seconds"), devices.find(text) as device:
        device.push(fake.program, "program")
        device.run(["./program"], timeout=2)
    assert not fake.program_runs()


# After an interruption `subprocess.run` does not wait for the ssh that it killed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_interruption_ends_the_program_there(fake):
    fake.program_does("exec sleep 60")
    # A shell that starts the tests in the background has them ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt():
        while not (fake.root / "number").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    with pytest.raises(KeyboardInterrupt), devices.find("ssh:board") as device:
        device.push(fake.program, "program")
        thread.start()
        device.run(["./program"], timeout=50)
    thread.join()
    signal.signal(signal.SIGINT, before)
    assert not fake.program_runs()


def test_device_without_space(fake):
    fake.answers(full="yes")
    refused("ssh:board", "ssh:board: no space left on the device", fake=fake)
    fake.fails("push", "adb: error: failed to copy: remote couldn't create file: No space left on device", 1)
    refused("adb", "adb: no space left on the device", fake=fake)


def test_program_for_another_machine(fake):
    (fake.root / "foreign").touch()
    fake.program = b"\x7fELF" + bytes(range(200, 256)) * 4
    refused("ssh:board", "program for another kind of machine", fake=fake)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("sh: ./program: not executable: 64-bit ELF file", 126),
        ("sh: 1: ./program: Exec format error", 126),
        ("bash: ./program: cannot execute binary file: Exec format error", 126),
        ("bash: ./program: cannot execute: required file not found", 127),
    ],
)
def test_other_shells_have_other_words_for_it(fake, message, code):
    fake.program_does(f"echo '{message}' >&2; exit {code}")
    refused("adb", "program for another kind of machine", message, fake=fake)


def test_directory_in_which_nothing_may_be_executed(fake):
    (fake.root / "noexec").touch()
    refused("ssh:board", "mounted noexec", "TMPDIR", fake=fake)


def test_directory_that_cannot_be_removed_is_no_secret(fake):
    fake.fails("rm -rf", "client_loop: send disconnect: Broken pipe")
    refused("ssh:board", "lost (client_loop", fake=fake)
    (left,) = fake.left
    shutil.rmtree(fake.root / "tmp" / left)


# --- a real server -------------------------------------------------------------------------------------------

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A real `sshd` of the current user, and an `ssh` that has its key: the name of the device."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {(tmp_path / 'host.pub').read_text()}")
    settings = [f"Port {port}", "ListenAddress 127.0.0.1", f"HostKey {tmp_path}/host", "UsePAM no", "StrictModes no"]
    settings += [f"AuthorizedKeysFile {tmp_path}/user.pub", f"PidFile {tmp_path}/pid", "PasswordAuthentication no"]
    (tmp_path / "sshd_config").write_text("\n".join([*settings, ""]))
    client = [f"IdentityFile {tmp_path}/user", "IdentitiesOnly yes", f"UserKnownHostsFile {tmp_path}/known"]
    (tmp_path / "config").write_text("\n".join([*client, "StrictHostKeyChecking yes", ""]))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {tmp_path}/config "$@"\n')
    (tmp_path / "bin" / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    if os.getuid() == 0:
        pathlib.Path("/run/sshd").mkdir(exist_ok=True)
    process = subprocess.Popen([SSHD, "-D", "-e", "-f", tmp_path / "sshd_config"], stderr=subprocess.PIPE)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", port)):
                    break
            time.sleep(0.05)
        yield f"ssh:{getpass.getuser()}@127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate()


@pytest.mark.skipif(not SSHD or not shutil.which("ssh"), reason="no OpenSSH server")
def test_real_ssh_server(server, tmp_path):
    script = b'#!/bin/sh\npwd; wc -c < data; printf "%s\\n" "$@"; echo $$ > number; [ "$1" != wait ] || exec sleep 60\n'
    words = ["a b", "it's", "$HOME", "; true"]
    with devices.find(server) as device:
        found = device.describe()
        assert found["machine"] == os.uname().machine and found["cores"] and found["free_bytes"] > 0
        device.push(script, "program")
        device.push(bytes(range(256)) * 4096, "data")
        output, code = device.run(["./program", *words], timeout=20)
        directory, size, *printed = output.splitlines()
        assert (code, int(size), printed) == (0, 1 << 20, words)
        with pytest.raises(devices.DeviceError, match="not done within 2 seconds"):
            device.run(["./program", "wait"], timeout=2)
        number = pathlib.Path(directory, "number").read_text().strip()
    assert not pathlib.Path(directory).exists()
    for _ in range(100):
        if not pathlib.Path("/proc", number).exists():
            break
        time.sleep(0.05)
    else:
        pytest.fail("the program still runs")
    with pytest.raises(devices.DeviceError, match="ssh-copy-id"):
        (tmp_path / "user").write_text((tmp_path / "host").read_text())
        (tmp_path / "user.pub").rename(tmp_path / "moved.pub")
        devices.find(server).__enter__()
    (tmp_path / "known").write_text("")
    with pytest.raises(devices.DeviceError, match="host key is unknown"):
        devices.find(server).__enter__()
