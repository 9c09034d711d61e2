"""VGGish and PANNs: weights by their published names, at a small width, and pictures as they were trained on."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tiny_audio_diffusion.embedder import Panns, Vggish, panns, vggish


def sine(frequency: float, sampling_rate: int, *, seconds: float = 0.75) -> Tensor:
    time = torch.arange(round(seconds * sampling_rate)) / sampling_rate
    return torch.sin(2 * math.pi * frequency * time).reshape(1, 1, -1)


def vggish_layers() -> tuple[nn.Sequential, nn.Sequential]:
    """The published layers, narrow: 96 × 64 pictures are 6 × 4 after four poolings."""
    layers: list[nn.Module] = []
    before = 1
    for after in (2, 0, 3, 0, 4, 4, 0, 5, 5, 0):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()] if after else [nn.MaxPool2d(2, 2)]
        before = after or before
    embeddings = [nn.Linear(5 * 4 * 6, 7), nn.ReLU(), nn.Linear(7, 7), nn.ReLU(), nn.Linear(7, 3), nn.ReLU()]
    return nn.Sequential(*layers), nn.Sequential(*embeddings)


def panns_weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {"bn0": (64,), "fc1.weight": (6, 5), "fc1.bias": (6,)}
    for block in range(1, 7):
        before, after = max(1, block - 1), min(block, 5)
        shapes |= {f"conv_block{block}.conv1.weight": (after, before, 3, 3), f"conv_block{block}.bn1": (after,)}
        shapes |= {f"conv_block{block}.conv2.weight": (after, after, 3, 3), f"conv_block{block}.bn2": (after,)}
    weights: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        if ".bn" in name or name == "bn0":
            for kind in panns.NORM:
                weights[f"{name}.{kind}"] = torch.rand(shape, generator=generator) + 0.5
        else:
            weights[name] = torch.randn(shape, generator=generator)
    return weights


@pytest.fixture
def vggish_file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    features, embeddings = vggish_layers()
    state = {f"features.{name}": value for name, value in features.state_dict().items()}
    torch.save(
        state | {f"embeddings.{name}": value for name, value in embeddings.state_dict().items()}, tmp_path / "v.pth"
    )
    return tmp_path / "v.pth"


@pytest.fixture
def panns_file(tmp_path: Path) -> Path:
    # the published file holds more than is used, in a dictionary
    torch.save({"iteration": 1, "model": panns_weights() | {"fc_audioset.bias": torch.zeros(527)}}, tmp_path / "p.pth")
    return tmp_path / "p.pth"


def test_vggish_is_the_published_stack_of_layers_before_its_last_rectifier(vggish_file: Path):
    embedder = Vggish(path=str(vggish_file))
    torch.manual_seed(0)
    features, embeddings = vggish_layers()
    sounds = torch.cat([sine(300, 16_000, seconds=2), sine(1000, 16_000, seconds=2)])
    shown = vggish.pictures(sounds)
    assert shown.shape == (2, 2, 96, 64)
    with torch.no_grad():
        pooled = features(shown.flatten(0, 1)[:, None])  # [4, 5, 6, 4]
        expected = embeddings[:-1](pooled.transpose(1, 3).transpose(1, 2).flatten(1)).unflatten(0, (2, 2))
    torch.testing.assert_close(embedder.embed(sounds), expected)


@pytest.mark.parametrize("frequency", [300.0, 1000.0, 5000.0])
def test_pictures_show_a_sine_where_it_belongs(frequency: float):
    def htk(hertz: float) -> float:
        return 1127 * math.log(1 + hertz / 700)

    position = (htk(frequency) - htk(125)) / (htk(7500) - htk(125)) * 65 - 1
    shown = vggish.pictures(sine(frequency, 16_000))
    assert shown.shape == (1, 1, 96, 64)  # 0.75 s of the 0.975 s that a picture takes
    assert (shown[0, 0, :70].argmax(dim=1) - position).abs().max() <= 0.6
    torch.testing.assert_close(shown[0, 0, 80:], torch.full((16, 64), math.log(0.01)))

    def slaney(hertz: float) -> float:
        return 3 * hertz / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000, 6.4)

    position = (slaney(frequency) - slaney(50)) / (slaney(14_000) - slaney(50)) * 65 - 1
    shown = panns.pictures(sine(frequency, 32_000))
    assert shown.shape == (1, 1, 76, 64)
    assert (shown[0, 0, 5:-5].argmax(dim=1) - position).abs().max() <= 0.6


def test_panns_has_one_vector_a_sound(panns_file: Path):
    embedder = Panns(path=str(panns_file))
    sounds = torch.cat([sine(300, 32_000), sine(1000, 32_000), torch.zeros(1, 1, 24_000)])
    vectors = embedder.embed(sounds)
    assert vectors.shape == (3, 1, 6)
    assert vectors.isfinite().all()
    assert not torch.equal(vectors[0], vectors[1])
    torch.testing.assert_close(embedder.embed(sounds[1:].repeat(1, 2, 1)), vectors[1:])
    assert embedder.embed(sounds[:, :, :50]).isfinite().all()


def test_panns_normalises_band_by_band(panns_file: Path, tmp_path: Path):
    """What the first normalisation does to one band alone has to be undone by shifting that band's mean."""
    weights = panns_weights()
    weights["bn0.weight"] = torch.zeros(64)
    weights["bn0.weight"][20] = 1.0
    save_file(weights, tmp_path / "one.safetensors")
    embedder = Panns(path=str(tmp_path / "one.safetensors"))
    shown = panns.pictures(sine(1000, 32_000))
    moved = shown.clone()
    moved[..., 21:] += 5
    moved[..., :20] -= 5
    torch.testing.assert_close(embedder._vectors(moved), embedder._vectors(shown))
    moved[..., 20] += 5
    assert not torch.allclose(embedder._vectors(moved), embedder._vectors(shown))


@pytest.mark.parametrize("kind", [Vggish, Panns])
def test_files_that_will_not_do_are_told(kind: type[Vggish] | type[Panns], tmp_path: Path):
    with pytest.raises(ValueError, match=r"embedder.path=<file>: .*\.pth"):
        kind(path=None)
    with pytest.raises(FileNotFoundError, match="is no file: download"):
        kind(path=str(tmp_path / "missing.pth"))
    file = tmp_path / "x.pth"
    for content in (b"", b"PK\x03\x04nonsense", b"nonsense"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="cut off, damaged, or holds more than weights"):
            kind(path=str(file))
    torch.save({"model": {"x": torch.zeros(1)}}, file)
    with pytest.raises(ValueError, match=r"holds other weights: .* is missing"):
        kind(path=str(file))
    torch.save({"model": Path("x")}, file)
    with pytest.raises(ValueError, match="holds more than weights"):
        kind(path=str(file))
