"""The check that the installed TensorFlow has a supported version."""

from importlib import metadata


class VersionError(ImportError):
    """TensorFlow or tf-keras is missing or has an unsupported version; the message says what to install."""


def check_tensorflow() -> None:
    """Checks the installed versions of TensorFlow and tf-keras.

    # Raises
        VersionError: If larq_nas does not support these versions.
    """
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
