"""Compares the data set of a run, described in its `dataset.json`, with the data set that is found now."""

import math
import operator
import pathlib

from larq_nas import runs

TRAINED = ("first", "second")


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
        before, after = (
            {key: (part, _content(file)) for part, files in origin["files"].items() for key, file in files.items()}
            for origin in (old, new)
        )
        both = before.keys() & after.keys()
        counts = {
            "added": len(after.keys() - both),
            "removed": len(before.keys() - both),
            # Earlier versions recorded no checksums.
            "changed": sum(any(map(operator.ne, before[key][1], after[key][1])) for key in both),
            "moved between training and test": sum(
                (before[key][0] == "test") != (after[key][0] == "test") for key in both
            ),
        }
        found += [f"{count:,} file{'s' * (count > 1)} {what}" for what, count in counts.items() if count]
    else:
        found += [f"{name}: {new.get(name)}, was {old.get(name)}" for name in new if new.get(name) != old.get(name)]
    return ", ".join(found)


def _content(recorded):
    """The size and, if it was recorded, the checksum of a file."""
    return recorded if isinstance(recorded, list) else [recorded]


def trained_on(then: dict, now: dict) -> int:
    """Counts the files that are in the test split now and were in the training split of the run."""
    old, new = (description.get("origin", {}).get("files", {}) for description in (then, now))
    return len(new.get("test", {}).keys() & {key for part in TRAINED for key in old.get(part, {})})
