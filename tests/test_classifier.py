"""The classifier learns classes, hiss and what is none of these; its file is whole and says what is wrong with it."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tiny_audio_diffusion import metrics
from tiny_audio_diffusion.data.synthesis import render
from tiny_audio_diffusion.data.transforms import crop_or_pad
from tiny_audio_diffusion.embedder import Classifier, LogMel
from tiny_audio_diffusion.embedder.classifier import NONE, ClassifierNetwork, write
from tiny_audio_diffusion.embedder.learning import accuracies, learn

RATE, LENGTH = 44_100, 12_288
CLASSES = ["hihat", "kick", "snare"]


def drums(name: str, first: int, last: int) -> Tensor:
    made = [torch.from_numpy(render(name, index, seed=1))[None].float() for index in range(first, last)]
    return torch.stack([crop_or_pad(sound, LENGTH, fade_length=200) for sound in made])


def hiss(sounds: Tensor, decibels: float) -> Tensor:
    peak = sounds.abs().amax(dim=(1, 2), keepdim=True)
    return sounds + 10 ** (decibels / 20) * peak * torch.randn(sounds.shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    sounds = torch.cat([drums(name, 0, 12) for name in CLASSES])
    labels = torch.arange(3).repeat_interleave(12)
    path = tmp_path_factory.mktemp("classifier") / "new" / "drums.safetensors"
    network = learn(sounds, labels, CLASSES, RATE, steps=70)
    found = accuracies(
        network, torch.cat([drums(name, 12, 20) for name in CLASSES]), labels[::12].repeat(8), CLASSES, RATE
    )
    assert list(found) == CLASSES
    write(path, network, classes=[*CLASSES, NONE], sampling_rate=RATE, accuracy=found)
    return Classifier(path=path)


def test_it_tells_classes_and_noise_apart(classifier: Classifier):
    assert classifier.classes == [*CLASSES, "none of these"]
    assert classifier.sampling_rate == RATE
    for index, name in enumerate(CLASSES):
        odds = classifier.classify(drums(name, 20, 28))
        torch.testing.assert_close(odds.sum(dim=1), torch.ones(8))
        assert (odds.argmax(dim=1) == index).float().mean() >= 0.75
    noise = torch.randn(8, 2, LENGTH, generator=torch.Generator().manual_seed(0))
    assert (classifier.classify(noise).argmax(dim=1) == 3).all()


def test_embedders_put_sounds_into_the_order_of_ears(classifier: Classifier):
    space = torch.cat([drums(name, 40, 52) for name in CLASSES])
    reference, real = (torch.cat([drums(name, *span) for name in CLASSES]) for span in ((52, 62), (62, 72)))
    chain = [real, hiss(real, -30), hiss(real, -20)]
    kicks, classes = drums("kick", 100, 115), [drums("kick", 115, 130), drums("snare", 100, 115)]
    noise = torch.randn(15, 1, LENGTH, generator=torch.Generator().manual_seed(1))
    for embedder in (LogMel(sampling_rate=RATE), classifier):
        vectors = embedder.embed(space)
        scale = metrics.Standardise(vectors.mean(dim=1), dimensions=32, smallest_deviation=embedder.smallest_deviation)

        def place(sounds: Tensor, scale=scale, embedder=embedder) -> Tensor:
            return scale(embedder.embed(sounds).mean(dim=1))

        for one, others in ((reference, chain), (kicks, [*classes, noise])):
            for measure in (
                metrics.kernel_distance,
                metrics.frechet_distance,
                lambda one, two: -metrics.neighbourhood(one, two).precision_margin,
                lambda one, two: -metrics.neighbourhood(one, two).recall_margin,
                lambda one, two: -metrics.neighbourhood(one, two).coverage_margin,
            ):
                found = [measure(place(one), place(other)) for other in others]
                assert found == sorted(found), (embedder, measure, found)
                assert len(set(found)) == 3


def test_vectors_are_each_sounds_own_and_finite_at_any_length(classifier: Classifier):
    sounds = drums("snare", 0, 3)
    vectors = classifier.embed(sounds)
    assert vectors.shape == (3, 1, 32)
    torch.testing.assert_close(classifier.embed(sounds[1:]), vectors[1:])
    torch.testing.assert_close(classifier.embed(0.1 * sounds.repeat(1, 2, 1)), vectors, atol=1e-3, rtol=1e-3)
    for odd in (torch.zeros(1, 2, LENGTH), sounds[:1, :, :100], torch.cat([sounds, sounds], dim=2)):
        assert classifier.embed(odd).isfinite().all()
    with pytest.raises(ValueError, match=r"sounds are \[sounds, channels, samples\], not \[1, 12288\]"):
        classifier.embed(sounds[0])


def test_learning_repeats_itself_and_needs_two_classes():
    sounds, labels = torch.cat([drums("kick", 0, 2), drums("snare", 0, 2)]), torch.tensor([0, 0, 1, 1])
    state = torch.random.get_rng_state()
    first, second = (learn(sounds, labels, ["kick", "snare"], RATE, steps=2, seed=3).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(state, torch.random.get_rng_state())
    with pytest.raises(ValueError, match="two classes or more with sounds in each: not 1"):
        learn(sounds[:2], labels[:2], ["kick"], RATE, steps=1)
    with pytest.raises(ValueError, match="in each: snare without any"):
        learn(sounds[:2], labels[:2], ["kick", "snare"], RATE, steps=1)


def test_files_that_are_no_classifier_are_told(classifier: Classifier, tmp_path: Path):
    for path, message in (
        (None, "embedder.path=<file>"),
        (tmp_path / "no.safetensors", "is no file: make a classifier"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            Classifier(path=path)
    file = tmp_path / "x.safetensors"
    file.write_bytes(classifier.path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="cut off, damaged, or no safetensors file"):
        Classifier(path=file)
    save_file({"x": torch.zeros(1)}, file)
    with pytest.raises(ValueError, match="is no classifier"):
        Classifier(path=file)
    about = json.dumps({"classes": ["a", "b"], "sampling_rate": RATE, "accuracy": {}})
    tensors = load_file(classifier.path)
    key = "tiny-audio-diffusion-classifier"
    for version, message in (
        ("2", "newer version: this one reads format 1, not 2"),
        ("1", "another network than it says"),
    ):
        save_file(tensors, file, metadata={key: version, "about": about})
        with pytest.raises(ValueError, match=message):
            Classifier(path=file)


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "x.safetensors"
    file.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write(file, ClassifierNetwork(2), classes=["a", NONE], sampling_rate=RATE, accuracy={})
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert file.read_bytes() == b"old"
