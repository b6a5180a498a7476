"""Runs programs on another machine: an Android device by `adb`, or any other machine by `ssh`.

A device is a context manager. It creates a new directory on the device, to which files are pushed and in which commands
run. At the end of the `with` block, also after an error, it kills a command that still runs and removes the directory.

```python
with devices.find("ssh:pi@raspberrypi") as device:
    device.push(content, "program")
    output = device.run(["./program", "--flag"], timeout=60)
```

Each remote command prints its exit code on a separate last line. If that line is missing, the connection broke. (The
exit code of `ssh` does not reliably show a broken connection, and old versions of `adb` return no exit code.)
"""

import pathlib
import re
import secrets
import shlex
import subprocess
import tempfile

# A part of a message of ssh or adb -> advice for the user.
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
_SECONDS = 120  # Time limit of this module's own commands. Pushing a file takes the longest.


class DeviceError(RuntimeError):
    """A device cannot be reached, or a command on it failed. The message says what to do."""


def find(text: str) -> "Device":
    """Returns the device of a name, without connecting to it.

    # Arguments
        text: `adb`, `adb:SERIAL`, `ssh:host`, `ssh:user@host` or `ssh:user@host:port`. An IPv6 address is written in
            brackets.

    # Returns
        An `Adb` or `Ssh`.

    # Raises
        DeviceError: If the text is not the name of a device.
    """
    if text == "adb":
        return Adb()
    kind, _, rest = text.partition(":")
    if kind == "adb":
        return Adb(rest)
    target = re.fullmatch(r"((?:[^@]*@)?(?:\[[^\]]*\]|[^:]*))(?::(\d+))?", rest)
    if kind == "ssh" and target:
        return Ssh(target[1], int(target[2]) if target[2] else None)
    raise DeviceError(
        f"{text!r}: no device; accepted are adb, adb:SERIAL, ssh:host, ssh:user@host and ssh:user@host:22"
    )


class Device:
    """Base class of `Adb` and `Ssh`.

    # Arguments
        text: Name of the device in messages.
        command: A list of words: the local command that runs a shell script on the device if the script is appended.
        parent: The directory on the device in which directories are created, as a word of a shell script.
    """

    def __init__(self, text: str, command: list[str], parent: str) -> None:
        self.text, self._command, self._parent = text, command, parent

    def __enter__(self):
        # The name is chosen here, so that the directory can be removed even if the connection breaks during `mkdir`.
        self.directory = f"{self._parent}/larq_nas-{secrets.token_hex(6)}"
        try:
            self._check(*self._remote(f"mkdir -m 700 {self.directory}"))
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, kind, error, traceback):
        # A command whose time-out passed here still runs on the device.
        kill = f"[ ! -f {self.directory}/pid ] || kill -9 $(cat {self.directory}/pid)"
        try:
            self._check(*self._remote(f"{kill}; rm -rf {self.directory}"))
        except DeviceError:
            if error is None:
                raise

    def push(self, content: bytes, name: str) -> None:
        """Writes an executable file into the directory on the device.

        # Arguments
            content: The file's content.
            name: The file's name.

        # Raises
            DeviceError: If writing fails, for example because there is no space left.
        """
        name = shlex.quote(name)
        # `cat` replaces scp, which needs sftp. Not every ssh server has sftp.
        self._check(*self._remote(f"cd {self.directory} && cat > {name} && chmod 755 {name}", content))

    def run(self, words: list, timeout: int) -> tuple:
        """Runs a program in the directory on the device.

        # Arguments
            words: A list of the program and its arguments.
            timeout: Seconds after which the program is given up.

        # Returns
            A pair of the program's output (stdout and stderr) and its exit code.

        # Raises
            DeviceError: If the connection breaks, the time is over, or the device cannot execute the program.
        """
        # If the connection breaks, the command `timeout` of the device ends the program. Some devices lack the command.
        guard = f"timeout 9 true 2>/dev/null && guard='timeout -s KILL {timeout + 30}'"
        program = " ".join(map(shlex.quote, words))
        run = f"""$guard sh -c 'echo $$ > pid; exec "$0" "$@"' {program}; code=$?; rm -f pid"""
        output, code = self._remote(f"cd {self.directory} && {{ guard=; {guard}; {run}; (exit $code); }}", b"", timeout)
        # Debian's shell tries to run a program for another kind of machine as a script.
        if code == 126 and "ermission denied" in output:
            raise DeviceError(
                f"{self.text}: permission denied to execute a program in its temporary directory, which is mounted "
                "noexec; with ssh, set TMPDIR of that user to a directory that allows programs"
            )
        if code in (126, 127) and re.search(_FOREIGN, output) or code and re.search("ELF|Syntax error", output):
            raise DeviceError(
                f"{self.text}: cannot execute {words[0]}: it is a program for another kind of machine or system "
                f"({last_line(output)})"
            )
        return output, code

    def describe(self) -> dict:
        """Reads the properties of the device on which a measurement depends.

        # Returns
            A dict with `device` (its name), `machine`, `abis` (of Android), `bits` (of the userland), `model`, `cores`,
            `free_bytes` (in the directory), `load` (average of the last minute), `governor` (of the CPU) and
            `temperature` (in °C). A value is `None` if the device does not report it.

        # Raises
            DeviceError: If the device cannot be reached.
        """
        read = "; ".join(f'echo "{name}=$({command})"' for name, (command, _) in _FACTS.items())
        output, _ = self._remote(f"cd {self.directory} && {{ {read}; }} 2>/dev/null")
        texts = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
        return {"device": self.text, **{name: _parsed(parse, texts.get(name)) for name, (_, parse) in _FACTS.items()}}

    def _remote(self, script, content=b"", seconds=_SECONDS):
        """Runs a shell script on the device and returns its output (stdout and stderr) and its exit code."""
        script = f"{{ {script}; }} 2>&1; printf '\\nlarq_nas:%s\\n' $?"
        # The login shell of the device may not be `sh`.
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
                f"{self.text}: not done within {seconds} seconds; check the connection, or give a longer timeout"
            ) from None
        done.stdout = done.stdout.decode(errors="replace").replace("\r\n", "\n")
        done.stderr = done.stderr.decode(errors="replace")
        return done

    def _check(self, output, code):
        if code:
            raise DeviceError(f"{self.text}: {_reason(output, 'a command failed')}")


