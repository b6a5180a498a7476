"""Networks are saved and loaded in every format of Keras."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from reference import bars_architecture

import larq_nas
from larq_nas import networks, zoo
from larq_nas.methods import bats, bnas

NETWORKS = {
    "bnas": lambda: networks.build(bnas.space(3, 4).sample(1), (8, 8, 3)),
    "bars": lambda: networks.build(bars_architecture((8, 16), (1, 1), (10, 6), ((1, 0),)), (8, 8, 3)),
    "bats": lambda: networks.build(bats.space(3, 8, 4).sample(1), (8, 8, 3)),
    "dms": lambda: zoo.dms_resnet18_a(input_shape=(8, 8, 3)),
}


# Keras advises against its old format, which is tested here since networks are still saved in it.
@pytest.mark.filterwarnings(
    r"ignore:You are saving your model as an HDF5 file:UserWarning:(tf_)?keras\.src\.engine\.training"
)
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("ending", [".h5", ".keras", pytest.param("", marks=pytest.mark.slow), "clone"])
def test_a_network_is_loaded_again(name, ending, tmp_path):
    model, path = NETWORKS[name](), str(tmp_path / f"network{ending}")
    if ending == "clone":
        loaded = tf.keras.models.clone_model(model)
        loaded.set_weights(model.get_weights())
    else:
        model.save(path)
        loaded = tf.keras.models.load_model(path)
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(loaded(images), model(images), rtol=1e-4, atol=1e-5)


LOADING = """
import sys
import larq_nas
import numpy as np

images = np.load("images.npy")
for name in sys.argv[1:]:
    np.save(name + ".npy", larq_nas.load_model(name)(images))
try:
    larq_nas.load_model("nothing.h5")
except ValueError as error:
    print(error)
"""


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_network_is_loaded_in_another_process(tmp_path):
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    models = {name: build() for name, build in NETWORKS.items()}
    files = {f"{name}{ending}": name for name, ending in zip(NETWORKS, (".h5", ".keras", ".h5", ".keras"), strict=True)}
    for file, name in files.items():
        models[name].save(tmp_path / file)
    run = subprocess.run([sys.executable, "-c", LOADING, *files], cwd=tmp_path, capture_output=True, text=True)
    assert "nothing.h5: holds no Keras model that can be loaded (" in run.stdout, run.stderr
    for file, name in files.items():
        np.testing.assert_allclose(np.load(tmp_path / f"{file}.npy"), models[name](images), rtol=1e-4, atol=1e-5)


def test_what_is_no_keras_model_or_is_broken_is_one_clear_error(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "module"))
    with pytest.raises(ValueError, match="module: holds a .* and no Keras model; save one by model.save"):
        larq_nas.load_model(tmp_path / "module")
    path = tmp_path / "broken.keras"
    NETWORKS["bnas"]().save(path)
    content = bytearray(path.read_bytes())
    content[2000:2400] = bytes(400)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="broken.keras: holds no Keras model that can be loaded"):
        larq_nas.load_model(path)
