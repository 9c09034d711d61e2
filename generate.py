"""Make sounds: python generate.py ckpt=last count=16 out=outputs/kit"""

import hydra
from omegaconf import DictConfig

from tiny_audio_diffusion import command

command.prepare()


@command.generation_arguments
@hydra.main(version_base="1.3", config_path=str(command.ROOT / "configs"), config_name="generate")
@command.friendly
def main(config: DictConfig) -> None:
    from tiny_audio_diffusion.generation import generate

    generate(config)


if __name__ == "__main__":
    main()
