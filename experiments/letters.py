"""Searches and trains every method on images of letters, as a user would on a folder of their own, and times it.

    python experiments/letters.py RUNS

It prints a table for `benchmarks/NOTES.md`. With `--any_polarity`, letters may also be lighter than what is behind
them, which binary networks learn much more slowly. The letters need the fonts of matplotlib.
"""

import argparse
import pathlib
import shlex
import time

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from trained import command

from larq_nas import runs
from larq_nas.networks import cells
from larq_nas.space.architecture import Architecture

CLASSES, EACH, WIDTH, HEIGHT = "ABKRS", 400, 48, 40
METHODS = "dms", "bnas", "bats", "bars"


def letter(name, generator, fonts, any_polarity):
    """Draws a letter of any font, size, angle and colour over two lines, with noise."""
    ranges = ((0, 256), (0, 256)) if any_polarity else ((140, 256), (0, 110))
    while True:
        behind, before = (generator.integers(*each, 3) for each in ranges)
        if np.abs(before - behind).sum() > 200:
            break
    # Twice as large, and then scaled down.
    image = Image.new("RGB", (2 * WIDTH, 2 * HEIGHT), tuple(map(int, behind)))
    for _ in range(2):
        ends = [int(each) for each in generator.integers(0, 90, 4)]
        colour = tuple(int(each) for each in generator.integers(0, 256, 3))
        ImageDraw.Draw(image).line(ends, colour, int(generator.integers(1, 4)))
    font = ImageFont.truetype(str(fonts[generator.integers(len(fonts))]), int(generator.integers(36, 64)))
    mask = Image.new("L", image.size, 0)
    centre = WIDTH + generator.integers(-14, 15), HEIGHT + generator.integers(-10, 11)
    ImageDraw.Draw(mask).text(centre, name, fill=255, font=font, anchor="mm")
    mask = mask.rotate(float(generator.uniform(-25, 25)), resample=Image.Resampling.BILINEAR)
    image.paste(Image.new("RGB", image.size, tuple(map(int, before))), mask=mask)
    pixels = np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR), float)
    pixels += generator.normal(0, 14, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def draw(folder, any_polarity):
    """Draws the folder of images, if it is not there."""
    if folder.exists():
        return
    directory = pathlib.Path(matplotlib.get_data_path(), "fonts/ttf")
    fonts = sorted(path for path in directory.glob("DejaVu*.ttf") if "Display" not in path.name)
    generator = np.random.default_rng(11)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for number in range(EACH):
            letter(name, generator, fonts, any_polarity).save(folder / name / f"{number}.jpg", quality=90)


def timed(words, run_dir):
    """Runs a command of larq_nas and returns its `Run`, and the minutes that it took."""
    begin = time.monotonic()
    return command(words, None, run_dir), (time.monotonic() - begin) / 60


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=pathlib.Path)
    parser.add_argument("--any_polarity", action="store_true")
    parser.add_argument("--methods", default=",".join(METHODS))
    arguments = parser.parse_args()
    folder = arguments.runs / ("letters-any" if arguments.any_polarity else "letters")
    draw(folder, arguments.any_polarity)
    data = f"{shlex.quote(f'--dataset=folder:{folder}')} --image_size=32"
    print("| method | search, min | training, min | convolutions by cell | Keras | file | agreement | all packed |")
    print("|---|---|---|---|---|---|---|---|")
    for method in arguments.methods.split(","):
        search, searched = timed(f"search --method={method} {data}", f"{folder}-{method}-search")
        genotype = shlex.quote(f"--genotype={search.genotype}")
        train, trained = timed(f"train {genotype} {data}", f"{folder}-{method}-train")
        for name in ("convert", "evaluate"):
            command(name, None, train.path)
        counts = [f"{cell.name} {cells.convolutions(cell)}" for cell in Architecture.load(search.genotype).cells]
        figures = runs.read_json(train.path / "evaluation.json")
        shares = [f"{100 * figures[name]:.2f} %" for name in ("keras_accuracy", "tflite_accuracy", "agreement")]
        packed = "yes" if runs.read_json(train.report)["all_packed"] else "no"
        row = [method, f"{searched:.1f}", f"{trained:.1f}", ", ".join(counts) or "all", *shares, packed]
        print("|", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()
