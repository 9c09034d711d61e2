"""The page as visitors meet it: over HTTP, with what they should not send, and in a real browser."""

import io
import json
import os
import re
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx
import models
import numpy as np
import pytest
import soundfile
from browser import browser
from hydra import compose, initialize_config_dir
from playwright.sync_api import Page, expect
from sounds import RATE, hit
from visitors import Server, Visitor, serving

from tiny_audio_diffusion import command
from tiny_audio_diffusion.generation import generate

SECRET = "not for visitors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    """A model that has learned nothing, beside a file that nobody may see."""
    (folder / "model").mkdir()
    models.write_own(folder / "model" / "last.ckpt", "channels=1")
    (folder / "secret.txt").write_text(SECRET)
    return folder / "model" / "last.ckpt"


@pytest.fixture(scope="module")
def server(model: Path, folder: Path) -> Iterator[Server]:
    with serving(model, folder, "steps=3", "batch_size=4") as running:
        yield running
    assert not list(running.folder.iterdir())  # nothing is left when the page is gone


@pytest.fixture
def visit(server: Server) -> Iterator[Callable[[], Visitor]]:
    """Opens pages."""
    with ExitStack() as pages:
        yield lambda: pages.enter_context(closing(Visitor(server)))


@pytest.fixture
def visitor(visit: Callable[[], Visitor]) -> Visitor:
    return visit()


def wav(samples: np.ndarray, rate: int = RATE, subtype: str = "FLOAT") -> bytes:
    content = io.BytesIO()
    soundfile.write(content, samples, rate, format="WAV", subtype=subtype)
    return content.getvalue()


def sources(shown: list[Any]) -> list[str]:
    """The addresses of the sounds on a board."""
    return re.findall(r'data-source="([^"]+)"', str(shown[1]))


def fetched(visitor: Visitor, shown: list[Any]) -> list[bytes]:
    return [visitor.client.get(f"/{source}").raise_for_status().content for source in sources(shown)]


def kit_of(visitor: Visitor, shown: list[Any]) -> zipfile.ZipFile:
    (address,) = re.findall(r'href="([^"]+kit\.zip)"', shown[1])
    return zipfile.ZipFile(io.BytesIO(visitor.client.get(f"/{address}").raise_for_status().content))


def by_command(model: Path, folder: Path, *settings: str) -> list[bytes]:
    """The files of generate.py."""
    with initialize_config_dir(str(command.ROOT / "configs"), version_base="1.3"):
        generate(compose("generate", [f"ckpt='{model}'", f"out='{folder}'", "device=cpu", *settings]))
    return [path.read_bytes() for path in sorted(folder.glob("*.wav"))]


# Equal settings, equal sounds.


def test_new_sounds_are_those_of_the_command(visitor: Visitor, model: Path, tmp_path: Path) -> None:
    shown = visitor.ask("make", count=5, seed=7, steps=4, sampler="dpm2m", schedule="karras")
    made = fetched(visitor, shown)
    expected = by_command(
        model, tmp_path / "kit", "count=5", "seed=7", "steps=4", "sampler=dpm2m", "schedule@ladder=karras"
    )
    assert len(made) == 5
    assert made == expected


@pytest.mark.parametrize(
    ("task", "given", "settings"),
    [
        ("vary", {"vary_strength": 0.4}, ["strength=0.4"]),
        ("inpaint", {"begin": 0.02, "end": 0.05, "repeats": 2}, ["keep='0-0.0200,0.0500-'", "repeats=2"]),
        ("inpaint", {"begin": 0.05, "end": 0.9, "repeats": 1}, ["keep=0.05", "repeats=1"]),
        ("extend", {"direction": "both", "spans": 1, "repeats": 2}, ["direction=both", "spans=1", "repeats=2"]),
        ("interpolate", {}, ["second=9"]),
        ("remix", {"remix_strength": 0.6}, ["strength=0.6"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_task_is_that_of_the_command(
    task: str, given: dict[str, Any], settings: list[str], visitor: Visitor, model: Path, tmp_path: Path
) -> None:
    original = tmp_path / "hit.wav"
    original.write_bytes(wav(hit(), subtype="PCM_16"))
    given["input"] = visitor.upload(original.read_bytes())
    if task == "interpolate":
        other = tmp_path / "other.wav"
        other.write_bytes(wav(hit(5, sampling_rate=22050), 22050))
        given["second"], settings = visitor.upload(other.read_bytes(), "other.wav"), [f"second='{other}'"]
    made = fetched(visitor, visitor.ask("make", task=task, count=2, steps=3, seed=1, **given))
    settings = [f"task={task}", "count=2", "steps=3", "seed=1", f"input='{original}'", *settings]
    assert len(made) == 2
    assert made == by_command(model, tmp_path / "kit", *settings)


def test_a_kit_can_be_made_again_from_its_manifest(visitor: Visitor, model: Path, tmp_path: Path) -> None:
    given = {"input": visitor.upload(wav(hit()), "../../my hit.wav"), "vary_strength": 0.5}
    kit = kit_of(visitor, visitor.ask("make", task="vary", count=2, steps=2, **given))
    kit.extractall(tmp_path)
    assert set(kit.namelist()) - {"./"} == {
        "sound_000.wav", "sound_001.wav", "sheet.png", "manifest.json", "input.wav",
    }  # fmt: skip
    text = (tmp_path / "manifest.json").read_text()
    assert str(visitor.server.folder.parent) not in text  # it is given away: no folders of this machine
    assert json.loads(text)["finished"]
    again = by_command(
        model, tmp_path / "again", f"manifest='{tmp_path / 'manifest.json'}'", f"input='{tmp_path / 'input.wav'}'"
    )
    assert again == [(tmp_path / f"sound_00{place}.wav").read_bytes() for place in range(2)]


def test_more_like_this_and_back(visitor: Visitor, model: Path, tmp_path: Path) -> None:
    first = visitor.ask("make", count=2, steps=2)
    source = tmp_path / "source.wav"
    source.write_bytes(fetched(visitor, first)[1])
    more = visitor.ask("board", "more", {"take": 1, "place": 1, "strength": 0.3}, steps=2)
    expected = by_command(
        model, tmp_path / "kit", "task=vary", "count=16", f"input='{source}'", "strength=0.3", "steps=2"
    )
    assert fetched(visitor, more) == expected
    assert "More like 02" in more[1]
    (board,) = visitor.ask("board", "back", {"take": 1})
    assert sources(["", board]) == sources(first)
    for odd in ({}, {"take": 99, "place": 0}, {"take": 1, "place": -1}, {"take": 1, "place": "../0"}, {"take": [1]}):
        assert "no longer here" in visitor.ask("board", "more", odd)[0]


# What goes wrong is told on the page.


def bad_uploads() -> dict[str, tuple[bytes, str]]:
    return {
        "text": (b"these are words\n" * 100, "Cannot read"),
        "empty": (b"", "Cannot read|empty|no longer here"),
        "no samples": (wav(np.zeros(0)), "holds no sound"),
        "twenty minutes": (wav(np.zeros(1200 * 8000), 8000, "PCM_U8"), "is too long"),
        "no numbers": (wav(np.full(2000, np.nan)), "no numbers"),
    }


@pytest.mark.parametrize("kind", bad_uploads())
def test_a_bad_upload_is_a_message(kind: str, visitor: Visitor) -> None:
    content, message = bad_uploads()[kind]
    sound = visitor.upload(content)
    told = [
        visitor.ask("input", "change", task="vary", input=sound)[0],
        *[visitor.ask("make", task=task, input=sound, count=1)[0] for task in ("vary", "inpaint", "remix")],
    ]
    for line in told:
        assert 'class="line wrong"' in line
        assert re.search(message, line), line
        assert "Traceback" not in line
        assert str(visitor.server.folder) not in line
    assert sources(visitor.ask("make", count=1))  # and the page goes on


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task": "vary"}, "Upload or record a sound first"),
        ({"task": "destroy"}, "There is no task destroy"),
        ({"steps": 2.5}, "Steps is a whole number"),
        ({"seed": -1}, ""),
    ],
)
def test_a_slip_is_a_message(given: dict[str, Any], message: str, visitor: Visitor) -> None:
    shown = visitor.ask("make", **given)
    assert not shown or message in shown[0]
    assert not shown or not sources(shown)


def test_a_gap_may_lie_anywhere_in_a_long_sound(visitor: Visitor) -> None:
    sound = visitor.upload(wav(np.tile(hit(), 4)))  # 0.32 seconds, the model makes 0.023
    line, gap, *handles = visitor.ask("input", "change", task="inpaint", input=sound)
    assert "The input lasts 0.32 seconds" in line
    assert 'data-seconds="0.3200"' in gap
    assert [handle["maximum"] for handle in handles] == [0.32, 0.32]
    shown = visitor.ask("make", task="inpaint", input=sound, begin=0.3, end=0.31, repeats=1, count=1, steps=2)
    assert len(sources(shown)) == 1
    for begin, end, message in ((0.1, 0.1, "no length"), (0, 0.32, "the whole sound")):
        assert message in visitor.ask("make", task="inpaint", input=sound, begin=begin, end=end, count=1)[0]


# Nobody sees what is not theirs.


def test_two_at_once_queue_and_never_mix(visit: Callable[[], Visitor]) -> None:
    visitors, shown = [visit(), visit()], [[], []]

    def work(place: int) -> None:
        shown[place] = visitors[place].ask("make", count=8, seed=100 * place, steps=6)

    threads = [threading.Thread(target=work, args=(place,)) for place in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place, other in ((0, 1), (1, 0)):
        assert len(sources(shown[place])) == 8
        assert f"seed {100 * place + 3}" in shown[place][1]
        alone = visit()
        assert fetched(visitors[place], shown[place]) == fetched(
            alone, alone.ask("make", count=8, seed=100 * place, steps=6)
        )
        tokens = [sources(each)[0].split("/")[1] for each in (shown[place], shown[other])]
        assert tokens[0] != tokens[1]
        assert tokens[1] not in str(shown[place])


TRICKS = [
    "../secret.txt", "../../secret.txt", "..%2f..%2fsecret.txt", "%2e%2e/%2e%2e/secret.txt", "..%5c..%5csecret.txt",
    "....//....//secret.txt", "%252e%252e%252fsecret.txt", "{secret}", "/{secret}", "file://{secret}",
    "{uploads}/../../secret.txt", "{uploads}/link.txt", "/etc/passwd", "/proc/self/environ", "{config}",
    "http://127.0.0.1:{port}/config", "~/.ssh/id_rsa", "C:\\windows\\win.ini", "secret.txt%00.wav",
]  # fmt: skip
DOORS = [
    "/gradio_api/file=",
    "/gradio_api/file/",
    "/file=",
    "/file/",
    "/static/",
    "/assets/",
    "/gradio_api/proxy=",
    "/",
]
OURS = ["/sounds/{token}/1/", "/sounds/{token}/", "/sounds/{token}/1/0.wav/", "/sounds/"]


def test_no_path_leads_out_of_the_folder(server: Server, visitor: Visitor) -> None:
    shown = visitor.ask("make", count=1, steps=1)
    token = sources(shown)[0].split("/")[1]
    visitor.upload(b"x", "x.txt")
    uploads = next(server.folder.glob("*/uploads"))
    secret = server.folder.parent / "secret.txt"
    (uploads / "link.txt").unlink(missing_ok=True)
    (uploads / "link.txt").symlink_to(secret)
    words = {
        "secret": secret, "uploads": uploads, "config": command.ROOT / "configs" / "app.yaml",
        "port": server.address.rpartition(":")[2],
    }  # fmt: skip
    doors = [*DOORS, *[door.format(token=token) for door in OURS]]
    for door in doors:
        for trick in TRICKS:
            address = door + trick.format(**words)
            answer = visitor.client.get(address)
            assert SECRET not in answer.text, address
            assert not re.search(r"root:x:|logs_dir|PATH=", answer.text), address
            assert answer.status_code != 200 or door in ("/",), address
    (uploads / "link.txt").unlink()
    for path in (str(secret), "/etc/passwd", f"{uploads}/../../secret.txt"):
        sound = {"path": path, "meta": {"_type": "gradio.FileData"}}
        shown = visitor.ask("make", task="vary", count=1, input=sound)
        assert not shown or not sources(shown)
        assert SECRET not in str(shown)
    for model in (str(secret), "../secret.txt", str(server.folder.parent / "model" / "last.ckpt")):
        shown = visitor.ask("make", model=model, count=1)
        assert not shown or not sources(shown)


def test_uploads_stay_in_their_folder(server: Server, visitor: Visitor, folder: Path) -> None:
    before = {path for path in folder.rglob("*") if server.folder not in path.parents}
    for name in ("../../evil.wav", "/opt/evil.wav", "..%2f..%2fevil.wav", "..\\..\\evil.wav", "a\x00b.wav", "." * 300):
        answer = visitor.client.post("/gradio_api/upload", files={"files": (name, b"evil")})
        for path in answer.json() if answer.status_code == 200 else []:
            assert server.folder in Path(path).resolve().parents, name
    assert {path for path in folder.rglob("*") if server.folder not in path.parents} == before
    assert not Path("/opt/evil.wav").exists()


def test_answers_say_what_a_browser_may_do(server: Server) -> None:
    answer = httpx.get(server.address, trust_env=False)
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert httpx.get(server.address, headers={"host": "evil.example"}, trust_env=False).status_code == 400


def test_two_hundred_requests_of_which_fifty_are_malformed(server: Server, visit: Callable[[], Visitor]) -> None:
    visitor = visit()
    called = visitor.event("make", "click")
    good = {"data": visitor.values(called, count=1, steps=1), "fn_index": called["id"], "session_hash": visitor.key}
    odd: list[dict[str, Any]] = [
        {"json": {**good, "data": [value] * len(good["data"])}}
        for value in (None, "x", -1, 1e308, [], {}, True, "9" * 5000, {"path": "/etc/passwd"}, "\x00")
    ]
    odd += [{"json": {**good, "fn_index": value}} for value in (-1, 10**9, "make", None, [])]
    odd += [{"json": {**good, "session_hash": value}} for value in (None, 5, "", "../..", "x" * 10000)]
    odd += [{"json": {**good, "data": good["data"][:size]}} for size in range(5)]
    odd += [{"content": content} for content in (b"", b"{", b"\xff\xfe", b"[" * 5000, b"null")]
    headers = {"content-type": "application/json"}
    answers = []
    for number in range(200):
        if number % 4 == 3:
            body = odd[number // 4 % len(odd)]
            # on a connection of its own, because the server closes it
            address = f"{server.address}/gradio_api/queue/join"
            answers.append(httpx.post(address, headers=headers, trust_env=False, timeout=20, **body))
        elif number % 20 == 0:
            assert sources(visitor.send(good)), number
        else:
            answers.append(visitor.client.get(("/", "/config", "/sounds/nobody/1/0.wav")[number % 3]))
            assert answers[-1].status_code == (404 if number % 3 == 2 else 200)
    for answer in answers:
        assert "Traceback" not in answer.text
        assert str(command.ROOT) not in answer.text
    assert server.process.poll() is None
    assert len(sources(visit().ask("make", count=4, steps=2))) == 4


# In a browser.


@pytest.fixture
def page(server: Server) -> Iterator[Page]:
    """The page, opened; it may speak with its server alone, and nothing in it may fail."""
    with browser() as running:
        opened = running.new_page(viewport={"width": 1366, "height": 900})
        faults: list[str] = []
        opened.on("pageerror", lambda error: faults.append(str(error)))
        opened.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        own = (server.address, "data:", "blob:")
        opened.on("request", lambda asked: None if asked.url.startswith(own) else faults.append(asked.url))
        opened.goto(server.address)
        expect(opened.locator(".pad")).to_have_count(16)
        yield opened
        assert faults == []


def finish(page: Page, button: str = "#make") -> None:
    """Press a button and wait until its sounds are there."""
    takes = page.locator(".history button").count()
    page.click(button)
    expect(page.locator(".history button")).to_have_count(takes + 1, timeout=30_000)
    expect(page.locator("#line .line.done")).to_be_visible(timeout=30_000)


def test_the_page_in_a_browser(page: Page, tmp_path: Path) -> None:
    finish(page)
    expect(page.locator("button.pad")).to_have_count(16)
    # pads sound on a click and on keys, wherever the focus was
    page.click('button.pad[data-place="5"]')
    page.wait_for_function("window.tinyPads.played === 1")
    for count, (key, place) in enumerate([("1", 0), ("r", 7), ("d", 10), ("v", 15)], start=2):
        page.keyboard.press(key)
        page.wait_for_function(f"window.tinyPads.played === {count}")
        assert page.evaluate("window.tinyPads.last") == place
    assert page.evaluate("window.tinyPads") == {"played": 5, "last": 15, "decoded": 5, "failed": 0}
    expect(page.locator('button.pad[data-place="15"]')).to_have_attribute("aria-pressed", "true")
    # but not while somebody writes
    page.focus("#seed input")
    page.keyboard.press("2")
    assert page.evaluate("window.tinyPads.played") == 5
    # the player decodes the sound too
    seconds = page.evaluate(
        "(async () => { const player = document.querySelector('.stage audio'); player.muted = true;"
        " await player.play(); return player.duration; })()"
    )
    assert seconds == pytest.approx(1024 / 44100, abs=0.002)
    finish(page, "[data-deed=more]")
    with page.expect_download() as download:
        page.click("a.kit")
    assert "manifest.json" in zipfile.ZipFile(download.value.path()).namelist()
    kept = Path(os.environ.get("SCREENSHOTS", tmp_path))
    kept.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=kept / "app.png")
    assert (kept / "app.png").stat().st_size > 20_000


def test_a_gap_is_drawn_in_a_browser(page: Page, tmp_path: Path) -> None:
    original = tmp_path / "hit.wav"
    original.write_bytes(wav(hit()))
    page.get_by_role("tab", name="Inpaint").click()
    page.set_input_files("#input input[type=file]", original)
    gap = page.locator(".gap[data-seconds]")
    gap.wait_for()
    gap.scroll_into_view_if_needed()
    room = gap.bounding_box()
    assert room is not None
    page.mouse.move(room["x"] + 0.2 * room["width"], room["y"] + 50)
    page.mouse.down()
    page.mouse.move(room["x"] + 0.4 * room["width"], room["y"] + 50, steps=3)
    page.mouse.move(room["x"] + 0.6 * room["width"], room["y"] + 50, steps=3)
    page.mouse.up()
    edges = [page.locator(f"#{name} input[type=number]") for name in ("begin", "end")]
    expect(edges[0]).to_have_value(re.compile(r"0\.01[56]"))
    assert float(edges[1].input_value()) == pytest.approx(0.6 * 0.08, abs=0.002)
    finish(page)
    address = page.locator("button.pad").first.get_attribute("data-source")
    made, _ = soundfile.read(io.BytesIO(page.request.get(f"{page.url}{address}").body()))
    begin, end = round(0.2 * len(made)) - 80, round(0.6 * len(made)) + 80
    kept = np.r_[0:begin, end : len(made)]
    assert made[kept] == pytest.approx(hit()[kept], abs=2**-22)
    assert np.abs(made - hit())[begin:end].max() > 0.01
