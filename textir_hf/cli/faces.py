"""The command that shows which faces a photo has, and their numbers."""

import argparse
from functools import partial
from pathlib import Path

from textir_hf.cli.arguments import file_path
from textir_hf.cli.errors import speaking
from textir_hf.cli.folders import name_file
from textir_hf.imaging.files import check_output, open_image, save_image


def add_command(commands) -> None:
    """Adds `faces`."""
    text = "draw a numbered box around each face of a photo, to choose from with --faces"
    command = commands.add_parser("faces", help=text, description=f"{text[0].upper()}{text[1:]}.")
    command.set_defaults(run=_faces)
    command.add_argument("image", type=file_path, help="a photo")
    command.add_argument("-o", "--output", type=Path, required=True, help="the photo with the boxes")


def _faces(args: argparse.Namespace) -> int:
    with speaking(partial(name_file, args.image)):
        image = open_image(args.image).convert("RGB")
    if args.output.exists() and args.image.samefile(args.output):
        raise ValueError(f"The output {args.output} is the input itself. Choose another name.")
    check_output(args.output)

    from textir_hf.imaging.faces import draw_faces
    from textir_hf.imaging.raster import to_raster
    from textir_hf.pipeline.faces import find_faces

    faces = find_faces(to_raster(image).rgb)
    for number, face in enumerate(faces, 1):
        print(f"{number}: box {','.join(map(str, face.box))}, score {face.score:.2f}")
    if not faces:
        raise ValueError(f"No face was found in {args.image}.")
    save_image(draw_faces(image, faces), args.output)
    print(args.output)
    return 0
