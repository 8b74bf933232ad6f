"""The listening page in Chromium, from a file, as its listeners have it."""

import re
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch

from apit.config import Audio
from apit.data.credits import Credit
from apit.measure.audition import Scene, Stimulus
from apit.measure.selection import Chosen
from apit.present import listening

pytestmark = pytest.mark.slow

SYSTEMS = ("pit-s0", "ctx-stft-i3-m-s0", "pit-ctx-all-s0", "ideal-ratio-mask")
AUDIO = Audio(sample_rate=16000, seconds=3.0, sources=4)
NEAR = 0.03  # s, between players that are in step


def clip(name, place):
    tone = 3000 * np.sin(2 * np.pi * 220 * (place + 1) * np.arange(AUDIO.samples) / 16000)
    decibels = torch.linspace(-60, 0, 257 * 188).reshape(257, 188)
    is_estimate = name in SYSTEMS
    numbers = {"si_snr": 3.0, "si_snri": 12.34 + place, "hole_rate": 0.0567, "missing_rate": 0.25}
    return Stimulus(
        name, tone.astype(np.int16), -1.5, decibels, decibels < -50 if is_estimate else None,
        **(numbers if is_estimate else {}),
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("listen")
    clips = [clip(name, place) for place, name in enumerate(("mixture", "target", *SYSTEMS))]
    scenes = [
        Scene(Chosen("example00004", ("best", "no. 5"), 3.21), [(0, clips), (2, clips)]),
        Scene(Chosen("example00009", ("worst",), -1.0), [(0, clips)]),
    ]  # fmt: skip
    credits = {"example00004": [Credit(f"package/a_long_name_of_a_clip_{n}.flac", "CC0-1.0")
                                for n in range(3)]}  # fmt: skip
    about = listening.About("tiny", "Scale tiny, for tests.", "The rule.", "recordings")
    listening.write(made, scenes, about, AUDIO, credits)
    return made


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if (program := shutil.which("chromium")) is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
        )
        yield browser
        browser.close()


@pytest.fixture(params=[1280])
def page(chromium, folder, request):
    """The page as it opens; whatever it complains of fails the test, as does any other address."""
    opened = chromium.new_page(viewport={"width": request.param, "height": 800})
    faults = []
    opened.on("console", lambda said: faults.append(said.text))
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("requestfailed", lambda asked: asked.failure == "net::ERR_ABORTED"  # by the page
              or faults.append(f"{asked.failure}: {asked.url}"))  # fmt: skip
    opened.on("request", lambda asked: asked.url.startswith(("file:", "data:"))
              or faults.append(asked.url))  # fmt: skip
    opened.add_init_script(
        "window.sounds = ({audio: a}) => !a.muted && a.volume > 0.001 && !a.paused && !a.seeking"
    )
    opened.goto((folder / "index.html").as_uri())
    yield opened
    opened.close()
    assert faults == []


def audible(page):
    return page.evaluate("rows.filter(sounds).map(r => r.clip.name)")


def until(page, condition):
    page.wait_for_function(condition, timeout=10_000)


def play(page):
    page.keyboard.press("Space")
    until(page, "state.playing && position() > 0.2 && rows.every(r => !r.audio.paused)")


def in_step(page):
    until(page, f"rows.every(r => Math.abs(r.audio.currentTime - position()) < {NEAR})")


def test_it_plays_pauses_and_moves_its_playhead(page):
    assert audible(page) == []
    play(page)
    assert audible(page) == ["target"]
    place = "Number(getComputedStyle(document.documentElement).getPropertyValue('--t'))"
    until(page, f"{place} > 0.1")
    page.keyboard.press("Space")
    assert audible(page) == []
    stopped = page.evaluate("position()")
    page.wait_for_timeout(200)
    assert page.evaluate("position()") == stopped
    assert page.evaluate(place) == pytest.approx(stopped / 3, abs=0.02)


