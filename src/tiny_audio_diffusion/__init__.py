"""Waveform diffusion models of one-shot sounds, trained on small hardware."""

__version__ = "0.1.0"
