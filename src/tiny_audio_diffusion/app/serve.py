"""The command: models by name, a folder that is gone at the end, a page at an address of this machine."""

import logging
import os
import shutil
import tempfile
from pathlib import Path

from omegaconf import DictConfig

from tiny_audio_diffusion import checkpoint
from tiny_audio_diffusion.app import ask

LARGEST_UPLOAD = "64mb"


def serve(config: DictConfig) -> None:
    """Show the page until Ctrl-C."""
    root = Path(tempfile.mkdtemp(prefix="tiny-audio-diffusion-"))
    try:
        start(config, root, wait=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def start(config: DictConfig, root: Path, *, wait: bool = False) -> tuple[object, str]:
    """Start the page with all its files under `root`; returns what closes it, and its address."""
    check(config)
    os.environ["GRADIO_TEMP_DIR"] = str(root / "uploads")  # read when gradio makes its parts
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio  # noqa: F401 # an extra: here so that its lack is told in one line
    except ImportError as error:
        raise ValueError(f"the page needs gradio, which does not load ({error}): pip install -e '.[app]'") from error

    from tiny_audio_diffusion.app import gate, page, theme
    from tiny_audio_diffusion.app.host import Host
    from tiny_audio_diffusion.app.session import Sessions
    from tiny_audio_diffusion.app.studio import Studio

    logging.getLogger("httpx").setLevel(logging.WARNING)  # with which gradio asks whether its page is there
    studio, sessions = Studio(models(config), config), Sessions(root / "sessions")
    steps = studio.model(next(iter(studio.models)))[2].steps if config.steps is None else config.steps
    chosen = {
        name: next((key for key, part in ask.choices(group).items() if part == config.get(name)), ask.OWN)
        for name, group in (("sampler", "sampler"), ("ladder", "schedule"))
    }
    host = Host(studio, sessions, steps=steps, sampler=chosen["sampler"], ladder=chosen["ladder"])
    blocks = page.build(host).queue(max_size=config.queue)
    if config.host not in gate.LOOPBACK:
        print(f"host={config.host}: everyone who reaches this machine can use the page")
    _, address, _ = blocks.launch(
        server_name=config.host,
        server_port=config.port,
        share=config.share,
        theme=theme.theme(),
        css_paths=theme.STYLE,
        footer_links=[],
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        max_file_size=LARGEST_UPLOAD,
        app_kwargs={
            "routes": gate.routes(sessions),
            "middleware": gate.middleware(config.host, share=config.share),
            "docs_url": None,
            "redoc_url": None,
            "openapi_url": None,
        },
        prevent_thread_lock=not wait,
        inbrowser=config.browser,
    )
    return blocks, address


def check(config: DictConfig) -> None:
    """Refuse, in one line, settings that cannot be meant."""
    if config.port is not None and (type(config.port) is not int or not 1 <= config.port <= 65535):
        raise ValueError(f"port must be a whole number from 1 to 65535, or null for a free one, not {config.port}")
    for name in ("queue", "batch_size"):
        if type(config[name]) is not int or config[name] < 1:
            raise ValueError(f"{name} must be a whole number, at least 1, not {config[name]}")
    most = int(ask.LIMITS["steps"].most)
    if config.steps is not None and (type(config.steps) is not int or not 1 <= config.steps <= most):
        raise ValueError(f"steps must be a whole number from 1 to {most}, not {config.steps}")
    for name in ("share", "browser", "hub", "allow_pickle"):
        if type(config[name]) is not bool:
            raise ValueError(f"{name} must be true or false, not {config[name]}")
    if not isinstance(config.host, str) or not config.host:
        raise ValueError("host= needs an address, such as 127.0.0.1 for this machine alone")


def models(config: DictConfig) -> dict[str, str]:
    """What the page offers, by name: the model given, the runs of this checkout, those of the hub."""
    path = checkpoint.find(config.ckpt, logs=config.logs_dir)
    folder = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    runs = sorted(Path(config.logs_dir).glob("runs/*/*/checkpoints"), key=lambda each: each.stat().st_mtime)
    # A path is offered under the name that it has, never as the path.
    given = config.ckpt if not Path(config.ckpt).expanduser().exists() else folder.name
    is_run = folder.resolve() in [each.parent.resolve() for each in runs]
    found = {_run_name(folder) if is_run else str(given): str(path)}
    for each in reversed(runs):
        found.setdefault(_run_name(each.parent), str(each.parent))
    if config.hub:
        from tiny_audio_diffusion import hub  # only here, because its client takes time to load

        for name in hub.SHORT:
            found.setdefault(name, name)
    return found


def _run_name(folder: Path) -> str:
    return f"{folder.parent.name} {folder.name}"
