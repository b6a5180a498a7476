"""Reads a folder of images with one sub-folder per class.

Images in sub-folders of a class folder belong to the class. If the folder has sub-folders `train` and `test` (or
`validation`) that hold the classes, this split is used. Otherwise a fifth of each class is held out for the test split.
A hash of the file's path within its class chooses the split, so that files that are added later do not move the others.
"""

import collections
import concurrent.futures
import dataclasses
import hashlib
import os
import pathlib
import re
import unicodedata
import zlib

import numpy as np
import tensorflow as tf

from larq_nas.datasets import pixels
from larq_nas.datasets.pixels import DatasetError
from larq_nas.datasets.sources import Source

SUFFIXES = (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# Files and folders that operating systems create, in addition to names that begin with a dot.
_SYSTEM = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin"}
_TRAIN, _TEST = ("train", "training"), ("test", "testing", "val", "valid", "validation", "dev")
_SPLIT = re.compile("|".join((*_TRAIN, *_TEST, "eval", "evaluation", "fold", "split", "part", "set", "cv", "subset")))
# Names of splits may have such an ending, as in training_set and val2017.
_ENDING = re.compile(r"(?<=.)[-_ ]?(set|split|data|images)?[-_ ]?\d*$")
# Bytes at the beginning, in the middle and at the end of a file from which its checksum is computed.
_CHECKED = 4096
# In such a file, changed pixels change neither the size nor the end. So there is a second checksum, of the whole file,
# up to this size.
_UNCOMPRESSED, _WHOLE = (".bmp", ".pgm", ".ppm", ".tif", ".tiff"), 1 << 24
_PARTS = ("first", "second", "test")


@dataclasses.dataclass(frozen=True)
class _File:
    path: pathlib.Path
    class_name: str
    name: str  # The path within the class, in the same form on every operating system.

    @property
    def number(self):
        """A hash of the name as a number in [0, 1)."""
        return int.from_bytes(hashlib.sha256(self.name.encode("utf-8", "surrogateescape")).digest()[:6], "big") / 2**48

    @property
    def key(self):
        """A hash of class and name that identifies the file within the folder."""
        name = f"{self.class_name}/{self.name}".encode("utf-8", "surrogateescape")
        return hashlib.sha256(name).hexdigest()[:12]


def source(folder: str, channels: int | None = None, size: int | None = None, crop: bool = False) -> Source:
    """Finds the images of a folder.

    # Arguments
        folder: Path of the folder.
        channels: 1 for gray, 3 for RGB; 3 by default.
        size: Height and width to which images are scaled when they are read.
        crop: If true, images keep their proportions and are only scaled down until the shorter side has at most twice
            `size` pixels.

    # Returns
        A `Source`, which reads each image when it is needed.

    # Raises
        DatasetError: If the folder does not have one sub-folder of images per class, or one of its files is broken.
    """
    root = pathlib.Path(folder).expanduser()
    if not folder or not root.is_dir():
        raise DatasetError(f"folder:{folder}: there is no such folder")
    if not _is_text(str(root)):
        raise DatasetError(f"folder:{str(root)!r}: the path is no text in UTF-8; rename the folder")
    left_out = collections.Counter()
    parts, class_names, notes = _parts(root, left_out)
    files = [file for part in parts for file in part]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        headers = list(pool.map(lambda file: pixels.header(file.path), files))
    shapes = {header.shape for header in headers}
    height, width = (None, None) if crop or len(shapes) > 1 else shapes.pop()
    if size is not None and not crop:
        height = width = size
    notes += [f"left out {', '.join(f'{count} {kind}' for kind, count in left_out.most_common())}"] * bool(left_out)
    if channels is None and all(header.gray for header in headers):
        notes.append("all images are gray; use channels=1 to read one channel")
    deep = sum(header.deep for header in headers)
    notes += [f"16-bit images: {deep:,}; their values from 0 to 65,535 become 0 to 255"] * bool(deep)
    channels = channels or 3
    colours = "gray" if channels == 1 else "RGB"
    notes = [f"{len(files):,} images of {len(class_names)} classes, read as {colours}", *notes]
    shape = (height, width, channels)
    examples = [(_examples(part, class_names, shape, size or 0, crop), len(part)) for part in parts]
    origin = {"files": {part: _contents(found) for part, found in zip(_PARTS, parts, strict=True)}}
    return Source(examples, shape, tuple(class_names), origin, f"folder:{root}: {'; '.join(notes)}")


def _examples(files, class_names, shape, size, crop):
    # The order by hashes mixes the classes, so that a shuffle buffer need not hold all images.
    files = sorted(files, key=lambda file: file.key)
    paths = np.array([os.fsencode(file.path) for file in files])
    labels = np.array([class_names.index(file.class_name) for file in files], np.int64)

    def read(path, label):
        image = tf.numpy_function(_read, [path, shape[2], size, crop], tf.uint8, stateful=False)
        return tf.ensure_shape(image, shape), label

    return tf.data.Dataset.from_tensor_slices((paths, labels)).map(read, tf.data.AUTOTUNE)


def _read(path, channels, size, crop):
    return pixels.from_file(os.fsdecode(path), int(channels), int(size) or None, bool(crop))


def _contents(files):
    """The size and a checksum of each file, by the key of the file."""
    return {file.key: _content(file.path) for file in files}


def _content(path):
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        checksum = 0
        for place in (0, size // 2, max(size - _CHECKED, 0)):
            file.seek(place)
            checksum = zlib.crc32(file.read(_CHECKED), checksum)
        if path.suffix.lower() not in _UNCOMPRESSED or size > _WHOLE:
            return [size, checksum]
        file.seek(0)
        return [size, checksum, zlib.crc32(file.read())]


# --- what is in a folder -------------------------------------------------------------------------------------


def _parts(root, left_out):
    """Returns the files of the two training halves and the test split, the names of the classes, and notes."""
    train, held_out = _split_folders(root)
    if train is None:
        return *_held_out_by_hash(root, left_out), []
    kept = _classes(train, left_out)
    test = {}
    for folder in held_out:
        test = _classes(folder, left_out)
        if sum(map(len, test.values())):
            break
    else:
        parts, names = _held_out_by_hash(train, left_out)
        return parts, names, [f"{train.name}/ alone has images of classes: a fifth of it is held out"]
    _check_classes(root, train, kept, 2)
    unknown = sorted(set(test) - set(kept))
    if unknown:
        raise DatasetError(f"folder:{root}: {folder.name}/ has the class {unknown[0]}, which {train.name}/ lacks")
    halves = [_divide(files, (0.5, 0.5)) for files in kept.values()]
    parts = [[file for half in halves for file in half[index]] for index in range(2)]
    parts.append([file for files in test.values() for file in files])
    unused = [other.name for other in _visible(root) if other.is_dir() and other not in (train, folder)]
    notes = [f"trained on {train.name}/, tested on {folder.name}/"]
    return parts, list(kept), notes + [f"{', '.join(unused)} not used"] * bool(unused)


def _held_out_by_hash(root, left_out):
    _refuse_splits(root)
    classes = _classes(root, left_out)
    _check_classes(root, root, classes, 3)
    divided = [_divide(files, (0.2, 0.4, 0.4)) for files in classes.values()]
    test, first, second = ([file for parts in divided for file in parts[index]] for index in range(3))
    return [first, second, test], list(classes)


def _split_folders(root):
    """Returns the training folder, or `None` if there is no split, and candidates for the test folder, best first."""
    found = [path for path in _visible(root) if path.is_dir()]
    folders = {_ENDING.sub("", path.name.lower()): path for path in found}
    folders |= {path.name.lower(): path for path in found}
    train = next((folders[name] for name in _TRAIN if name in folders), None)
    held_out = [folders[name] for name in _TEST if name in folders]
    if train is None or not held_out or sum(path.is_dir() for path in _visible(train)) < 2:
        return None, []
    return train, held_out


def _is_text(name):
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _is_split(name):
    return bool(_SPLIT.fullmatch(_ENDING.sub("", name.lower())))


def _is_training(name):
    return _ENDING.sub("", name.lower()) in _TRAIN


def _refuse_splits(root):
    """Refuses classes that are split each, and folders that seem to be splits, since they share classes, under names
    that are not known.
    """
    folders = [path for path in _visible(root) if path.is_dir()]
    inner = {folder.name: _sub_folders(folder) for folder in folders}
    for name, splits in inner.items():
        if len(splits) > 1 and all(map(_is_split, splits)) and any(map(_is_training, splits)):
            raise DatasetError(
                f"folder:{root / name}: is split into {', '.join(splits)}; put the classes into the folders train and "
                f"test, as in train/{name} and test/{name}"
            )
    common = sorted(set.intersection(*map(set, inner.values()))) if inner else []
    splits = all(map(_is_split, inner)) or len(inner) <= 3 and any(map(_is_training, inner))
    if splits and len(inner) > 1 and len(common) > 1:
        raise DatasetError(
            f"folder:{root}: its folders {', '.join(inner)} have the same sub-folders {', '.join(common[:3])}"
            f"{', …' * (len(common) > 3)}; if these are the classes, name the folders train and test, or give one of "
            f"them; if {', '.join(inner)} are the classes, rename them"
        )


def _sub_folders(folder):
    """The names of the folders in a folder; none if there are images beside them."""
    found = _visible(folder)
    if any(path.suffix.lower() in SUFFIXES and path.is_file() for path in found):
        return []
    return [path.name for path in found if path.is_dir()]


def would_read(folder: pathlib.Path | str, path: pathlib.Path | str) -> bool:
    """Whether images in a path would be read as images of a folder.

    # Arguments
        folder: Path of the folder, as for `source`.
        path: Path of a file or a folder, which need not exist.

    # Returns
        `True` if they would be read.
    """
    root, path = (pathlib.Path(each).expanduser().resolve() for each in (folder, path))
    if not root.is_dir() or not path.is_relative_to(root):
        return False
    parts = path.relative_to(root).parts
    if any(part.startswith(".") or part.lower() in _SYSTEM for part in parts):
        return False
    train, held_out = _split_folders(root)
    return train is None or not parts or parts[0] in {split.name for split in (train, *held_out)}


def _check_classes(root, folder, classes, least):
    if len(classes) < 2:
        inner = [path for path in _visible(root) if path.is_dir() and sum(p.is_dir() for p in _visible(path)) > 1]
        hint = f"; did you mean folder:{inner[0]}?" if inner else ""
        raise DatasetError(f"folder:{folder}: needs a sub-folder per class and at least two; has {len(classes)}{hint}")
    for name, files in classes.items():
        if len(files) < least:
            raise DatasetError(
                f"folder:{folder / name}: needs at least {least} images ({', '.join(SUFFIXES)}); has {len(files)}"
            )


def _visible(folder):
    found = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in found if path.name.lower() not in _SYSTEM)


def _classes(folder, left_out):
    """Returns a dict from class names to files, and counts in `left_out` the ignored files by kind."""
    classes = {}
    for path in _visible(folder):
        if path.is_dir():
            name = unicodedata.normalize("NFC", path.name)
            if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
                raise DatasetError(
                    f"folder:{str(path)!r}: is no name for a class, which is text in one line; rename it"
                )
            if name in classes:
                raise DatasetError(
                    f"folder:{path}: another folder has this name in another form of Unicode; merge them"
                )
            classes[name] = list(_files(path, path, name, left_out))
        elif path.suffix.lower() in SUFFIXES:
            left_out["images beside the class folders"] += 1
    return dict(sorted(classes.items()))


def _files(folder, top, class_name, left_out):
    for path in _visible(folder):
        if path.is_dir():
            if path.is_symlink():
                left_out["links to folders"] += 1
            else:
                yield from _files(path, top, class_name, left_out)
        elif path.suffix.lower() not in SUFFIXES:
            left_out[path.suffix.lower() or "without a suffix"] += 1
        elif path.is_file():
            name = unicodedata.normalize("NFC", path.relative_to(top).as_posix())
            yield _File(path, class_name, name)
        else:
            left_out["links to nothing"] += 1


def _divide(files, shares):
    """Divides the files of a class into parts by the hashes of their names; each part gets at least one file."""
    limits = np.cumsum(shares)
    parts = [[] for _ in shares]
    for file in sorted(files, key=lambda file: file.number):
        parts[min(int(np.searchsorted(limits, file.number, "right")), len(parts) - 1)].append(file)
    for part in parts:
        if not part:
            part.append(max(parts, key=len).pop(0))
    return parts
