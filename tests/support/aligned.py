"""What one photo gives when it is aligned alone."""

from avih.align import AlignedFace, Aligner, Photo
from avih.errors import ImageRefused


def only(aligner: Aligner, photo: Photo) -> AlignedFace:
    (face,) = aligner.align([photo])
    assert isinstance(face, AlignedFace), face
    return face


def refusal(aligner: Aligner, photo: Photo) -> str:
    (refused,) = aligner.align([photo])
    assert isinstance(refused, ImageRefused)
    return refused.reason
