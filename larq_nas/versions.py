"""Whether the installed TensorFlow is one that this version works with."""

from importlib import metadata


class VersionError(ImportError):
    """TensorFlow or its Keras 2 is missing or has another version; the message says what to install."""


def check_tensorflow():
    """Raises a `VersionError` unless TensorFlow and tf-keras are versions that larq_nas works with."""
    found = {}
    for package in ("tensorflow", "tf-keras"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "none"
    tensorflow, keras = (version.split(".")[:2] for version in found.values())
    if tensorflow != keras or tensorflow[0] != "2" or not 15 <= int(tensorflow[1]) <= 21:
        versions = ", ".join(f"{package} {version}" for package, version in found.items())
        raise VersionError(
            f"larq_nas needs tensorflow and tf-keras of one minor version, 2.15 to 2.21; found {versions}: "
            "pip install 'tensorflow>=2.15,<2.22' 'tf-keras>=2.15,<2.22'"
        )
