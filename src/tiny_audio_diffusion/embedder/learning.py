"""How the classifier learns: its classes, the level of hiss, and what is no sound of these."""

import torch
from torch import Tensor, nn
from tqdm import tqdm

from tiny_audio_diffusion.embedder.classifier import ClassifierNetwork, pictures

BATCH = 32
NONE_SHARE = 1 / 8  # of a batch
HISS_SHARE = 1 / 2  # of sounds that hiss is added to
QUIETEST, LOUDEST = -55.0, -5.0  # dB of a sound's peak: hiss that is taught
SHIFT_SECONDS = 0.005
LEARNING_RATE = 2e-3


def learn(
    sounds: Tensor,
    labels: Tensor,
    classes: list[str],
    sampling_rate: int,
    *,
    steps: int,
    seed: int = 0,
) -> ClassifierNetwork:
    """A network trained on sounds [N, C, L] whose classes are labels [N]; "none of these" becomes the last class."""
    lacking = [name for name, count in zip(classes, labels.bincount(minlength=len(classes)), strict=True) if not count]
    if len(classes) < 2 or lacking:
        reason = f"{', '.join(lacking)} without any" if lacking else f"not {len(classes)}"
        raise ValueError(f"a classifier learns from two classes or more with sounds in each: {reason}")
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ClassifierNetwork(len(classes) + 1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=1e-2)
    decay = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    mono = sounds.mean(dim=1, keepdim=True)
    network.train()
    for _ in tqdm(range(steps), desc="classifier", unit="step", disable=None, dynamic_ncols=True):
        audio, wanted, level = _batch(mono, labels, len(classes), sampling_rate, generator)
        vectors = network(pictures(audio, sampling_rate))
        loss = nn.functional.cross_entropy(network.classes(vectors), wanted, label_smoothing=0.05)
        loss = loss + 5 * (network.hiss(vectors)[:, 0] - level).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    return network.eval()


def accuracies(
    network: ClassifierNetwork, sounds: Tensor, labels: Tensor, classes: list[str], sampling_rate: int
) -> dict[str, float]:
    """The share of sounds of each class that the network puts there; classes without a sound are left out."""
    with torch.no_grad():
        guesses = network.classes(network(pictures(sounds, sampling_rate))).argmax(dim=1)
    return {
        name: (guesses[labels == index] == index).float().mean().item()
        for index, name in enumerate(classes)
        if (labels == index).any()
    }


def _batch(
    sounds: Tensor, labels: Tensor, none: int, sampling_rate: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Sounds as varied as a listener meets them, their classes, and the level of their hiss from 0 (none) to 1."""
    frequency = 1 / labels.bincount()[labels].float()  # each class as often
    chosen = torch.multinomial(frequency, BATCH, replacement=True, generator=generator)
    audio, wanted = _shifted(sounds[chosen], sampling_rate, generator), labels[chosen].clone()
    audio = audio / audio.abs().amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)
    hissing = torch.rand(BATCH, generator=generator) < HISS_SHARE
    level = torch.where(hissing, torch.rand(BATCH, generator=generator), torch.zeros(BATCH))
    decibels = QUIETEST + (LOUDEST - QUIETEST) * level
    gain = torch.where(hissing, 10 ** (decibels / 20), torch.zeros(BATCH))
    count = round(BATCH * NONE_SHARE)
    wanted[:count] = none
    audio[: count // 2] = audio[: count // 2].flip(2)  # backwards
    audio[count // 2 : count] = 0  # and noise alone, at the top of the scale
    gain[count // 2 : count], level[count // 2 : count] = 1, 1
    noise = torch.randn(audio.shape, generator=generator)
    return audio + gain[:, None, None] * noise, wanted, level


def _shifted(audio: Tensor, sampling_rate: int, generator: torch.Generator) -> Tensor:
    """Each sound a little later; what comes before it is silence."""
    most = round(SHIFT_SECONDS * sampling_rate)
    later = torch.randint(most + 1, (len(audio), 1, 1), generator=generator)
    place = torch.arange(audio.shape[2]) - later
    return audio.gather(2, place.clamp(min=0)) * (place >= 0)
