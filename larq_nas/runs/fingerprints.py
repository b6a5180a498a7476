"""Compares the data set of a run, described in its `dataset.json`, with the data set that is found now."""

import math
import operator
import pathlib

from larq_nas import runs


class FingerprintError(ValueError):
    """The data set of a run has changed, or its description is broken."""


def read(path: pathlib.Path | str) -> dict:
    """Reads the `dataset.json` of a run.

    # Raises
        FingerprintError: If the file is not the description of a data set.
        RunError: If the file is missing or is not JSON.
    """
    description = runs.read_json(path)
    try:
        shape, names = description["image_shape"], description["class_names"]
        valid = all(isinstance(side, int) for side in shape) and all(isinstance(name, str) for name in names)
        valid = valid and isinstance(names, list) and isinstance(description["name"], str)
        statistics = description["mean"], description["std"]
        valid = valid and all(len(values) == shape[2] and all(map(math.isfinite, values)) for values in statistics)
        valid = valid and min(description["std"]) > 0
        files = description.get("origin", {}).get("files", {})
        valid = valid and len(shape) == 3 and all(isinstance(part, dict) for part in files.values())
    except (KeyError, TypeError, AttributeError, IndexError):
        valid = False
    if not valid:
        raise FingerprintError(f"{path}: not the description of a data set")
    return description


def class_difference(then: dict, now: dict) -> str:
    """Describes in words how classes and image shapes differ.

    # Arguments
        then: The description of the data set in `dataset.json`.
        now: The description of the data set that is found now.

    # Returns
        A text; empty if there is no difference.
    """
    old, new = list(then["class_names"]), list(now["class_names"])
    gone, come = [name for name in old if name not in new], [name for name in new if name not in old]
    found = [f"class {name} is gone" for name in gone] + [f"class {name} is new" for name in come]
    if not found and old != new:
        found = ["the classes are in another order"]
    shapes = ["x".join(map(str, each["image_shape"])) for each in (then, now)]
    if shapes[0] != shapes[1]:
        found.append(f"images are {shapes[1]} and were {shapes[0]}")
    return ", ".join(found)


def difference(then: dict, now: dict) -> str:
    """Describes in words how two descriptions of a data set differ: classes, image shapes, files and versions.

    # Arguments
        then: The description of the data set in `dataset.json`.
        now: The description of the data set that is found now.

    # Returns
        A text; empty if there is no difference.
    """
    found = [class_difference(then, now)] if class_difference(then, now) else []
    old, new = then.get("origin"), now["origin"]
    if old is None and "files" in new:
        found.append("an earlier version, which split folders differently, did not record the files")
    if old is None or old == new:
        return ", ".join(found)
    if "files" in old and "files" in new:
        before, after = _contents(old), _contents(new)
        added, removed = after.keys() - before.keys(), before.keys() - after.keys()
        moved = sum((not is_test, key) in added for is_test, key in removed)
        counts = {
            "added": len(added) - moved,
            "removed": len(removed) - moved,
            "changed": sum(_differ(before[key], after[key]) for key in before.keys() & after.keys()),
            "moved between training and test": moved,
        }
        found += [f"{count:,} file{'s' * (count > 1)} {what}" for what, count in counts.items() if count]
    else:
        found += [f"{name}: {new.get(name)}, was {old.get(name)}" for name in new if new.get(name) != old.get(name)]
    return ", ".join(found)


def _contents(origin):
    """The content of each file, by whether it is in the test split and its key.

    In a folder with own folders for training and test, two files may have the same key.
    """
    parts = origin.get("files", {}).items()
    return {(part == "test", key): _content(file) for part, files in parts for key, file in files.items()}


def _content(recorded):
    """The size and, if it was recorded, the checksum of a file."""
    return recorded if isinstance(recorded, list) else [recorded]


def _differ(before, after):
    # Earlier versions recorded no checksums.
    return any(map(operator.ne, before, after))


def trained_on(then: dict, now: dict) -> int:
    """Counts the files in the test split that were in the training split of the run, with the same content."""
    old, new = (_contents(description.get("origin", {})) for description in (then, now))
    tested = {key: content for (is_test, key), content in new.items() if is_test}
    return sum((False, key) in old and not _differ(old[False, key], content) for key, content in tested.items())
