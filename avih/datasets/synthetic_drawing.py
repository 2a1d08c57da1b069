"""Draw the parts of a synthetic face, back to front, each as an implicit function (negative inside)."""

from collections.abc import Callable

import numpy as np

from avih.datasets.synthetic_basics import (
    IRIS_TONES,
    Canvas,
    Floats,
    Shot,
    Traits,
    bump,
    hair_colour,
    noise,
    rgb,
    skin_colour,
    tone,
)


def face_outline(x: Floats, y: Floats, traits: Traits) -> Floats:
    """Implicit function of the skull, the cheeks and the jaw."""
    middle = np.float32(0.15)
    across = np.abs(x) / traits.face_width
    up = np.clip(middle - y, 0, None) / (traits.face_height + middle)
    down = np.clip(y - middle, 0, None) / (traits.chin - middle)
    return (
        np.where(y < middle, across**2.2 + up**2.2, across**traits.jaw_pointed + down**traits.jaw_square) - 1
    )


def draw_torso(canvas: Canvas, traits: Traits, shot: Shot, *, cloth: Floats, stripes: Floats) -> None:
    """Draw neck, shoulders and clothes, striped in some photos."""
    x, y = canvas.x, canvas.y
    neck_width = 0.56 * traits.face_width + 0.05 * traits.jaw_square
    neck = np.maximum(np.abs(x) - neck_width - 0.1 * np.clip(y - traits.chin - 0.3, 0, 1) ** 2, 0.6 - y)
    under = np.clip((y - traits.chin + 0.2) / 0.7, 0, 1)
    canvas.paint(canvas.edge(neck), skin_colour(traits) * (canvas.light * (0.55 + 0.4 * under))[..., None])
    across = x * np.cos(shot.stripe_turn) + y * np.sin(shot.stripe_turn)
    pattern = np.clip(np.sin(shot.stripe_count * across) * 4, 0, 1) * (shot.stripes > 0)
    light = (1 + 0.06 * noise(x * 5, y * 9)) * (0.3 + 0.7 * canvas.light)
    colour = (cloth + pattern[..., None] * (stripes - cloth)) * light[..., None]
    shoulder = traits.chin + 0.42 + 0.28 * np.clip(np.abs(x) - neck_width, 0, 4) ** 1.2
    opening = neck_width * (0.95 - (y - traits.chin - 0.2) * (0.5 + 2.5 * shot.collar))
    cover = canvas.edge(shoulder - 0.1 * shot.collar - y) * (1 - canvas.edge(np.abs(x) - opening))
    canvas.paint(cover, colour)
    canvas.darken(cover * np.exp(-(((np.abs(x) - opening) / 0.05) ** 2)) * 0.4)


def draw_skin(canvas: Canvas, traits: Traits, relief: Floats) -> None:
    """Draw ears and head: the skin colour, the photographed relief, blush, freckles, age and light."""
    x, y = canvas.x, canvas.y
    skin = skin_colour(traits)
    side = np.abs(x) - traits.face_width * 0.99
    ear = (side / 0.14) ** 2 + ((y - 0.32) / (0.27 * traits.ears)) ** 2 - 1
    ear_light = (canvas.light * (0.86 - 0.3 * bump(side, y - 0.3, 0.07, 0.15)))[..., None]
    canvas.paint(canvas.shape(ear), skin * ear_light)
    colour = skin * np.exp(relief * (0.75 + 0.4 * traits.age))
    cheeks = bump(np.abs(x) - 0.58, y - 0.62, 0.3, 0.26)
    colour *= 1 - traits.blush * cheeks[..., None] * rgb(0.1, 1.0, 0.9)
    spots = noise(x * 60 + 1000 * traits.age, y * 60) - 1.2
    spots = np.clip(spots, 0, 1) * max(traits.freckles, 0) * bump(x, y - 0.5, 1.0, 0.6)
    colour *= 1 - spots[..., None] * rgb(0.6, 0.9, 1.1)
    lines = np.clip(noise(x * 2.5, y * 22 + 500 * traits.age), 0, 2) * bump(x, y + 0.75, 0.8, 0.3)
    colour *= (1 - 0.05 * traits.age * lines)[..., None]
    folds = np.abs(x) - (0.30 * traits.nose_width + 0.62 * (y - 0.62))
    fold = np.exp(-((folds / 0.05) ** 2)) * bump(x, y - 0.84, 2.0, 0.22)
    colour *= (1 - 0.22 * traits.age * fold)[..., None]
    eyes_x = np.abs(x) - traits.eye_distance
    colour *= (1 - traits.sockets * bump(eyes_x + 0.1, y + 0.08, 0.3, 0.2))[..., None]
    colour *= (
        1 - traits.bags * np.exp(-(((y - 0.17 + 0.5 * eyes_x**2) / 0.04) ** 2) - (eyes_x / 0.24) ** 2)
    )[..., None]
    canvas.paint(canvas.shape(face_outline(x, y, traits)), colour * canvas.light[..., None])


