"""The chief and the workers of a tuning on several machines.

The chief has the oracle, and trains nothing. Each worker asks the chief for a trial, does its search or its training,
and reports the metrics. All of them use the same directory. They speak by the service of KerasTuner, and the variables
of KerasTuner in the environment say what a process is:

| variable | value |
|---|---|
| `KERASTUNER_ORACLE_IP` | the address of the chief |
| `KERASTUNER_ORACLE_PORT` | a free port of the chief |
| `KERASTUNER_TUNER_ID` | `chief` for the chief, and another name for each worker |

With KerasTuner alone, the trial of a worker that was killed waits for a worker of the same name, and the chief never
ends. Here, workers give a sign of life every few seconds. The trial of a silent worker goes to another worker.
"""

import collections
import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent import futures
from typing import Any

import grpc
import keras_tuner

from larq_nas.tuning import _keras_tuner
from larq_nas.tuning.errors import TuningError, TuningStopped

logger = logging.getLogger(__name__)

CHIEF, WORKER = "chief", "worker"
_VARIABLES = _IP, _PORT, _NAME = "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT", "KERASTUNER_TUNER_ID"
# Seconds between two signs of life, seconds after which a worker without one is taken for dead, and seconds for which a
# worker waits for the chief.
BEAT, SILENCE, PATIENCE = 5.0, 60.0, 600.0
# Seconds until a worker asks again, if there is no trial for it now.
PAUSE = 1.0
_KEY, _THREADS = "larq-nas-worker", 8


def role() -> str:
    """What this process is in a tuning: `"chief"`, `"worker"`, or `""` if it tunes alone.

    # Raises
        TuningError: If the variables in the environment are not complete.
    """
    given = {name: os.environ.get(name, "") for name in _VARIABLES}
    if _IP not in os.environ:
        return ""
    for name, value in given.items():
        if not value:
            raise TuningError(f"{name}: is not set; a chief and its workers need {', '.join(_VARIABLES)}")
    if not given[_PORT].isdecimal() or not 0 < int(given[_PORT]) < 1 << 16:
        raise TuningError(f"{_PORT}={given[_PORT]}: is no port; give a number from 1 to 65535")
    if not (given[_NAME].isascii() and given[_NAME].isprintable()):
        raise TuningError(f"{_NAME}={given[_NAME]!r}: is no name; give letters and digits")
    # KerasTuner takes every name that contains this word for the chief.
    return CHIEF if CHIEF in given[_NAME] else WORKER


def _address():
    return f"{os.environ[_IP]}:{os.environ[_PORT]}"


# --- the chief -----------------------------------------------------------------------------------------------


def serve(oracle: keras_tuner.Oracle, names: Iterable[str]) -> None:
    """Gives the trials of an oracle to workers, until all trials have ended.

    # Arguments
        oracle: The oracle.
        names: The names of workers that have trials already.

    # Raises
        TuningError: If the address cannot be used.
        RuntimeError: If too many trials in a row have failed.
    """
    if _keras_tuner.is_over(oracle, CHIEF):
        return
    servicer = _Servicer(oracle, names)
    server = grpc.server(futures.ThreadPoolExecutor(_THREADS), options=[("grpc.so_reuseport", 0)])
    _keras_tuner.add_to_server(servicer, server)
    try:
        bound = server.add_insecure_port(_address())
    except RuntimeError:
        bound = 0
    if not bound:
        raise TuningError(
            f"{_address()}: the chief cannot listen there; give an address of this machine and a free port"
        )
    server.start()
    logger.info("chief at %s: waiting for workers", _address())
    try:
        while not servicer.is_over():
            time.sleep(0.1)
            servicer.forget_silent()
            while servicer.events:
                logger.info(servicer.events.popleft())
    finally:
        server.stop(grace=1).wait()
    if servicer.failure:
        raise servicer.failure


