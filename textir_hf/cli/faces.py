"""The command that shows which faces a photo has, and their numbers."""

import argparse
from pathlib import Path

from textir_hf.cli.arguments import file_path
from textir_hf.cli.jobs import Job, check_no_overwriting
from textir_hf.imaging.faces import draw_faces
from textir_hf.imaging.files import check_output, open_image, save_image
from textir_hf.imaging.raster import to_raster
from textir_hf.pipeline.faces import find_faces


def add_arguments(command: argparse.ArgumentParser, name: str) -> None:
    command.set_defaults(run=_faces)
    command.add_argument("image", type=file_path, help="a photo")
    command.add_argument("-o", "--output", type=Path, required=True, help="the photo with the boxes")


def _faces(args: argparse.Namespace) -> int:
    image = open_image(args.image).convert("RGB")
    check_no_overwriting([Job(args.image, None, args.output)])
    check_output(args.output)
    faces = find_faces(to_raster(image).rgb)
    for number, face in enumerate(faces, 1):
        print(f"{number}: box {','.join(map(str, face.box))}, score {face.score:.2f}")
    if not faces:
        raise ValueError(f"No face was found in {args.image}.")
    save_image(draw_faces(image, faces), args.output)
    print(args.output)
    return 0
