"""Play with a model on a page: python app.py ckpt=last"""

import hydra
from omegaconf import DictConfig

from tiny_audio_diffusion import command

command.prepare()


@command.generation_arguments
@hydra.main(version_base="1.3", config_path=str(command.ROOT / "configs"), config_name="app")
@command.friendly
def main(config: DictConfig) -> None:
    from tiny_audio_diffusion.app.serve import serve

    serve(config)


if __name__ == "__main__":
    main()
