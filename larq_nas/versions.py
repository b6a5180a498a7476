"""Whether the installed TensorFlow is one that this version works with."""

from importlib import metadata


def check_tensorflow():
    """Raises an `ImportError` that says what to install where TensorFlow or its Keras 2 is missing or another."""
    found = {}
    for package in ("tensorflow", "tf-keras"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "none"
    tensorflow, keras = (version.split(".")[:2] for version in found.values())
    if tensorflow != keras or tensorflow[0] != "2" or not 15 <= int(tensorflow[1]) <= 21:
        versions = ", ".join(f"{package} {version}" for package, version in found.items())
        raise ImportError(
            f"larq_nas needs tensorflow and tf-keras of one minor version, 2.15 to 2.21; found {versions}: "
            "pip install 'tensorflow>=2.15,<2.22' 'tf-keras>=2.15,<2.22'"
        )
