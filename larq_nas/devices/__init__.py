"""Another machine on which a program can run: a phone behind `adb`, anything else behind `ssh`.

A device is used as a context. Within it there is a fresh directory on the device, into which files are pushed and in
which commands run. On leaving, what still runs there is killed and the directory removed, whatever happened meanwhile.

```python
with devices.find("ssh:pi@raspberrypi") as device:
    device.push(content, "program")
    output = device.run(["./program", "--flag"], timeout=60)
```

Each remote command ends by printing its exit code on a line of its own. Where that line is missing, the connection
broke. (The exit code of `ssh` does not tell that for sure, and old versions of `adb` have none.)
"""

import pathlib
import re
import secrets
import shlex
import subprocess
import tempfile

# Part of what ssh or adb say -> what to do.
_REASONS = {
    "Connection refused": "connection refused; is an ssh server running there, on this port?",
    "Host key verification failed": "its host key is unknown or has changed; connect once by hand with ssh",
    "Permission denied (": "permission denied; set up a key with ssh-copy-id (no password is asked for here)",
    "Could not resolve hostname": "no such host",
    "unauthorized": "unauthorized; unlock the device and accept this computer's key on its screen",
    "offline": "offline; unplug the device and plug it in again, or run: adb reconnect",
    "No space left on device": "no space left on the device",
}
_FOREIGN = "Exec format error|not executable|cannot execute binary|required file not found|not found|No such file"
_INSTALL = {
    "adb": "install the Android platform tools (Debian: apt install adb), with adb on the PATH",
    "ssh": "install an OpenSSH client (Debian: apt install openssh-client), with ssh on the PATH",
}
_SECONDS = 120  # For a command that is not the user's: pushing takes the longest.


class DeviceError(RuntimeError):
    """A device cannot be reached, or cannot do what it is asked for; the message says what to do."""


def find(text: str):
    """The device that a text names; nothing is connected yet.

    # Arguments
        text: `adb`, `adb:SERIAL`, `ssh:host`, `ssh:user@host` or `ssh:user@host:port`; an IPv6 address stands in
            brackets.

    # Returns
        An `Adb` or `Ssh`.

    # Raises
        DeviceError: If the text names none.
    """
    if text == "adb":
        return Adb()
    kind, _, rest = text.partition(":")
    if kind == "adb":
        return Adb(rest)
    target = re.fullmatch(r"((?:[^@]*@)?(?:\[[^\]]*\]|[^:]*))(?::(\d+))?", rest)
    if kind == "ssh" and target:
        return Ssh(target[1], target[2] and int(target[2]))
    raise DeviceError(
        f"{text!r}: no device; accepted are adb, adb:SERIAL, ssh:host, ssh:user@host and ssh:user@host:22"
    )


