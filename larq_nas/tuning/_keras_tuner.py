"""The private parts of KerasTuner that larq_nas uses."""

import contextlib
import functools
import json
import pathlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras_tuner
from keras_tuner.src import config, protos
from keras_tuner.src.distribute import oracle_chief, oracle_client
from keras_tuner.src.engine import conditions
from keras_tuner.src.engine import oracle as oracles
from keras_tuner.src.engine import trial as trials

OracleClient, OracleServicer = oracle_client.OracleClient, oracle_chief.OracleServicer
# KerasTuner prints the value of each condition that it sends.
conditions.print = lambda *values: None  # type: ignore[attr-defined]
# Random values that an oracle draws at most for a trial, until they are new and accepted.
ATTEMPTS = 1_000


def accept_only(oracle: keras_tuner.Oracle, accepts: Callable[[dict], bool]) -> None:
    """Makes an oracle redraw random values that `accepts` rejects, like values that it has drawn before.

    Values that an oracle does not draw at random, e.g. those that maximize an acquisition function, are not affected.

    # Arguments
        oracle: A `keras_tuner.Oracle`.
        accepts: A function from a dictionary of values to whether they are accepted.
    """
    seen = oracle._duplicate
    oracle._duplicate = lambda values: seen(values) or not accepts(values)
    oracle._max_collisions = ATTEMPTS


class DrawingOracle(keras_tuner.Oracle):
    """The base class of an oracle that draws random values."""

    def drawn(self) -> dict | None:
        """Values that are drawn evenly, and that are new and accepted; `None` if none are found."""
        return self._random_values()

    def is_new(self, values: dict) -> bool:
        """Whether the values have not been tried before, and are accepted."""
        return not self._duplicate(values)

    def next_seed(self) -> int:
        """A seed that differs from those before. A resumed oracle goes on with the next one."""
        self._seed_state += 1
        return self._seed_state


def space_of(hyperparameters: keras_tuner.HyperParameters) -> list:
    """The names, values and conditions of hyperparameters, for a comparison."""
    # A worker gets those of the chief in this form.
    sent = keras_tuner.HyperParameters.from_proto(hyperparameters.to_proto())
    return sent.get_config()["space"]


def is_over(oracle: keras_tuner.Oracle, name: str) -> bool:
    """Whether all trials of an oracle have ended. `name` is a name that no tuner has."""
    trial = oracle.create_trial(name)
    take_back(oracle, name)
    return trial.status == "STOPPED" and not has_unfinished(oracle)


@keras_tuner.synchronized
def take_back(oracle: keras_tuner.Oracle, name: str) -> str | None:
    """Takes the trial of a tuner back, to give it to the next tuner that asks. Returns its number, if there is one."""
    trial = oracle.ongoing_trials.pop(name, None)
    oracle.tuner_ids.discard(name)
    if trial is None:
        return None
    oracle._retry_queue.append(trial.trial_id)
    oracle.save()
    return trial.trial_id


@keras_tuner.synchronized
def adopt(oracle: keras_tuner.Oracle) -> list[str]:
    """Assigns the running trials of a reloaded oracle to their tuners again. Returns the names of the tuners.

    By itself, an oracle that is loaded gives such trials to the next tuner that asks.
    """
    file = pathlib.Path(oracle._get_oracle_fname())
    if not file.exists():
        return []
    found = json.loads(file.read_text(encoding="utf-8"))["ongoing_trials"]
    for name, trial in found.items():
        if trial in oracle._retry_queue:
            oracle._retry_queue.remove(trial)
            oracle.ongoing_trials[name] = oracle.trials[trial]
    return list(found)


def mend(oracle: keras_tuner.Oracle) -> None:
    """Removes what a killed process has left in a reloaded oracle.

    An oracle saves a new trial before its own state. It would take a trial of which its state does not know for one
    that is under way, for ever. And an oracle saves its state before it removes a trial that has ended from those that
    are under way. It would run this trial again.
    """
    oracle.trials = {name: trial for name, trial in oracle.trials.items() if name in oracle.start_order}
    oracle._retry_queue = [trial for trial in oracle._retry_queue if trial not in oracle.end_order]


def has_unfinished(oracle: keras_tuner.Oracle) -> bool:
    """Whether an oracle has trials that have begun and not ended."""
    return bool(oracle.ongoing_trials or oracle._retry_queue)


@keras_tuner.synchronized
def _end_once(oracle, trial):
    if trial.trial_id in oracle.end_order:
        return
    if trial.trial_id in oracle._retry_queue:
        oracle._retry_queue.remove(trial.trial_id)
    oracle.end_trial(trial)


def end_once(oracle: keras_tuner.Oracle, request: Any) -> Any:
    """Answers the request of a worker to end a trial. A trial that two workers have trained ends once."""
    _end_once(oracle, trials.Trial.from_proto(request.trial))
    return protos.get_service().EndTrialResponse()


def response_of(trial: Any) -> Any:
    """The answer to the request of a worker for a trial."""
    return protos.get_service().CreateTrialResponse(trial=trial.to_proto())


def unlock(oracle: keras_tuner.Oracle) -> None:
    """Releases the lock of an oracle, which it keeps after an error in this thread."""
    if oracles.THREADS[oracle] == threading.current_thread().name:
        oracles.THREADS[oracle] = None
        oracles.LOCKS[oracle].release()


def add_to_server(servicer: Any, server: Any) -> None:
    """Lets a server answer the requests of the service."""
    protos.get_service_grpc().add_OracleServicer_to_server(servicer, server)


def ask_for_space(stub: Any, **options: Any) -> None:
    """Asks a chief for its hyperparameters."""
    stub.GetSpace(protos.get_service().GetSpaceRequest(), **options)


def set_timeout(seconds: float) -> None:
    """Sets how long a worker waits for an answer of the chief; one hour by default."""
    oracle_client.TIMEOUT = seconds


def stub_of(channel: Any) -> Any:
    """The functions by which a worker asks a chief."""
    return protos.get_service_grpc().OracleStub(channel)


@contextlib.contextmanager
def without_tracebacks() -> Iterator[None]:
    """Keeps KerasTuner from printing the traceback of each trial that fails, within a `with` block."""
    before, config.DEBUG = config.DEBUG, False
    try:
        yield
    finally:
        config.DEBUG = before


def restore_grid(oracle: keras_tuner.oracles.GridSearchOracle) -> None:
    """Restores what a grid search does not save: the order of its trials, and those whose successors are not known."""

    def compare(first, second):
        return oracle._compare(*(oracle.trials[name].hyperparameters.values for name in (first, second)))

    for name in sorted(oracle.start_order, key=functools.cmp_to_key(compare)):
        oracle._ordered_ids.insert(name)
    oracle._populate_next = list(oracle.start_order)