def draw_eyes(canvas: Canvas, traits: Traits, shot: Shot) -> None:
    """Draw both eyes: white, iris, pupil, glint, lids with lashes and the crease above."""
    canvas = canvas.part(x=1.1, top=-0.45, bottom=0.35)
    iris = tone(IRIS_TONES, traits.iris)
    light = np.clip(canvas.light, 0.25, 1.2)[..., None]
    for side in (-1.0, 1.0):
        x = side * canvas.x - traits.eye_distance
        y = canvas.y - traits.eye_tilt * -x
        s = x / traits.eye_width
        arch = (1 - s**2) * (1 + traits.eye_skew * np.clip(s, -1, 1))
        upper = -traits.eye_upper * shot.lids * arch
        lower = traits.eye_lower * (1 - s**2)
        eye = canvas.edge(np.maximum(upper - y, y - lower), 0.6)
        canvas.paint(eye, rgb(0.93, 0.90, 0.88) * light * 0.92)
        r = np.hypot(x - side * shot.gaze_x, y + 0.02 - shot.gaze_y) / traits.iris_size
        rings = (iris * (1.15 - 0.55 * np.clip(r, 0, 1) ** 3)[..., None]) * light
        canvas.paint(eye * canvas.edge((r - 1) * traits.iris_size, 0.4), rings)
        canvas.paint(eye * canvas.edge((r - 0.42) * traits.iris_size, 0.4), rgb(0.02, 0.02, 0.02))
        glint = np.hypot(x - side * (shot.gaze_x - 0.035), y + 0.05 - shot.gaze_y)
        canvas.paint(eye * 0.8 * canvas.edge(glint - 0.018, 0.4), rgb(1, 1, 1))
        canvas.darken(eye * np.exp(-(((y - upper) / 0.035) ** 2)) * 0.5)
        within = np.clip(1.15 - np.abs(s), 0, 0.15) / 0.15
        lash = canvas.edge(np.abs(y - upper) - traits.lashes * (0.6 + 0.4 * s), 0.5) * within
        canvas.darken(lash * 0.85, (0.12, 0.09, 0.08))
        canvas.darken(canvas.edge(np.abs(y - lower) - 0.006) * within * 0.4)
        fold = np.exp(-(((y - upper + traits.crease) / 0.022) ** 2)) * np.clip(1.3 - np.abs(s), 0, 1)
        canvas.darken(np.minimum(fold, 1) * 0.4)


def draw_brows(canvas: Canvas, traits: Traits, shot: Shot) -> None:
    """Draw both brows as tapering strokes of hair."""
    canvas = canvas.part(x=1.2, top=-0.8, bottom=0.1)
    hairs = 0.75 + 0.25 * noise(canvas.x * 40, canvas.y * 16)
    colour = hair_colour(traits) * np.float32(0.7) * np.clip(canvas.light, 0.3, 1.1)[..., None]
    for side in (-1.0, 1.0):
        s = (side * canvas.x - traits.eye_distance - 0.02) / traits.brow_width
        curve = -traits.brow_height - shot.brows - traits.brow_arch * (1 - (s - 0.25) ** 2)
        curve = curve + (traits.brow_tilt * -0.3 + shot.frown * np.clip(-s, 0, 1)) * s
        thickness = traits.brow_thickness * np.clip(1.05 - 0.5 * (s + 1) / 2, 0.1, 1)
        stroke = canvas.edge(np.abs(canvas.y - curve) - thickness, 1.0)
        stroke = stroke * np.clip((1.1 - np.abs(s)) / 0.25, 0, 1) * traits.brow_dark * hairs
        canvas.paint(np.clip(stroke, 0, 1), colour)


