"""Align faces: find five landmarks with MTCNN and warp the photo to the template of the recogniser.

Detection: MTCNN (Zhang et al., "Joint Face Detection and Alignment", 2016, arXiv:1604.02878) as published in
facenet-pytorch. The warp (``avih.face_templates``) is Umeyama's least-squares similarity transform (1991) from
the landmarks to the template.

The choice of margins is ours: the detector sees the photo inside a margin that repeats its edge. Without it a
face box that leaves the photo is cut before the landmark network sees it, and the landmarks come out shifted: on
LFW-gray, whose faces fill the picture, rank 1 was 0.961 without and 0.988 with it (MobileFaceNet). Where the
first margin shows no face, others are tried.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from facenet_pytorch import MTCNN
from numpy.typing import NDArray
from PIL import Image
from skimage.transform import SimilarityTransform

from avih.errors import ImageRefused, UsageError
from avih.face_templates import TEMPLATES, Photo, Template, template_named, warp_to_template

__all__ = ["TEMPLATES", "AlignedFace", "Aligner", "Photo", "Template"]

logger = logging.getLogger(__name__)

Points = NDArray[np.float64]

SMALLEST_PHOTO: Final = 40  # pixels of the shorter side
SMALLEST_EYE_DISTANCE: Final = 10.0  # pixels in the photo: below it the template magnifies 3.5 times
LARGEST_DETECTED: Final = 1024  # longer side that the detector sees, in pixels
MARGINS: Final = (0.2, 0.4, 0.0)  # around what the detector sees, in parts of the longer side, in this order
SMALLEST_FACE: Final = 20.0  # pixels, the detector's own limit
FACES_ACROSS: Final = 20.0  # a face narrower than this part of the shorter side is background
PIXELS_AT_ONCE: Final = 8 * 1024 * 1024  # bounds the detector's memory to about 2 GB


@dataclass(frozen=True)
class AlignedFace:
    """One face in the template's position.

    Attributes:
        pixels: (height, width, 3), uint8, RGB.
        confidence: the detector's confidence, from the caller's minimum to 1.
        faces_found: faces in the photo that reached the minimum confidence.
        note: empty, or what a person should know about the choice.
    """

    pixels: Photo
    confidence: float
    faces_found: int
    note: str = ""


@dataclass(frozen=True)
class _Faces:
    """What the detector found in one photo, in the photo's own pixels, and which of them to take."""

    centres: Points
    landmarks: Points
    confidences: NDArray[np.float64]

    def most_central(self, photo: Photo, *, minimum_confidence: float) -> tuple[int, int]:
        """Return the index of the face to take, and how many reached the minimum confidence."""
        eligible = np.flatnonzero(self.confidences >= minimum_confidence)
        if len(eligible) == 0:
            return -1, 0
        middle = np.array([photo.shape[1] - 1, photo.shape[0] - 1]) / 2
        distances = np.linalg.norm(self.centres[eligible] - middle, axis=1)
        return int(eligible[distances.argmin()]), len(eligible)


