"""Draws a cup on a table before a wall, in gray: an image that anyone may use, for the examples of colorization."""

import numpy as np
from PIL import Image

_EYE, _AHEAD = np.array((0.15, 3.6, 5.6)), np.array((0.0, -0.44, -1.0))
_LIGHT = np.array((-0.62, 0.62, 0.48))  # towards it
_WALL = -3.0  # behind the table
_GRAYS = (0.36, 0.34, 0.72, 0.1)  # cup, table, wall, and what is in the cup


def _cup(x, y, z):
    """Signed distances to the cup with its handle, and to the drink in it."""
    across = np.hypot(x, z)
    radius = 0.92 + 0.3 * np.clip(y / 1.9, 0, 1)  # it opens upwards
    body = np.maximum(across - radius, np.abs(y - 0.95) - 0.95)
    hollow = np.maximum(across - radius + 0.1, 0.12 - y)
    ring = np.hypot(np.hypot((x - 1.12) / 0.85, y - 1.0) - 0.52, z) - 0.12
    cup = np.minimum(np.maximum(body, -hollow), np.maximum(ring, radius - 0.05 - across)) - 0.03
    return cup, np.maximum(across - radius + 0.08, np.abs(y - 0.8) - 0.8)


def _distances(points):
    """Signed distance to each thing, `[4, ...]`, in the order of `_GRAYS`."""
    x, y, z = np.moveaxis(points, -1, 0)
    cup, drink = _cup(x, y, z)
    return np.stack([cup, y, z - _WALL, drink])


def _march(start, directions, steps, far=30.0):
    """Lengths of rays until they meet something, and how near they passed by it relative to their length."""
    length, nearest = np.full(directions.shape[:-1], 0.02), np.ones(directions.shape[:-1])
    for _ in range(steps):
        distance = _distances(start + directions * length[..., None]).min(0)
        nearest = np.minimum(nearest, 7 * distance / length)
        length = np.minimum(length + 0.8 * distance, far)
    return length, nearest


def _grain(x, z):
    """How bright wood is: boards along x, each with wavy lines of its own."""
    board = np.floor(z / 1.1)
    along = z + 0.06 * np.sin(1.1 * x + 2.3 * board) + 0.02 * np.sin(3.1 * x + board)
    lines = sum(np.sin(rate * along + 5 * board + rate) / 3 for rate in (11, 29, 47))
    return (1 + 0.1 * lines + 0.06 * np.sin(4.7 * board)) * np.where(np.abs(z / 1.1 - board - 0.5) > 0.488, 0.72, 1)


def draw(side: int) -> Image.Image:
    """The cup as a gray square."""
    fine = 2 * side
    across = np.linspace(-0.5, 0.5, fine) * 0.92
    right, up = np.array((1.0, 0, 0)), np.array((0, 1.0, -0.44))
    directions = _AHEAD + across[None, :, None] * right - across[:, None, None] * up
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    points = _EYE + directions * _march(_EYE, directions, 60)[0][..., None]
    thing = _distances(points).argmin(0)
    gray = np.take(_GRAYS, thing)
    gray = np.where(thing == 1, gray * _grain(points[..., 0], points[..., 2]), gray)
    shifts = 1e-3 * np.eye(3)
    slopes = [_distances(points + s).min(0) - _distances(points - s).min(0) for s in shifts]
    normals = np.stack(slopes, -1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-9
    sun = np.clip(_march(points + 0.02 * normals, _LIGHT + 0 * points, 30, 6.0)[1], 0, 1)  # less in a shadow
    lit = sun * np.clip(normals @ _LIGHT, 0, 1)
    half = _LIGHT - directions
    half /= np.linalg.norm(half, axis=-1, keepdims=True)
    shine = np.where(thing % 3 == 0, 0.5, 0.0) * np.clip((normals * half).sum(-1), 0, 1) ** 60
    bright = gray * (0.3 + 0.95 * lit) + shine * (lit > 0)
    levels = 255 * np.clip(bright, 0, 1) ** (1 / 1.6)
    return Image.fromarray(levels.round().astype(np.uint8)).resize((side, side), Image.Resampling.BOX)