def draw_mouth(canvas: Canvas, traits: Traits, shot: Shot) -> None:
    """Draw lips, teeth and the folds of a smile."""
    canvas = canvas.part(x=1.0, top=0.4, bottom=1.6)
    smile = shot.smile
    y = canvas.y - traits.mouth_height
    s = canvas.x / (traits.mouth_width * (1 + 0.16 * smile))
    inner = np.clip(1 - s**2, 0, None)
    line = (traits.lip_corner - 0.13 * smile) * s**2 + 0.02 * smile
    gap = max(shot.open_mouth, 0) * 0.17 * inner
    thin = 1 - 0.2 * max(smile, 0)
    bow = 1 - traits.lip_bow * np.exp(-((s / 0.13) ** 2))
    top, bottom = line - 0.35 * gap, line + 0.65 * gap
    upper = top - traits.lip_upper * thin * inner**0.8 * bow
    lower = bottom + traits.lip_lower * thin * inner**0.65
    outside = np.where(np.abs(s) < 1, -1.0, 1.0).astype(np.float32)
    skin = skin_colour(traits)
    red = rgb(0.80, 0.34, 0.36) * (0.55 + 0.5 * skin[0])
    colour = skin * rgb(0.86, 0.66, 0.64) * (1 - traits.lip_red) + red * traits.lip_red
    shade = np.where(y < (top + bottom) / 2, 0.82, 1.0) + 0.16 * np.exp(
        -(((y - bottom) / 0.06 - 0.8) ** 2) - s**2 * 4
    )
    canvas.darken(bump(canvas.x, y - lower - 0.05, 0.3, 0.05) * 0.22)
    lips = canvas.edge(np.maximum(np.maximum(upper - y, y - lower), outside), 1.2)
    canvas.paint(lips, colour * (shade * canvas.light)[..., None])
    mouth = canvas.edge(np.maximum(np.maximum(top - y, y - bottom), outside), 0.6)
    canvas.paint(mouth, rgb(0.22, 0.06, 0.06) * canvas.light[..., None])
    teeth = mouth * canvas.edge(np.maximum(y - top - 0.075, np.abs(s) - 0.85), 0.6)
    canvas.paint(teeth, rgb(0.93, 0.90, 0.84) * np.clip(canvas.light, 0.3, 1.1)[..., None] * 0.95)
    seam = np.exp(-(((y - top) / 0.016) ** 2)) * np.clip((1.04 - np.abs(s)) / 0.1, 0, 1)
    canvas.darken(seam * 0.65, (0.25, 0.1, 0.1))
    fold = np.abs(canvas.x) - (0.30 * traits.nose_width + 0.55 * (canvas.y - 0.6))
    fold = np.exp(-((fold / 0.045) ** 2)) * bump(canvas.x, canvas.y - 0.84, 2.0, 0.2)
    canvas.darken(fold * 0.32 * max(smile, 0))


def _hair_window(canvas: Canvas, traits: Traits) -> tuple[Floats, Floats]:
    """Return the implicit functions of the hair's outer outline and of the opening that shows the face."""
    x, y = canvas.x, canvas.y
    long = max(traits.hair_length - 0.45, 0) / 0.55
    reach = 0.05 + 0.9 * traits.hair_length if long == 0 else 0.6 + 2.2 * long
    width = traits.face_width * 1.03 + traits.hair_volume * (0.35 + 0.8 * (long > 0))
    height = traits.face_height + 0.04 + traits.hair_volume * 1.1
    wobble = 0.05 * (0.4 + max(traits.hair_curl, 0)) * noise(x * 6 + 77 * traits.hair, y * 6)
    dome = (np.abs(x) / width) ** 2.3 + (np.clip(0.1 - y, 0, None) / (height + 0.1)) ** 2.3 - 1
    flare = np.abs(x) / (width * (1 + 0.12 * long * np.clip(y, 0, 2))) - 1
    outer = np.maximum(np.where(y < 0.1, dome, np.maximum(dome, flare)), (y - reach) * 0.6) + wobble
    away = x - traits.hair_parting
    kind = traits.hair_style
    if kind < 0.35:  # a straight fringe
        line = traits.hair_line * 0.8 + 0.1 * x**2
    elif kind < 0.75:  # brushed to the sides from a parting
        line = traits.hair_line - 0.35 + traits.hair_slope * np.abs(away)
    elif kind < 0.93:  # brushed back, with a rounded line
        line = traits.hair_line - 0.2 + 0.5 * traits.hair_slope * x**2
    else:  # bald on top
        line = np.full_like(x, -traits.face_height - 0.6)
    line = line + 0.04 * noise(x * 14 + 31 * traits.hair, y * 5)
    inside = traits.face_width * (0.90 if long > 0 else 0.965)
    return outer, np.maximum(line - y, np.abs(x) - inside)


