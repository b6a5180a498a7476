import numpy as np
import pytest
import tensorflow as tf

from larq_nas import runs
from larq_nas.supernet.sampling import Draws
from larq_nas.training import backups


def make(units=2):
    model = tf.keras.Sequential([tf.keras.layers.Dense(units, input_shape=(3,))])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def leave(directory, epochs=3):
    """Backs a model up, all of whose weights are the number of finished epochs."""
    model, callback = make(), backups.Backup(directory)
    callback.set_model(model)
    for epoch in range(epochs):
        model.set_weights([np.full_like(value, epoch + 1) for value in model.get_weights()])
        callback.on_epoch_end(epoch)


@pytest.mark.parametrize("name", ["lr[1]", "[!a]*?", "a b", "müñ 日本", "back\\slash", "{a,b}~'\""])
def test_a_backup_is_found_whatever_its_path(tmp_path, name):
    directory = tmp_path / name / "backup"
    leave(directory)
    model = make()
    assert backups.Backup(directory).restore(model) == 3
    assert all((value == 3).all() for value in model.get_weights())
    # The last two alone are kept.
    assert backups.epochs(directory) == [2, 1] and len(list(directory.iterdir())) == 4


def test_without_a_backup_a_training_begins(tmp_path):
    assert backups.Backup(tmp_path / "none").restore(make()) == 0
    # What a kill left behind that came before the first was whole.
    (tmp_path / "epoch-0000.data-00000-of-00001").write_bytes(b"x")
    (tmp_path / "epoch-0000_temp").mkdir()
    assert backups.Backup(tmp_path).restore(make()) == 0
    leave(tmp_path)
    assert not (tmp_path / "epoch-0000_temp").exists()


BREAK = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "garbled": lambda content: bytes(byte ^ 0x5A for byte in content),
    "flipped": lambda content: content[:20] + bytes([content[20] ^ 1]) + content[21:],
}


@pytest.mark.parametrize("how", BREAK)
@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
def test_a_broken_backup_gives_way_to_the_one_before_or_is_named(tmp_path, caplog, suffix, how):
    leave(tmp_path)

    def harm(epoch):
        path = tmp_path / f"epoch-{epoch:04}.{suffix}"
        path.write_bytes(BREAK[how](path.read_bytes()))

    harm(2)
    model = make()
    assert backups.Backup(tmp_path).restore(model) == 2
    assert all((value == 2).all() for value in model.get_weights())
    assert f"{tmp_path}/epoch-0002: broken; going on after epoch 2" in caplog.text
    harm(1)
    with pytest.raises(runs.RunError, match="epoch-0002: is broken or of another version .*overwrite=True"):
        backups.Backup(tmp_path).restore(make())


def test_a_backup_of_another_model_is_refused(tmp_path):
    leave(tmp_path)
    with pytest.raises(runs.RunError, match="broken"):
        backups.Backup(tmp_path).restore(make(5))


def test_a_backup_of_an_earlier_version_of_a_search_is_refused(tmp_path):
    earlier, now = make(), make()
    # The random numbers of a `Supernet` came from a generator of TensorFlow.
    earlier.random, now.random = tf.random.Generator.from_seed(0), Draws(0)
    callback = backups.Backup(tmp_path)
    callback.set_model(earlier)
    callback.on_epoch_end(0)
    with pytest.raises(runs.RunError, match="epoch-0000: is broken or of another version of larq_nas"):
        backups.Backup(tmp_path).restore(now)