class Device:
    """What `Adb` and `Ssh` have in common.

    # Arguments
        text: Its name in messages.
        command: The words of a local command that runs the shell script given as one more word.
        parent: Where its directories are made, as a word of a shell script.
    """

    def __init__(self, text, command, parent):
        self.text, self._command, self._parent = text, command, parent

    def __enter__(self):
        # Named here, so that it can be removed even if the answer to its creation is lost.
        self.directory = f"{self._parent}/larq_nas-{secrets.token_hex(6)}"
        try:
            self._check(*self._remote(f"mkdir -m 700 {self.directory}"))
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, kind, error, traceback):
        # A command that was given up goes on there.
        kill = f"[ ! -f {self.directory}/pid ] || kill -9 $(cat {self.directory}/pid)"
        try:
            self._check(*self._remote(f"{kill}; rm -rf {self.directory}"))
        except DeviceError:
            if error is None:
                raise

    def push(self, content: bytes, name: str):
        """Writes an executable file into the directory.

        # Arguments
            content: The file's content.
            name: Its name.

        # Raises
            DeviceError: If that fails, for want of space for example.
        """
        name = shlex.quote(name)
        # Not every ssh server has sftp, which scp needs.
        self._check(*self._remote(f"cd {self.directory} && cat > {name} && chmod 755 {name}", content))

    def run(self, words: list, timeout: int) -> tuple:
        """Runs a program in the directory.

        # Arguments
            words: The program, and its arguments.
            timeout: Seconds it may take.

        # Returns
            What it printed, and its exit code.

        # Raises
            DeviceError: If the connection breaks, the time is over, or the device cannot execute the program.
        """
        # Should the connection break, the device's own time-out ends the program. Some devices have none.
        guard = f"timeout 9 true 2>/dev/null && guard='timeout -s KILL {timeout + 30}'"
        program = " ".join(map(shlex.quote, words))
        run = f"""$guard sh -c 'echo $$ > pid; exec "$0" "$@"' {program}; code=$?; rm -f pid"""
        output, code = self._remote(f"cd {self.directory} && {{ guard=; {guard}; {run}; (exit $code); }}", b"", timeout)
        # The shell of Debian tries to read a program for another machine as a script.
        if code == 126 and "ermission denied" in output:
            raise DeviceError(
                f"{self.text}: permission denied to execute a program in its temporary directory, mounted noexec; "
                "with ssh, another one can be given as TMPDIR of that user"
            )
        if code in (126, 127) and re.search(_FOREIGN, output) or code and re.search("ELF|Syntax error", output):
            raise DeviceError(
                f"{self.text}: cannot execute {words[0]}: it is a program for another kind of machine or system "
                f"({last_line(output)})"
            )
        return output, code

    def describe(self) -> dict:
        """Reads what a measurement depends on, in one call.

        # Returns
            `machine`, `abis` (of Android), `bits` of the userland, `model`, `cores`, `free_bytes` at the directory,
            `load` (average of the last minute), `governor` of the CPU, `temperature` (°C), each `None` where the device
            does not tell.

        # Raises
            DeviceError: If the device cannot be reached.
        """
        read = "; ".join(f'echo "{name}=$({command})"' for name, (command, _) in _FACTS.items())
        output, _ = self._remote(f"cd {self.directory} && {{ {read}; }} 2>/dev/null")
        texts = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
        return {"device": self.text, **{name: _parsed(parse, texts.get(name)) for name, (_, parse) in _FACTS.items()}}

    def _remote(self, script, content=b"", seconds=_SECONDS):
        """What a script prints there on stdout and stderr, and its exit code."""
        script = f"{{ {script}; }} 2>&1; printf '\\nlarq_nas:%s\\n' $?"
        # Its login shell may be any.
        done = self._local([*self._command, f"sh -c {shlex.quote(script)}"], content, seconds)
        match = re.fullmatch(r"(.*)\nlarq_nas:(\d+)\n.*", done.stdout, re.DOTALL)
        if not match:
            raise DeviceError(
                f"{self.text}: {_reason(done.stderr or done.stdout, 'the connection failed or was lost')}"
            )
        return match[1], int(match[2])

    def _local(self, words, content=b"", seconds=_SECONDS):
        try:
            done = subprocess.run(words, input=content, capture_output=True, timeout=seconds)
        except FileNotFoundError:
            raise DeviceError(f"{words[0]} is not installed; {_INSTALL[words[0]]}") from None
        except subprocess.TimeoutExpired:
            raise DeviceError(
                f"{self.text}: not done within {seconds} seconds; does it need a longer time-out?"
            ) from None
        done.stdout = done.stdout.decode(errors="replace").replace("\r\n", "\n")
        done.stderr = done.stderr.decode(errors="replace")
        return done

    def _check(self, output, code):
        if code:
            raise DeviceError(f"{self.text}: {_reason(output, 'a command failed')}")


class Ssh(Device):
    """A machine behind `ssh`, which must get there without asking for anything.

    # Arguments
        user_host: `user@host` or `host`.
        port: The port; that of the user's configuration by default.

    # Raises
        DeviceError: If that names no host.
    """

    def __init__(self, user_host, port=None):
        # ssh would take what begins with a dash as an option, which can name a local program to run.
        part = r"[A-Za-z0-9_.][A-Za-z0-9_.-]*"
        match = re.fullmatch(rf"({part}@)?({part}|\[[0-9A-Fa-f:.]+\])", user_host)
        if not match or port is not None and not 0 < port < 65536:
            raise DeviceError(
                f"{user_host!r}{'' if port is None else f', port {port}'}: no host; accepted are user@host and host "
                "of letters, digits, '.', '-' and '_', an IPv6 address in brackets, and ports up to 65535"
            )
        text = f"ssh:{user_host}" + ("" if port is None else f":{port}")
        options = ("BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=15")
        # A connection left open for later commands would keep this one's pipes open, too.
        options += ("ControlMaster=no",)
        options = [word for option in options for word in ("-o", option)]
        port = [] if port is None else ["-p", str(port)]
        target = (match[1] or "") + match[2].strip("[]")
        super().__init__(text, ["ssh", "-T", *options, *port, "--", target], '"${TMPDIR:-/tmp}"')


