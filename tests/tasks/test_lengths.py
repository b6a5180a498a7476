import logging

import pytest

from larq_nas.configs import TrainConfig
from larq_nas.methods.bnas import BnasConfig
from larq_nas.methods.dms import DmsConfig
from larq_nas.tasks import lengths

SEARCH = {"epochs": 12, "warmup_epochs": 4, "diversity_decay": 1.5}
TRAIN = {"genotype": "bnas_a", "epochs": 30, "warmup_epochs": 1.5}


def scale_epochs(kind, examples, **values):
    return lengths.scale_epochs(kind(**{"batch_size": 32, "steps": 320} | values), examples)


@pytest.mark.parametrize(("examples", "epochs", "warmup"), [(100, 80, 27), (720, 14, 5), (50_000, 6, 2)])
def test_epochs_and_what_counts_in_epochs_follow_from_the_images(examples, epochs, warmup, caplog):
    with caplog.at_level(logging.INFO, "larq_nas"):
        config = scale_epochs(BnasConfig, examples, **SEARCH)
    assert (config.epochs, config.warmup_epochs) == (epochs, warmup)
    assert config.diversity_decay == pytest.approx(1.5 * epochs / 12)
    assert f"{epochs} epochs of {-(-examples // 32):,} steps" in caplog.text


def test_a_search_in_rounds_keeps_their_number():
    for examples, epochs in ((100, 80), (400, 20), (50_000, 10)):
        assert scale_epochs(DmsConfig, examples, epochs=10, rounds=10).epochs == epochs


def test_a_training_stretches_its_warm_up_and_its_first_stage():
    config = scale_epochs(TrainConfig, 320, **TRAIN, activations_epochs=15)
    assert (config.epochs, config.warmup_epochs, config.activations_epochs) == (32, pytest.approx(1.6), 16)
    assert scale_epochs(TrainConfig, 320, **TRAIN).activations_epochs is None
    steps = TrainConfig(**{**TRAIN, "epochs": 300}, schedule="steps", milestones=(140, 220, 260))
    assert [lengths.of_epochs(steps, epochs).milestones for epochs in (30, 2)] == [(14, 22, 26), (1, 2)]


def test_without_steps_nothing_changes(caplog):
    config = TrainConfig(**TRAIN)
    assert lengths.scale_epochs(config, 320) is config
    assert caplog.text == ""