class _Servicer(_keras_tuner.OracleServicer):
    """Answers the requests of workers."""

    def __init__(self, oracle: keras_tuner.Oracle, names: Iterable[str]) -> None:
        super().__init__(oracle)
        self.failure: Exception | None = None
        # What has happened in the threads of the server, as lines of text.
        self.events: collections.deque[str] = collections.deque()
        self._dismissed: set[str] = set()
        # When each worker has given its last sign of life.
        self._seen = dict.fromkeys(names, time.monotonic())

    def is_over(self) -> bool:
        """Whether all trials have ended, and all workers know it."""
        over = self._dismissed and not _keras_tuner.has_unfinished(self.oracle)
        return self.failure is not None or bool(over and set(self._seen) <= self._dismissed)

    def forget_silent(self) -> None:
        """Takes back the trials of workers that have given no sign of life for a while."""
        for name, when in list(self._seen.items()):
            if time.monotonic() - when > SILENCE:
                del self._seen[name]
                trial = _keras_tuner.take_back(self.oracle, name)
                if trial:
                    self.events.append(f"worker {name}: silent; trial {trial} goes to another worker")

    def GetSpace(self, request: Any, context: Any) -> Any:
        # Workers give their sign of life by this request.
        for key, name in context.invocation_metadata():
            if key == _KEY:
                self._seen[name] = time.monotonic()
        return super().GetSpace(request, context)

    def CreateTrial(self, request: Any, context: Any) -> Any:
        if request.tuner_id not in self._seen:
            self.events.append(f"worker {request.tuner_id}: has joined")
        self._seen[request.tuner_id] = time.monotonic()
        with self._errors(context):
            trial = self.oracle.create_trial(request.tuner_id)
            if trial.status == "STOPPED":
                if _keras_tuner.has_unfinished(self.oracle):
                    # The trial of another worker may come back.
                    trial.status = "IDLE"
                else:
                    self._dismissed.add(request.tuner_id)
            return _keras_tuner.response_of(trial)

    def EndTrial(self, request: Any, context: Any) -> Any:
        with self._errors(context):
            answer = _keras_tuner.end_once(self.oracle, request)
            trial = self.oracle.get_trial(request.trial.trial_id)
            score = "" if trial.score is None else f", {self.oracle.objective.name} {trial.score:.4f}"
            self.events.append(f"trial {trial.trial_id}: {trial.status.lower()}{score}")
            return answer

    @contextlib.contextmanager
    def _errors(self, context):
        """Ends the tuning with an error of the oracle."""
        try:
            yield
        except Exception as error:
            self.failure = error
            _keras_tuner.unlock(self.oracle)
            context.abort(grpc.StatusCode.ABORTED, "the chief has failed")


# --- workers -------------------------------------------------------------------------------------------------


def wait_for_chief() -> None:
    """Waits until the chief answers.

    # Raises
        TuningStopped: If it does not answer in `PATIENCE` seconds.
    """
    with grpc.insecure_channel(_address()) as channel:
        ready = grpc.channel_ready_future(channel)
        with contextlib.suppress(grpc.FutureTimeoutError):
            ready.result(min(BEAT, PATIENCE))
            return
        logger.info("worker %s: waiting for the chief at %s", os.environ[_NAME], _address())
        try:
            ready.result(PATIENCE)
        except grpc.FutureTimeoutError:
            raise _unreachable() from None


def _unreachable():
    return TuningStopped(
        f"{_address()}: no chief answers there; start the chief with the same command and {_NAME}=chief, then repeat "
        "this command"
    )


def _asking(name):
    """A method of `Client` that repeats a request while the chief is interrupted. A request may be repeated."""
    ask = getattr(_keras_tuner.OracleClient, name)

    def method(self, *args, **kwargs):
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return ask(self, *args, **kwargs)
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.ABORTED:
                    raise TuningStopped(f"{_address()}: {error.details()}; its output says why") from None
                if error.code() != grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                    raise _unreachable() from None
            time.sleep(PAUSE)

    return method


class Client(_keras_tuner.OracleClient):
    """What a worker has in place of its oracle. It asks the chief.

    # Raises
        TuningStopped: Each request, if the chief does not answer in `PATIENCE` seconds.
    """

    get_space, get_trial, update_trial, end_trial = map(
        _asking, ("get_space", "get_trial", "update_trial", "end_trial")
    )
    _create_trial = _asking("create_trial")

    def __init__(self, oracle: keras_tuner.Oracle) -> None:
        super().__init__(oracle)
        _keras_tuner.set_timeout(PATIENCE)
        # By default, gRPC waits for up to two minutes before it tries again to reach a chief that was interrupted.
        options = [("grpc.max_reconnect_backoff_ms", int(1000 * BEAT))]
        self.stub = _keras_tuner.stub_of(grpc.insecure_channel(_address(), options))

    def create_trial(self, tuner_id: str) -> Any:
        trial = self._create_trial(tuner_id)
        if trial.status == "IDLE":
            time.sleep(PAUSE)
        return trial

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Gives signs of life within a `with` block."""
        ended = threading.Event()
        thread = threading.Thread(target=self._beat, args=(ended,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _beat(self, ended):
        while not ended.wait(BEAT):
            with contextlib.suppress(grpc.RpcError):
                _keras_tuner.ask_for_space(self.stub, timeout=SILENCE / 4, metadata=((_KEY, self.tuner_id),))