class Aligner:
    """Find the face of each photo and warp it to a template.

    Args:
        template: its size, for instance ``"112x96"``; the recogniser's card says which.
        minimum_confidence: faces below it do not count, in [0, 1].
        batch_size: photos of equal size that the detector sees at once.
        device: where the detector runs, for instance ``"cpu"`` or ``"cuda"``.

    An aligner is for one thread at a time.

    Raises:
        UsageError: an unknown template, or a number out of its range.
    """

    def __init__(
        self,
        *,
        template: str = "112x96",
        minimum_confidence: float = 0.9,
        batch_size: int = 32,
        device: str = "cpu",
    ) -> None:
        if not 0 <= minimum_confidence <= 1:
            raise UsageError(f"Expected a minimum confidence from 0 to 1, got {minimum_confidence}.")
        if batch_size < 1:
            raise UsageError(f"Expected a batch size of at least 1, got {batch_size}.")
        self.template = template_named(template)
        self.minimum_confidence = minimum_confidence
        self.batch_size = batch_size
        self._detector = MTCNN(keep_all=True, post_process=False, device=torch.device(device)).eval()

    def align(self, photos: Sequence[Photo]) -> list[AlignedFace | ImageRefused]:
        """Align the most central face of each photo; a photo that cannot be used gives its refusal instead.

        The reasons are ``not_rgb``, ``photo_too_small``, ``no_face``, ``low_confidence``, ``face_too_small``,
        ``bad_landmarks`` and ``detector_failed``.

        Shape:
            - photos: each (height, width, 3), uint8, RGB; the sizes may differ.
            - returns: one entry per photo, in the same order.
        """
        results: list[AlignedFace | ImageRefused | None] = [_unusable(photo) for photo in photos]
        waiting = [place for place, result in enumerate(results) if result is None]
        for margin in MARGINS:
            for places in self._groups(photos, waiting, margin):
                found = self._detect_or_one_by_one([photos[place] for place in places], margin)
                for place, faces in zip(places, found, strict=True):
                    result = self._finish(photos[place], faces)
                    if results[place] is None or isinstance(result, AlignedFace):
                        results[place] = result
            waiting = [place for place in waiting if _shows_no_face(results[place])]
        return [result for result in results if result is not None]

    def _groups(self, photos: Sequence[Photo], places: Sequence[int], margin: float) -> Iterator[list[int]]:
        """Split the photos into batches of one size each, because the detector takes no others."""
        by_size: dict[tuple[int, ...], list[int]] = {}
        for place in places:
            by_size.setdefault(photos[place].shape[:2], []).append(place)
        for size, group in by_size.items():
            shrink = min(1.0, LARGEST_DETECTED / max(size))
            pixels = math.prod(side * shrink + 2 * margin * max(size) * shrink for side in size)
            at_once = max(1, min(self.batch_size, int(PIXELS_AT_ONCE / pixels)))
            for start in range(0, len(group), at_once):
                yield group[start : start + at_once]

    def _detect_or_one_by_one(
        self, photos: Sequence[Photo], margin: float
    ) -> list[_Faces | ImageRefused | None]:
        try:
            return list(self._detect(photos, margin))
        except Exception as error:  # an unknown detector failure must cost one photo, not the batch
            kind = type(error).__name__
            logger.warning(
                "The detector failed on %d photos of shape %s: %s", len(photos), photos[0].shape, kind
            )
            if len(photos) == 1:
                return [ImageRefused("detector_failed", f"The face detector stopped: {kind}.")]
        return [self._detect_or_one_by_one([photo], margin)[0] for photo in photos]

    def _detect(self, photos: Sequence[Photo], margin: float = MARGINS[0]) -> list[_Faces | None]:
        """Run the detector on photos of one size; landmarks come back in the photos' own pixels."""
        prepared = [_with_margin(photo, margin) for photo in photos]
        shrink, border = prepared[0][1:]
        shorter = min(photos[0].shape[:2]) * shrink
        self._detector.min_face_size = max(SMALLEST_FACE, shorter / FACES_ACROSS)
        found = self._detector.detect([image for image, _, _ in prepared], landmarks=True)
        return [_faces(*one, shrink=shrink, border=border) for one in zip(*found, strict=True)]

    def _finish(self, photo: Photo, faces: _Faces | ImageRefused | None) -> AlignedFace | ImageRefused:
        if isinstance(faces, ImageRefused):
            return faces
        if faces is None:
            return ImageRefused("no_face", "No face was found in the photo.")
        chosen, count = faces.most_central(photo, minimum_confidence=self.minimum_confidence)
        if count == 0:
            return ImageRefused(
                "low_confidence",
                f"The best face has confidence {faces.confidences.max():.2f}, "
                f"expected at least {self.minimum_confidence:g}.",
            )
        to_template = SimilarityTransform.from_estimate(
            faces.landmarks[chosen], np.asarray(self.template.points)
        )
        if not isinstance(to_template, SimilarityTransform) or not to_template.scale > 0:
            return ImageRefused("bad_landmarks", "The landmarks of the face are in one place.")
        eye_distance = self.template.eye_distance / to_template.scale
        if eye_distance < SMALLEST_EYE_DISTANCE:
            return ImageRefused(
                "face_too_small",
                f"The eyes are about {eye_distance:.0f} pixels apart, expected at least "
                f"{SMALLEST_EYE_DISTANCE:.0f}.",
            )
        return AlignedFace(
            pixels=warp_to_template(photo, to_template, template=self.template),
            confidence=float(faces.confidences[chosen]),
            faces_found=count,
            note="" if count == 1 else f"{count} faces found, the most central one taken",
        )


def _unusable(photo: Photo) -> ImageRefused | None:
    if not isinstance(photo, np.ndarray) or photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
        shape = getattr(photo, "shape", None)
        kind = getattr(photo, "dtype", type(photo).__name__)
        return ImageRefused("not_rgb", f"Expected 8-bit RGB pixels (height, width, 3), got {kind} {shape}.")
    if min(photo.shape[:2]) < SMALLEST_PHOTO:
        return ImageRefused(
            "photo_too_small",
            f"Expected at least {SMALLEST_PHOTO} pixels on each side, got {photo.shape[1]}x{photo.shape[0]}.",
        )
    return None


def _shows_no_face(result: AlignedFace | ImageRefused | None) -> bool:
    return isinstance(result, ImageRefused) and result.reason in ("no_face", "low_confidence")


def _with_margin(photo: Photo, margin: float) -> tuple[Image.Image, float, int]:
    """Return what the detector sees, how much it was shrunk, and its border in the shrunk photo's pixels."""
    image = Image.fromarray(photo)
    shrink = min(1.0, LARGEST_DETECTED / max(image.size))
    if shrink < 1:
        size = (max(1, round(image.width * shrink)), max(1, round(image.height * shrink)))
        image = image.resize(size, Image.Resampling.BILINEAR)
    border = round(margin * max(image.size))
    framed = np.pad(np.asarray(image), ((border, border), (border, border), (0, 0)), mode="edge")
    return Image.fromarray(framed), shrink, border


def _faces(boxes: Any, confidences: Any, landmarks: Any, *, shrink: float, border: int) -> _Faces | None:
    """Cast the detector's object arrays to numbers and carry them back to the photo's pixels."""
    if boxes is None:
        return None
    box = np.asarray(boxes, dtype=float)
    points = np.asarray(landmarks, dtype=float)
    return _Faces(
        centres=((box[:, :2] + box[:, 2:4]) / 2 - border + 0.5) / shrink - 0.5,
        landmarks=(points - border + 0.5) / shrink - 0.5,
        confidences=np.asarray(confidences, dtype=float),
    )
