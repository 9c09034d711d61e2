"""Train a model: python train.py exp=one_shots datamodule.dataset.path=<folder of sounds>"""

import hydra
from omegaconf import DictConfig

from tiny_audio_diffusion import command

command.prepare()


@command.training_arguments
@hydra.main(version_base="1.3", config_path=str(command.ROOT / "configs"), config_name="config")
@command.friendly
def main(config: DictConfig) -> None:
    if config.init is not None:
        from tiny_audio_diffusion.finetune import adopt

        config = adopt(config)
    if config.estimate:
        from tiny_audio_diffusion.memory.report import show

        show(config)
        return
    # What is wrong with the sounds is told before Lightning, which takes seconds to load.
    dataset = hydra.utils.instantiate(config.datamodule.dataset)

    from tiny_audio_diffusion.training import train

    train(config, dataset)


if __name__ == "__main__":
    main()
