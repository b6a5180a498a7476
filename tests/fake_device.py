"""A device for tests: programs `adb` and `ssh` that give commands to a real `sh`, in a folder that plays the device.

The folder holds `tmp` (temporary files of the device) and `bin` (its commands that differ from this machine's).
"""

import json
import os
import pathlib
import sys
import time

SERIAL = "0A041FDD"
# What is pushed as a program has this header. The device runs what stands behind it.
HEADER = b"\x7fELF\x02\x01\x01" + bytes(11) + (183).to_bytes(2, "little") + bytes(44)

TRANSPORT = """#!{python}
import json, os, pathlib, shutil, subprocess, sys
root, name, words = pathlib.Path({root!r}), pathlib.Path(sys.argv[0]).name, sys.argv[1:]
with open(root / "calls", "a") as file:
    print(json.dumps([name, *words]), file=file)
failures = json.loads((root / "failures").read_text())
for failure in failures:
    if failure["when"] in " ".join(words):
        failure["skip"] -= 1
        if failure["skip"] < 0:
            failure["skip"] += 0 if failure["always"] else 1 << 30
            (root / "failures").write_text(json.dumps(failures))
            print(failure["message"], file=sys.stderr)
            sys.exit(failure["code"])
(root / "failures").write_text(json.dumps(failures))

def there(text):
    return text.replace("/data/local/tmp", str(root / "tmp"))

def device(command):
    for path in (root / "tmp").glob("*/*"):
        content = path.read_bytes()
        if content.startswith(b"\\x7fELF") and not (root / "foreign").exists():
            path.write_bytes(content[64:])
        if (root / "noexec").exists():
            path.chmod(0o644)
    environment = {{"PATH": str(root / "bin") + ":" + os.environ["PATH"], "TMPDIR": str(root / "tmp")}}
    sys.exit(subprocess.run(["sh", "-c", there(command)], env=environment, cwd=root).returncode)

if name == "ssh":
    while words[0] != "--":
        option = words.pop(0)
        assert option == "-T" or option in ("-o", "-p") and words.pop(0)
    device(" ".join(words[2:]))
if words == ["devices"]:
    print("* daemon started successfully\\nList of devices attached\\n" + (root / "devices").read_text())
    sys.exit()
option, serial, verb, *words = words
assert option == "-s"
if verb == "push":
    print(words[0] + ": 1 file pushed")
    sys.exit(shutil.copyfile(words[0], there(words[1])) and 0)
assert verb == "shell"
device(" ".join(words))
"""

ANSWERS = """
uname) echo {machine} ;;
getconf) echo {bits} ;;
getprop) [ -n "{abis}" ] || exit 127; case $1 in *abilist) echo {abis} ;; *) echo "Pixel 9" ;; esac ;;
nproc) echo 4 ;;
df) echo "Filesystem 1024-blocks Used Available Capacity Mounted on"; echo "tmpfs 9999999 1 {free_kb} 1% {{}}" ;;
timeout) [ -n "{timeout}" ] && PATH={path} && exec timeout "$@"; exit 127 ;;
cat) case $1 in
    *loadavg) echo {load} 0.2 0.2 1/99 999 ;;
    *scaling_governor) echo {governor} ;;
    *thermal_zone0*) echo {millidegrees} ;;
    *) [ -n "{full}" ] && [ $# = 0 ] && {{ echo "cat: write error: No space left on device" >&2; exit 1; }}
       PATH={path} exec cat "$@" ;;
    esac ;;
"""

USUAL = {
    "machine": "aarch64",
    "bits": 64,
    "abis": "",
    "free_kb": 1_000_000,
    "load": 0.25,
    "governor": "performance",
    "millidegrees": 45123,
    "timeout": "yes",
    "full": "",
}


class FakeDevice:
    """A device, connected as `adb:SERIAL`, `ssh:pi@board` and any other host.

    # Arguments
        root: An empty folder.
    """

    def __init__(self, root: pathlib.Path):
        self.root = root
        self.here = root / "here"  # To be put on the PATH.
        for folder in ("tmp", "bin", "here"):
            (root / folder).mkdir()
        for name in ("adb", "ssh"):
            (self.here / name).write_text(TRANSPORT.format(python=sys.executable, root=str(root)))
            (self.here / name).chmod(0o755)
        (root / "failures").write_text("[]")
        (root / "calls").write_text("")
        self.adb_lists((SERIAL, "device"))
        self.answers()
        self.program_does("true")

    def answers(self, **facts):
        """Makes its commands tell other things than the usual."""
        text = ANSWERS.format(path=os.environ["PATH"], **{**USUAL, **facts})
        for name in ("uname", "getconf", "getprop", "nproc", "df", "timeout", "cat"):
            path = self.root / "bin" / name
            path.write_text(f"#!/bin/sh\ncase {name} in\n{text}\nesac\n")
            path.chmod(0o755)

    def adb_lists(self, *devices):
        """What `adb devices` shows."""
        (self.root / "devices").write_text("".join(f"{serial}\t{state}\n" for serial, state in devices))

    def fails(self, when, message, code=255, skip=0, always=False):
        """Makes calls of adb and ssh fail whose words hold a text: all of them, or one after some."""
        failures = json.loads((self.root / "failures").read_text())
        failures.append({"when": when, "message": message, "code": code, "skip": skip, "always": always})
        (self.root / "failures").write_text(json.dumps(failures))

    def program_does(self, script):
        """What `program` does on the device, beside leaving its number and arguments."""
        lines = [f"echo $$ > {self.root}/number", f"""printf '%s\\n' "$@" > {self.root}/arguments""", script]
        self.program = HEADER + "\n".join(["#!/bin/sh", *lines, ""]).encode()

    def prints(self, output, code=0):
        """Makes the program print a text."""
        (self.root / "output").write_text(output)
        self.program_does(f"cat {self.root}/output; exit {code}")

    @property
    def calls(self):
        """The words of all calls of adb and ssh."""
        return [json.loads(line) for line in (self.root / "calls").read_text().splitlines()]

    @property
    def left(self):
        """What is left there."""
        return [path.name for path in (self.root / "tmp").iterdir()]

    def program_runs(self):
        """Whether the program still runs; if it is being killed, not after a moment."""
        number = (self.root / "number").read_text().strip()
        for _ in range(100):
            try:
                state = pathlib.Path("/proc", number, "stat").read_text().rpartition(")")[2].split()[0]
            except FileNotFoundError:
                return False
            if state == "Z":
                return False
            time.sleep(0.05)
        return True
