import types

import pytest

from larq_nas.commands import lengths

SEARCH = {"epochs": 12, "warmup_epochs": 4, "diversity_decay": 1.5, "method": "bnas", "rounds": 10}
TRAIN = {"epochs": 30, "warmup_epochs": 1.5, "restart_epochs": 50, "activations_epochs": None}


def fitted(command, examples, **changed):
    values = {"batch_size": 32, "steps": 320} | (SEARCH if command == "search" else TRAIN) | changed
    settings = types.SimpleNamespace(**values)
    lengths.fit_epochs(command, settings, examples)
    return settings


@pytest.mark.parametrize(("examples", "epochs", "warmup"), [(100, 80, 27), (720, 14, 5), (50_000, 6, 2)])
def test_epochs_and_what_counts_in_epochs_follow_from_the_images(examples, epochs, warmup, capsys):
    settings = fitted("search", examples)
    assert (settings.epochs, settings.warmup_epochs) == (epochs, warmup)
    assert settings.diversity_decay == pytest.approx(1.5 * epochs / 12)
    assert f"{epochs} epochs of {-(-examples // 32):,} steps" in capsys.readouterr().out


def test_a_search_in_rounds_keeps_their_number():
    assert fitted("search", 100, method="dms").epochs == 80
    assert fitted("search", 400, method="dms").epochs == 20
    assert fitted("search", 50_000, method="dms").epochs == 10


def test_a_training_stretches_its_warm_up_and_its_first_stage():
    settings = fitted("train", 320, activations_epochs=15)
    assert (settings.epochs, settings.warmup_epochs, settings.activations_epochs) == (32, pytest.approx(1.6), 16)
    assert fitted("train", 320).activations_epochs is None


def test_without_steps_nothing_changes(capsys):
    assert fitted("train", 320, steps=None).epochs == 30
    assert capsys.readouterr().out == ""
