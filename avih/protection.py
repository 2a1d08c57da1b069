"""From aligned pictures to stored pictures: the recoveries around one optimisation.

``keyed`` (the default): the picture's code is mixed with the key's secret into uniform noise x'_0; then free
values alone are moved until the recogniser sees the original's features. The optimisation is given x'_0 and
f(x), never x: with a secure stream cipher the stored picture tells nothing of x that f(x) does not tell.

``sealed``: for whoever can store a file beside the picture. x' starts as noise from the key's secret and all its
values may move until the recogniser sees the original's features; the original lies beside it, encrypted. Of x,
the optimisation is given f(x) alone.

``unmixed``: the papers' Algorithm 1: noise is moved until the generator maps it to x and the recogniser to f(x).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avih.acceleration import for_gradients
from avih.batched import Portions, groups
from avih.criteria import Criterion, Never, StillRecognised, StillRecoverable
from avih.device import device_of
from avih.errors import UsageError
from avih.images import to_pixels, to_tensor
from avih.jobs import Ticket, keyed_job, sealed_job, unmixed_job
from avih.loop import Fixed, Hidden, Job, Loop, Source
from avih.losses import FeatureDistance
from avih.methods.pipeline import Protected
from avih.mixing import make_nonce
from avih.precision import Confirming, InPrecision, Rough, resolve
from avih.recognisers import Recogniser
from avih.recovery import Picture, check_recovery
from avih.sealed_copy import seal_copy
from avih.settings import AVIH, ProtectSettings
from avih.steps import AdaptiveMomentum, ClosingMomentum, DecayingMomentum, StepRule

__all__ = ["Protected", "Protector", "step_rule", "stop_rule"]

Watch = Callable[[int, Tensor], None]


@dataclass(frozen=True)
class Protector:
    """Everything that protects pictures of one gallery version under one key.

    Args:
        secret: the key's 32 bytes.
        generator: the key's network, frozen.
        recogniser: the service model, frozen.
        settings: how to hide.
        version: gallery version; part of every nonce.
    """

    secret: bytes
    generator: nn.Module
    recogniser: Recogniser
    settings: ProtectSettings
    version: str

    def __post_init__(self) -> None:
        if self.settings.method != AVIH:
            raise UsageError(
                f"Expected settings of the method {AVIH}, got those of {self.settings.method}: it runs through "
                "avih.methods.registry.pipeline_of."
            )
        check_recovery(self.settings.recovery, self.generator)

    def __repr__(self) -> str:
        """Name the settings, never the secret."""
        return f"Protector({self.settings.method}, {self.settings.recovery}, {self.version})"

    def protect(
        self,
        *,
        pictures: Sequence[Picture],
        images: Sequence[str],
        progress: Callable[[int], None] | None = None,
        watch: Watch | None = None,
    ) -> list[Protected]:
        """Hide aligned pictures that are at hand.

        Args:
            pictures: uint8 ``(H, W, 3)``, all of the recogniser's size.
            images: their ids, unique within the gallery version.
            progress: called with 1 for each finished image.
            watch: called after each step with the number of steps so far and the best images in the batch.
        """
        loop = self.loop(Fixed(self.jobs(zip(images, pictures, strict=True))), watch=watch)
        originals, done = dict(zip(images, pictures, strict=True)), {}
        while finished := loop.take(1, wait=True):
            for hidden in finished:
                image = hidden.job.ticket.image
                done[image] = self.finish(hidden, originals[image])
            if progress:
                progress(len(finished))
        return [done[image] for image in images]

    def jobs(self, pictures: Iterable[tuple[str, Picture]]) -> Iterator[Job]:
        """Turn image ids and pictures into what the optimisation is given."""
        portions = Portions(self.settings.batch_size)
        for group in groups(pictures, self.settings.batch_size):
            targets = self._features(to_tensor([picture for _, picture in group]), portions)
            for (image, picture), target in zip(group, targets, strict=False):
                nonce = make_nonce(secret=self.secret, version=self.version, image=image, pixels=picture)
                ticket = Ticket(image, nonce)
                yield self._job(picture, ticket, target[None])

    def _features(self, images: Tensor, portions: Portions) -> Tensor:
        """Return the features of a group; who else is in it changes none of them."""
        with torch.no_grad():
            return portions.compute(
                lambda rows: self.recogniser(images[rows]), len(images), device=images.device
            )

    def loop(self, source: Source, *, watch: Watch | None = None) -> Loop:
        """Build the optimisation over a stream of :meth:`jobs`."""
        steps, dtype = self.settings.steps, self._recogniser_dtype()
        if dtype == torch.float32 or steps < 2:
            return self._pass(source, steps, watch)
        # At most half of the steps are rough; what falls short in float32 is finished there.
        rough = self._pass(
            Rough(source, InPrecision(for_gradients(self.recogniser), dtype)), steps // 2, watch
        )
        later: Watch | None = watch and (lambda step, images: watch(step + steps // 2, images))
        return self._pass(Confirming(rough), steps - steps // 2, later)

    def finish(self, hidden: Hidden, picture: Picture) -> Protected:
        """Turn a finished image into what is stored; the loop saw it as the file will hold it.

        Args:
            hidden: what the loop gave.
            picture: the original, for its sealed copy; the other recoveries do not look at it.
        """
        (pixels,) = to_pixels(hidden.image)
        features = next(term for term in hidden.job.objective.terms if isinstance(term, FeatureDistance))
        with torch.no_grad():
            seen = self.recogniser(hidden.image)
        cosine = float((seen * features.target).sum())
        ticket: Ticket = hidden.job.ticket
        sealed = None
        if self.settings.recovery == "sealed":
            sealed = seal_copy(picture, secret=self.secret, image=ticket.image, nonce=ticket.nonce)
        return Protected(pixels, ticket.nonce, cosine, hidden.steps, sealed)

    @property
    def device(self) -> torch.device:
        """Where the recogniser and the optimisation run."""
        return device_of(self.recogniser)

    def _pass(self, source: Source, steps: int, watch: Watch | None) -> Loop:
        size = self.recogniser.card.feature_size
        on_cpu = self.device.type == "cpu"
        return Loop(
            source=source,
            rule=step_rule(self.settings, size, steps=steps),
            stop=stop_rule(self.settings, size),
            steps=steps,
            batch_size=self.settings.batch_size,
            device=None if on_cpu else self.device,
            look_every=1 if on_cpu or watch else LOOK_EVERY,
            watch=watch,
        )

    def _recogniser_dtype(self) -> torch.dtype:
        """Unmixed, the generator is nearly all of the work: the recogniser stays exact."""
        if self.settings.recovery == "unmixed":
            return torch.float32
        return resolve(self.settings.precision, device=self.device, network=self.recogniser)

    def _job(self, picture: Picture, ticket: Ticket, target: Tensor) -> Job:
        secret, recogniser = self.secret, InPrecision(for_gradients(self.recogniser))
        if self.settings.recovery == "sealed":
            # The original is not even an argument: its size, its nonce and its features are all that is known.
            return sealed_job(picture.shape, ticket, target, secret=secret, recogniser=recogniser)
        if self.settings.recovery == "keyed":
            return keyed_job(picture, ticket, target, secret=secret, recogniser=recogniser)
        dtype = resolve(self.settings.precision, device=self.device, network=self.generator)
        generator = InPrecision(self.generator, dtype)
        return unmixed_job(
            picture, ticket, target, secret=secret, recogniser=recogniser, generator=generator,
            settings=self.settings,
        )  # fmt: skip


LOOK_EVERY = 8  # steps between two looks at who is done, where a look makes the host wait for a device


def step_rule(settings: ProtectSettings, feature_size: int, *, steps: int) -> StepRule:
    """Build the step rule that the settings name, for a pass of ``steps``."""
    if settings.rule == "decaying":
        return DecayingMomentum(step_size=settings.step_size, momentum=settings.momentum)
    if settings.rule == "adaptive":
        return AdaptiveMomentum(step_size=settings.step_size, momentum=settings.momentum, steps=steps)
    # Orthogonal unit features have squared distance 2: the full step is taken from there on.
    return ClosingMomentum(
        step_size=settings.step_size, momentum=settings.momentum, full_loss=2 / feature_size
    )


def stop_rule(settings: ProtectSettings, feature_size: int) -> Criterion:
    """Build the stop rule that the settings name."""
    if settings.stop_cosine is None:
        return Never()
    recognised = StillRecognised(cosine=settings.stop_cosine, feature_size=feature_size)
    # Keyed and sealed recovery need no watching: neither the code nor the copy can be harmed.
    if settings.recovery != "unmixed":
        return recognised
    return recognised & StillRecoverable(mse=settings.stop_mse)
