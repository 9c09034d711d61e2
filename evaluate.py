"""Judge sounds with numbers: python evaluate.py reference=<real sounds> generated=<folder>"""

import hydra
from omegaconf import DictConfig

from tiny_audio_diffusion import command

command.prepare()


@command.evaluation_arguments
@hydra.main(version_base="1.3", config_path=str(command.ROOT / "configs"), config_name="evaluate")
@command.friendly
def main(config: DictConfig) -> None:
    from tiny_audio_diffusion.evaluation import evaluate

    evaluate(config)


if __name__ == "__main__":
    main()
