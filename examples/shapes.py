"""Draws a data set of shapes: a folder of PNG images for each of the classes cross, ring and wedge.

```shell
python examples/shapes.py shapes
larq_nas search --method=bnas --dataset=folder:shapes --image_size=32
```

The shapes differ in position, size, angle and colour. Most of them are brighter than their background, which is noisy
and cluttered with lines, dots and rectangles. The same seed draws the same images.
"""

import argparse
import pathlib

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("cross", "ring", "wedge")
# Images are drawn larger and then scaled down, which smooths the edges of the shapes.
_OVERSAMPLING = 4


def outline(name, centre, radius, angle, width):
    """Returns the corners of a cross or a wedge around a centre."""
    if name == "cross":
        # Each of the four arms has two corners at its end and one corner towards the next arm.
        half, points = width / 2, []
        for turn in range(4):
            arm = [(radius, -half), (radius, half), (half, half)]
            points += [_rotated(point, turn * np.pi / 2) for point in arm]
    else:
        spread = 0.45
        arc = np.linspace(-spread, spread, 12)
        points = [(-radius, 0.0), *((2 * radius * np.cos(a) - radius, 2 * radius * np.sin(a)) for a in arc)]
    return [tuple(np.add(centre, _rotated(point, angle))) for point in points]


def _rotated(point, angle):
    x, y = point
    return x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)


def _colour(random, low, high):
    return tuple(map(int, random.integers(low, high, 3)))


def _clutter(draw, random, size, count):
    """Draws random lines, dots and rectangles."""
    for _ in range(count):
        x, y = random.uniform(0, size)
        dx, dy = random.uniform(-0.35, 0.35, 2) * size
        colour = _colour(random, 0, 220)
        kind = random.integers(3)
        if kind == 0:
            draw.line((x, y, x + dx, y + dy), colour, int(random.integers(2, 10)))
        elif kind == 1:
            radius = random.uniform(2, 12)
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), colour)
        else:
            left, right = sorted((x, x + dx / 2))
            top, bottom = sorted((y, y + dy / 2))
            draw.rectangle((left, top, right, bottom), colour)


def shape_image(name: str, random: np.random.Generator, size=(48, 40)) -> Image.Image:
    """Draws an image of a class.

    # Arguments
        name: One of `CLASSES`.
        random: NumPy generator that determines the position, size, angle, colours, clutter and noise.
        size: Width and height of the image.

    # Returns
        An RGB image.
    """
    large = np.array(size) * _OVERSAMPLING
    image = Image.new("RGB", tuple(large), _colour(random, 10, 120))
    draw = ImageDraw.Draw(image)
    _clutter(draw, random, large, int(random.integers(4, 10)))
    radius = min(large) * random.uniform(0.2, 0.34)
    centre = [random.uniform(radius * 0.9, side - radius * 0.9) for side in large]
    colour = _colour(random, 90, 256)
    width = radius * random.uniform(0.35, 0.6)
    if name == "ring":
        x, y = centre
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=int(width))
    else:
        draw.polygon(outline(name, centre, radius, random.uniform(0, 2 * np.pi), width), colour)
    _clutter(draw, random, large, int(random.integers(0, 4)))
    pixels = np.asarray(image.resize(size, Image.Resampling.BOX), np.float32)
    pixels += random.normal(0, random.uniform(8, 28), pixels.shape)
    return Image.fromarray(np.clip(np.round(pixels), 0, 255).astype(np.uint8))


def write(folder, count=1500, size=(48, 40), seed=0):
    """Writes a folder of images, with the same number of images for each class.

    # Arguments
        folder: Folder in which the sub-folders of the classes are created.
        count: Number of images in total.
        size: Width and height of the images.
        seed: Any non-negative integer.
    """
    random = np.random.default_rng(seed)
    for index in range(count):
        name = CLASSES[index % len(CLASSES)]
        path = pathlib.Path(folder, name, f"{index:05}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        shape_image(name, random, size).save(path)


def _size(text):
    width, height = map(int, text.split("x"))
    return width, height


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="folder in which the sub-folders of the classes are created")
    parser.add_argument("--images", type=int, default=1500, help="number of images in total (default: 1500)")
    parser.add_argument("--size", type=_size, default="48x40", help="width and height of the images (default: 48x40)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the drawings (default: 0)")
    arguments = parser.parse_args()
    write(arguments.folder, arguments.images, arguments.size, arguments.seed)
    print(arguments.folder)


if __name__ == "__main__":
    main()