class Adb(Device):
    """An Android device behind `adb`.

    # Arguments
        serial: Which one; the only one that is connected by default.

    # Raises
        DeviceError: If that is no serial.
    """

    def __init__(self, serial=None):
        if serial is not None and not re.fullmatch(r"[A-Za-z0-9_.:][A-Za-z0-9_.:-]*", serial):
            raise DeviceError(f"{serial!r}: no serial of an Android device; adb devices lists them")
        self.serial = serial
        super().__init__("adb" if serial is None else f"adb:{serial}", None, "/data/local/tmp")

    def __enter__(self):
        lines = [line.split(maxsplit=1) for line in self._local(["adb", "devices"]).stdout.splitlines()]
        states = {words[0]: words[1] for words in lines if len(words) == 2 and words[0] not in ("List", "*")}
        serials = ", ".join(states)
        if not states:
            raise DeviceError("adb: no device; connect one with USB debugging on, or run: adb connect HOST")
        if self.serial is None and len(states) > 1:
            raise DeviceError(f"adb: several devices; choose one as adb:SERIAL, of {serials}")
        serial = self.serial or next(iter(states))
        if serial not in states:
            raise DeviceError(f"adb: no device {serial}; connected are {serials}")
        if states[serial] != "device":
            raise DeviceError(f"adb:{serial}: {_reason(states[serial], 'not ready')}")
        self._command = ["adb", "-s", serial, "shell"]
        return super().__enter__()

    def push(self, content, name):
        """See `Device.push`; through old versions of `adb shell` no bytes pass unchanged."""
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "content")
            file.write_bytes(content)
            done = self._local([*self._command[:-1], "push", str(file), f"{self.directory}/{name}"])
        self._check(done.stdout + done.stderr, done.returncode)
        self._check(*self._remote(f"chmod 755 {self.directory}/{shlex.quote(name)}"))


def check(description: dict, needed_bytes: int):
    """Refuses a device that cannot run a benchmark.

    # Arguments
        description: What `describe` says of it.
        needed_bytes: What is to be pushed.

    # Raises
        DeviceError: If its userland is not known to have 64 bits, or too little space is left.
    """
    text, abis, bits, free = (description[name] for name in ("device", "abis", "bits", "free_bytes"))
    machine = description["machine"] or "64-bit, as far as is known"
    if not ("64" in abis if abis else bits == 64 if bits else "64" in machine):
        raise DeviceError(f"{text}: a 32-bit system ({abis or machine}), for which LCE is slow; install a 64-bit one")
    if free is not None and free < needed_bytes:
        raise DeviceError(f"{text}: {free:,} bytes free, which is too little for the {needed_bytes:,} to be pushed")


def warnings(description: dict, own_load=0) -> list:
    """What makes timings on a device doubtful.

    # Arguments
        description: What `describe` says of it.
        own_load: How much of the load is one's own, of a measurement just before.

    # Returns
        Lines of text.
    """
    lines, text = [], description["device"]
    cores, load, governor, temperature = (description[name] for name in ("cores", "load", "governor", "temperature"))
    if cores and load is not None and load - own_load > cores / 2:
        lines.append(f"{text}: load {load:.1f} on {cores} cores; stop other programs, as they slow this one down")
    if governor not in (None, "performance"):
        lines.append(f"{text}: CPU governor {governor}, under which clock rates vary; performance keeps them high")
    if temperature is not None and temperature >= 70:
        lines.append(f"{text}: {temperature:.0f} °C, at which CPUs slow down; let it cool")
    return lines


# Name -> a shell command that reads it, and what turns its output into a value.
_FACTS = {
    "machine": ("uname -m", str),
    "abis": ("getprop ro.product.cpu.abilist", str),
    "bits": ("getconf LONG_BIT", int),
    "model": ("getprop ro.product.model || tr -d '\\0' < /proc/device-tree/model", str),
    "cores": ("nproc || grep -c ^processor /proc/cpuinfo", int),
    "free_bytes": ("df -kP . | tail -n 1", lambda line: int(re.findall(r"(\d+)\s+\d+%", line)[0]) * 1024),
    "load": ("cat /proc/loadavg", lambda line: float(line.split()[0])),
    "governor": ("cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", str),
    "temperature": ("cat /sys/class/thermal/thermal_zone0/temp", lambda line: int(line) / 1000),
}


def _parsed(parse, text):
    try:
        return parse(text.strip()) if text and text.strip() else None
    except (IndexError, TypeError, ValueError):
        return None


def _reason(text, otherwise):
    """What to do about a message of a program, or the end of the message."""
    for part, reason in _REASONS.items():
        if part in text:
            return reason
    return f"{otherwise} ({last_line(text)})"


def last_line(text: str) -> str:
    """The last line of what a program printed, where it says why it failed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "without a message"