def test_the_number_keys_switch_at_the_same_position_without_a_gap(page):
    play(page)
    in_step(page)
    page.evaluate(
        """() => {
            window.seen = [];
            setInterval(() => window.seen.push({
                clock: performance.now() / 1000,
                time: position(),
                audible: rows.filter(sounds).map(r => r.clip.name),
            }), 4);
        }"""
    )
    keys = "3415263"
    for key in keys:
        page.wait_for_timeout(80)
        page.keyboard.press(key)
    page.wait_for_timeout(80)
    seen = page.evaluate("window.seen")
    assert all(len(one["audible"]) == 1 for one in seen)
    names = [one["audible"][0] for one in seen]
    switched = [b for a, b in pairwise(names) if a != b]
    order = ["mixture", "target", *SYSTEMS]
    assert switched == [order[int(key) - 1] for key in keys]
    lags = [one["clock"] - one["time"] for one in seen]
    assert max(lags) - min(lags) < NEAR


def test_players_that_drift_are_brought_back_into_step(page):
    page.keyboard.press("l")
    play(page)
    in_step(page)
    for late in (0.1, 0.5):
        moved = f"moveTo(rows[4], position() - {late}), position() - rows[4].audio.currentTime"
        assert page.evaluate(f"({moved})") == pytest.approx(late, abs=NEAR)
        in_step(page)
        assert page.evaluate("heard().audio.playbackRate") == 1
        page.evaluate("seek(1)")
        in_step(page)


def test_every_key_does_what_the_page_says(page):
    heard = "heard().clip.name"
    for key, name in (("ArrowDown", "pit-s0"), ("ArrowUp", "target"), ("6", "ideal-ratio-mask"),
                      ("ArrowDown", "mixture"), ("7", "mixture")):  # fmt: skip
        page.keyboard.press(key)
        assert page.evaluate(heard) == name
    for key, time in (("ArrowRight", 0.15), ("ArrowRight", 0.3), ("ArrowLeft", 0.15), ("Home", 0)):
        page.keyboard.press(key)
        assert page.evaluate("rows.map(r => r.goal)") == pytest.approx([time] * 6)
    for key, place in (("s", [0, 1]), ("s", [0, 0]), ("Shift+S", [0, 1]), ("m", [1, 0]),
                       ("Shift+M", [0, 0])):  # fmt: skip
        page.keyboard.press(key)
        assert page.evaluate("[state.mixture, state.source]") == place
        assert page.evaluate(heard) == "mixture"
    marks = page.locator(".marks").first
    assert not marks.is_visible()
    page.keyboard.press("h")
    assert marks.is_visible()


def test_another_target_goes_on_at_the_same_position(page):
    play(page)
    before = page.evaluate("position()")
    page.keyboard.press("s")
    until(page, "rows.every(r => !r.audio.paused)")
    assert page.evaluate("heard().audio.src").endswith("source2-target.wav")
    assert page.evaluate("position()") >= before


def test_it_loops_or_stops_at_the_end(page):
    play(page)
    page.evaluate("seek(2.8)")
    until(page, "position() < 1 && state.playing && !heard().audio.paused")
    page.keyboard.press("l")
    page.evaluate("seek(2.8)")
    until(page, "!state.playing")
    assert page.evaluate("position()") > 2.9
    page.keyboard.press("Space")
    until(page, "position() < 1 && state.playing && !heard().audio.paused")


def test_the_players_own_controls_move_all(page):
    page.evaluate("rows[3].audio.play()")
    until(page, "rows.every(r => !r.audio.paused)")
    assert audible(page) == ["ctx-stft-i3-m-s0"]
    page.evaluate("rows[2].audio.volume = 0.5")
    until(page, "heard() === rows[2]")
    assert audible(page) == ["pit-s0"]
    page.keyboard.press("1")
    volumes = page.evaluate("rows.map(r => r.audio.volume)")
    assert volumes == pytest.approx([0.5, *[1e-5] * 5])
    page.evaluate("rows[1].audio.pause()")
    until(page, "!state.playing && rows.every(r => r.audio.paused)")
    page.evaluate("rows[5].audio.currentTime = 2")
    until(page, "rows.every(r => r.audio.currentTime === 2)")