class Ssh(Device):
    """A machine reached by `ssh`, which must be able to connect without asking for a password.

    # Arguments
        user_host: `user@host` or `host`.
        port: The port; by default the port of the user's ssh configuration.

    # Raises
        DeviceError: If `user_host` or `port` is not valid.
    """

    def __init__(self, user_host: str, port: int | None = None) -> None:
        # ssh would read a name that begins with a dash as an option, and an option can start a local program.
        part = r"[A-Za-z0-9_.][A-Za-z0-9_.-]*"
        match = re.fullmatch(rf"({part}@)?({part}|\[[0-9A-Fa-f:.]+\])", user_host)
        if not match or port is not None and not 0 < port < 65536:
            raise DeviceError(
                f"{user_host!r}{'' if port is None else f', port {port}'}: no host; accepted are user@host and host "
                "of letters, digits, '.', '-' and '_', an IPv6 address in brackets, and ports up to 65535"
            )
        text = f"ssh:{user_host}" + ("" if port is None else f":{port}")
        # A shared connection that stays open for later commands would also keep the pipes of this command open.
        ssh_options = ("BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=15", "ControlMaster=no")
        options = [word for option in ssh_options for word in ("-o", option)]
        if port is not None:
            options += ["-p", str(port)]
        target = (match[1] or "") + match[2].strip("[]")
        super().__init__(text, ["ssh", "-T", *options, "--", target], '"${TMPDIR:-/tmp}"')


class Adb(Device):
    """An Android device reached by `adb`.

    # Arguments
        serial: Serial of the device; by default the only device that is connected.

    # Raises
        DeviceError: If `serial` is not valid.
    """

    def __init__(self, serial: str | None = None) -> None:
        if serial is not None and not re.fullmatch(r"[A-Za-z0-9_.:][A-Za-z0-9_.:-]*", serial):
            raise DeviceError(f"{serial!r}: no serial of an Android device; adb devices lists them")
        self.serial = serial
        super().__init__("adb" if serial is None else f"adb:{serial}", ["adb", "shell"], "/data/local/tmp")

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

    def push(self, content: bytes, name: str) -> None:
        """Writes an executable file, see `Device.push`. It uses `adb push`, since old `adb shell`s change bytes."""
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "content")
            file.write_bytes(content)
            done = self._local([*self._command[:-1], "push", str(file), f"{self.directory}/{name}"])
        self._check(done.stdout + done.stderr, done.returncode)
        self._check(*self._remote(f"chmod 755 {self.directory}/{shlex.quote(name)}"))


def check(description: dict, needed_bytes: int) -> None:
    """Raises an error if a device cannot run a benchmark.

    # Arguments
        description: The dict that `describe` returns.
        needed_bytes: Number of bytes that will be pushed.

    # Raises
        DeviceError: If the device has a 32-bit system, or too little space is left.
    """
    text, abis, bits, free = (description[name] for name in ("device", "abis", "bits", "free_bytes"))
    machine = description["machine"] or "64-bit, as far as is known"
    if not ("64" in abis if abis else bits == 64 if bits else "64" in machine):
        raise DeviceError(
            f"{text}: has a 32-bit system ({abis or machine}), on which LCE is slow; install a 64-bit one"
        )
    if free is not None and free < needed_bytes:
        raise DeviceError(f"{text}: has {free:,} bytes free, but {needed_bytes:,} bytes must be copied to it")


def warnings(description: dict, own_load: float = 0) -> list:
    """Returns warnings about the state of a device in which timings are unreliable.

    # Arguments
        description: The dict that `describe` returns.
        own_load: The part of the load that comes from our own previous measurement.

    # Returns
        A list of lines of text.
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


# Name of a property -> a shell command that prints it, and a function that parses the output.
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
    """Returns advice for a known message of ssh or adb, or else `otherwise` with the last line of the message."""
    for part, reason in _REASONS.items():
        if part in text:
            return reason
    return f"{otherwise} ({last_line(text)})"


def last_line(text: str) -> str:
    """Returns the last line of a program's output, which usually says why the program failed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "without a message"
