"""CLAP and EnCodec: tiny networks with random weights, saved as the hub's are and loaded by the real loading code."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tiny_audio_diffusion.embedder import Clap, Encodec
from tiny_audio_diffusion.embedder.base import Embedder

transformers = pytest.importorskip("transformers")


def noise(count: int, channels: int, length: int) -> Tensor:
    return 0.1 * torch.randn(count, channels, length, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def clap_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole CLAP, with the half that reads captions, as it lies on the hub."""
    folder = tmp_path_factory.mktemp("clap")
    audio = {
        "patch_embeds_hidden_size": 16,
        "hidden_size": 128,
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [2, 2, 2, 2],
        "projection_dim": 24,
    }
    text = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 50,
    }
    torch.manual_seed(0)
    config = transformers.ClapConfig(text_config=text | {"projection_dim": 24}, audio_config=audio, projection_dim=24)
    transformers.ClapModel(config).eval().save_pretrained(folder)
    transformers.ClapFeatureExtractor(truncation="rand_trunc").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encodec_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], Path]:
    def save(stereo: bool) -> Path:
        folder = tmp_path_factory.mktemp("encodec")
        torch.manual_seed(0)
        config = transformers.EncodecConfig(
            num_filters=4,
            hidden_size=16,
            codebook_size=8,
            audio_channels=2 if stereo else 1,
            normalize=stereo,
            sampling_rate=48_000 if stereo else 24_000,
            norm_type="time_group_norm" if stereo else "weight_norm",
        )
        transformers.EncodecModel(config).save_pretrained(folder)
        return folder

    return save


def test_clap_gives_the_vectors_of_the_whole_model(clap_folder: Path):
    embedder = Clap(model=str(clap_folder))
    assert embedder.sampling_rate == 48_000
    sounds = noise(2, 2, 36_000)
    vectors = embedder.embed(sounds)
    assert vectors.shape == (2, 1, 24)
    whole = transformers.ClapModel.from_pretrained(clap_folder).eval()
    extract = transformers.ClapFeatureExtractor.from_pretrained(clap_folder)
    inputs = extract(list(sounds.mean(dim=1).numpy()), sampling_rate=48_000, return_tensors="pt")
    with torch.no_grad():
        expected = whole.get_audio_features(**inputs).pooler_output
    torch.testing.assert_close(vectors[:, 0], expected)
    torch.testing.assert_close(embedder.embed(sounds[1:]), vectors[1:])
    assert embedder.embed(torch.zeros(1, 1, 4_000)).isfinite().all()


def test_clap_is_the_same_each_time_for_sounds_beyond_ten_seconds(clap_folder: Path):
    embedder = Clap(model=str(clap_folder))
    long = noise(1, 1, 500_000)
    torch.testing.assert_close(embedder.embed(long), embedder.embed(long))


@pytest.mark.parametrize("stereo", [False, True])
def test_encodec_gives_what_its_quantizer_is_given(encodec_folder: Callable[[bool], Path], stereo: bool):
    folder = encodec_folder(stereo)
    embedder = Encodec(model=str(folder))
    assert embedder.sampling_rate == (48_000 if stereo else 24_000)
    sounds = noise(3, 2, 3_200)
    vectors = embedder.embed(sounds)
    assert vectors.shape == (3, 10, 16)  # 320 samples a frame
    given = []
    network = transformers.EncodecModel.from_pretrained(folder).eval()
    original = network.quantizer.encode
    network.quantizer.encode = lambda values, bandwidth: (given.append(values), original(values, bandwidth))[1]
    with torch.no_grad():
        network.encode(sounds if stereo else sounds.mean(dim=1, keepdim=True), bandwidth=24.0)
    torch.testing.assert_close(vectors, torch.cat(given).transpose(1, 2), atol=1e-5, rtol=1e-4)
    assert embedder.embed(torch.zeros(1, 1, 3_200)).isfinite().all()
    torch.testing.assert_close(embedder.embed(sounds[1:]), vectors[1:])


@pytest.mark.parametrize("kind", [Clap, Encodec])
def test_a_missing_package_or_model_is_told_in_one_line(
    kind: type[Embedder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(FileNotFoundError, match="neither a folder nor a name owner/name"):
        kind(model=str(tmp_path / "missing"))  # type: ignore[call-arg]
    with pytest.raises(FileNotFoundError, match="could not be loaded") as caught:
        kind(model=str(tmp_path))  # type: ignore[call-arg]
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match="check the name and the network") as caught:
        kind(model="nobody/nothing")  # type: ignore[call-arg]
    assert "\n" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"pip install -e '\.\[embedders\]'"):
        kind(model="nobody/nothing")  # type: ignore[call-arg]