def test_a_click_on_a_spectrogram_seeks_and_one_on_a_name_is_heard(page):
    box = page.locator(".picture").nth(3).bounding_box()
    page.mouse.click(box["x"] + box["width"] / 3, box["y"] + 10)
    assert page.evaluate("rows[0].goal") == pytest.approx(1, abs=0.02)
    page.get_by_role("button", name="Hear pit-ctx-all-s0").click()
    until(page, "rows.every(r => !r.audio.paused)")
    assert audible(page) == ["pit-ctx-all-s0"]
    page.keyboard.press("Space")  # the button has given it back
    assert audible(page) == []


def test_blind_mode_hides_names_scores_and_pictures_until_they_are_revealed(page):
    page.keyboard.press("4")
    page.keyboard.press("b")
    said = page.locator("body").aria_snapshot() + page.locator("main").inner_text()
    assert not any(name in said for name in SYSTEMS)
    assert "SI-SNRi" not in said
    assert page.locator(".picture img").count() == 2  # of mixture and target
    letters = [page.get_by_role("button", name=f"Hear {x}, key") for x in "ABCD"]
    assert all(letter.count() == 1 for letter in letters)
    page.keyboard.press("5")
    behind = page.evaluate("heard().clip.name")
    page.keyboard.press("r")
    assert page.get_by_role("button", name=f"Hear C: {behind}").count() == 1
    assert page.locator("li.heard").inner_text().splitlines()[:2] == ["5", f"C: {behind}"]
    assert "+1" in page.locator("li.heard .numbers").inner_text()
    page.keyboard.press("b")
    assert page.locator("li .hear").all_inner_texts()[2].endswith("pit-s0")


def test_letters_are_dealt_anew_each_time(page):
    dealt = set()
    for _ in range(20):
        page.keyboard.press("b")
        dealt.add(tuple(page.evaluate("rows.map(r => r.clip.name)")))
        page.keyboard.press("b")
    assert len(dealt) > 3
    assert {names[:2] for names in dealt} == {("mixture", "target")}


def test_whatever_can_be_focused_has_a_name(page):
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    focusable = [
        node for node in nodes
        if not node["ignored"]
        and any(p["name"] == "focusable" and p["value"]["value"] for p in node["properties"])
        and node["role"]["value"] != "RootWebArea"
    ]  # fmt: skip
    assert [node["role"]["value"] for node in focusable].count("button") >= 6 + 2 + 2 + 2
    assert [node for node in focusable if not node["name"]["value"].strip()] == []
    pictures = [n for n in nodes if not n["ignored"] and n["role"]["value"] == "image"]
    assert len(pictures) == 6
    assert all(re.match("Spectrogram of ", n["name"]["value"]) for n in pictures)


def test_it_can_be_used_by_keyboard_alone_and_shows_where_one_is(page):
    names = []
    for _ in range(4):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.innerText.split('\\n')[0]"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"
    assert names[1:] == ["best, no. 5", "worst", "target 1"]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")  # it is the button's, and plays nothing
    assert page.evaluate("[state.mixture, state.playing]") == [1, False]


@pytest.mark.parametrize("page", [360], indirect=True)
def test_it_is_readable_at_the_width_of_a_phone(page):
    for key in ("h", "m", "b"):
        page.keyboard.press(key)
        assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    small = """[...document.querySelectorAll("body *")].filter(e =>
        e.checkVisibility() && e.childElementCount === 0 && e.textContent.trim()
        && parseFloat(getComputedStyle(e).fontSize) < 11.9).map(e => e.outerHTML)"""
    assert page.evaluate(small) == []
    for button in page.get_by_role("button").all():
        if button.is_visible():
            assert button.bounding_box()["height"] >= 24
    widths = page.evaluate("rows.map(r => r.audio.getBoundingClientRect().width)")
    assert min(widths) > 250