def hair_painter(canvas: Canvas, traits: Traits, shot: Shot) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return two functions: one paints the hair behind the head and neck, one the hair in front."""
    x, y = canvas.x, canvas.y
    outer, opening = _hair_window(canvas, traits)
    coverage = canvas.shape(outer, 2.0)
    # Strands fan out from a point above the crown, so that they run nearly side by side over the head.
    across, below = x - 0.6 * traits.hair_parting, y + traits.face_height + 0.4
    angle, radius = np.arctan2(across, below), np.hypot(across, below)
    messy = 0.25 * shot.hair_mess * noise(x * 3, y * 3 + 50 * shot.hair_mess)
    strands = 0.6 * noise((angle + messy) * 30, radius * 3 + 90 * traits.hair)
    strands += 0.6 * noise((angle + messy) * 85, radius * 5)
    curl = max(traits.hair_curl, 0)
    strands = (1 - curl) * strands + curl * noise(x * 13 + messy * 9, y * 13)
    shine = np.exp(-(((radius - 0.8) / 0.3) ** 2)) * traits.hair_shine
    light = np.clip(0.25 + 0.75 * canvas.light, 0.2, 1.2) * (0.85 + 0.16 * strands + 0.45 * shine)
    colour = hair_colour(traits) * np.clip(light, 0.15, 1.6)[..., None] + 0.02 * light[..., None]

    def behind() -> None:
        canvas.paint(coverage, colour * 0.72)

    def front() -> None:
        free = 1 - canvas.shape(opening, 3.0)
        shadow = (1 - canvas.shape(opening, 9.0)) * canvas.shape(face_outline(x, y, traits))
        canvas.darken(shadow * coverage * 0.4)
        canvas.paint(coverage * free, colour)

    return behind, front


def draw_beard(canvas: Canvas, traits: Traits) -> None:
    """Draw stubble or a beard along the jaw and a moustache under the nose, where the person has them."""
    x, y = canvas.x, canvas.y
    grain = 0.85 + 0.2 * noise(x * 90, y * 60)
    colour = hair_colour(traits) * np.float32(0.75) * np.clip(canvas.light, 0.2, 1.1)[..., None]
    lower = traits.mouth_height
    face = canvas.shape(face_outline(x, y, traits))
    if traits.beard > 0:
        upper = lower - 0.05 - 0.55 * (np.abs(x) / traits.face_width) ** 2
        keep = np.clip((np.maximum(np.abs(x) - 0.55, y - lower - 0.16) + 0.05) / 0.12, 0, 1)
        jaw = np.clip((y - upper) / 0.2, 0, 1) * keep * face
        canvas.paint(np.clip(jaw * grain * min(0.25 + traits.beard, 0.92), 0, 1), colour)
    if traits.moustache > 0:
        lip = lower - 0.13 + 0.25 * x**2
        patch = canvas.edge(np.maximum(np.abs(y - lip) - 0.065, np.abs(x) - traits.mouth_width), 3.0)
        canvas.paint(np.clip(patch * grain * min(0.35 + traits.moustache, 0.95), 0, 1), colour)


def draw_glasses(canvas: Canvas, traits: Traits) -> None:
    """Draw the frame of a pair of glasses with its bridge and temples."""
    canvas = canvas.part(x=1.4, top=-0.4, bottom=0.5)
    colour = rgb(0.9, 0.8, 0.7) * np.float32(traits.glasses_dark)
    across = np.abs(canvas.x) - traits.eye_distance
    down = canvas.y - 0.04
    n = traits.glasses_round
    ring = ((np.abs(across) / 0.37) ** n + (np.abs(down) / 0.27) ** n) ** (1 / n) - 1
    canvas.paint(canvas.edge(np.abs(ring) * 0.3 - 0.022, 0.5) * 0.9, colour)
    bridge = np.maximum(np.abs(down + 0.06) - 0.022, np.abs(canvas.x) - (traits.eye_distance - 0.36))
    temple = np.maximum(np.abs(down + 0.06) - 0.022, np.abs(across - 0.48) - 0.12)
    canvas.paint(canvas.edge(np.minimum(bridge, temple), 0.5) * 0.9, colour)
    canvas.paint(canvas.edge(ring * 0.3, 0.5) * 0.08, rgb(1, 1, 1))
