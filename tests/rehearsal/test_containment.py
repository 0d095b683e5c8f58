"""No call in a rehearsal reaches a real server: not by a line of a crontab, not by a script of it, not by a job."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from headless.admin.calls import Entry, Language, Scheduler, Text
from headless.admin.files import File
from headless.rehearsal import containment, options
from support.command_here import headless
from support.job_processes import is_running
from support.process import PATIENCE, ROOT, SCRIPT
from support.rehearsal import Rehearse, notes
from support.sampling import EXHAUSTIVE, REPEAT, draws
from support.waiting import wait_until

no_cron = pytest.mark.skipif(os.name == "nt", reason="Windows has no cron")


class Production:
    """A server that takes note of each connection, and a script of the vendor's that connects."""

    def __init__(self) -> None:
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.service = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            connection.close()

    def client(self) -> str:
        port = self.service.partition(":")[2]
        return f"#!{sys.executable}\nimport socket\nsocket.create_connection(('127.0.0.1', {port})).recv(1)\n"

    def close(self) -> None:
        self._listener.close()


@pytest.fixture(scope="module")
def production() -> Iterator[Production]:
    production = Production()
    yield production
    assert production.connections == 0
    production.close()


# Lines of a crontab. COMMAND is a call of the vendor's script, OURS one of the command that rehearses.

VENDORS = "is not the planta_headless.py that rehearses"
UNSURE = "only the shell knows"
OTHER = "is no script of sh, and what it calls is not known"
STARTS = "starts is not known"
WRITES = "it may change a script that it starts"
NOT_RUN = {
    "COMMAND; vendor/planta_h*.py -c 1": UNSURE,
    "COMMAND; cd vendor && PYTHON -mplanta_headless -c 1": STARTS,
    "COMMAND; echo vendor/planta_headless.py | xargs -I@ @ -c 1": "not each planta_headless.py in it could be replaced",
    "COMMAND; echo ./vendor.sh | xargs -I@ @": STARTS,
    'COMMAND; X=$(echo vendor/planta_head)less.py; "$X" -c 1': UNSURE,
    "COMMAND; for i in ./vendor.sh; do $i; done": UNSURE,
    "COMMAND; vendor/planta_{headless,x}.py -c 1": UNSURE,
    "./vendor.sh": VENDORS,
    "COMMAND; sh vendor.sh": VENDORS,
    "COMMAND; timeout 5 sh -c 'exec ./vendor.sh'": VENDORS,
    "COMMAND; flock lock -c ./vendor.sh": VENDORS,
    'COMMAND; echo "$(./vendor.sh)"': VENDORS,
    'COMMAND -c "$(./vendor.sh)"': VENDORS,
    "COMMAND; trap ./vendor.sh EXIT": VENDORS,
    'COMMAND; ./"ven"d\\or.sh': VENDORS,
    "COMMAND; >l ./vendor.sh": VENDORS,
    "COMMAND; >\\  ./vendor.sh": "something that is not understood",
    "COMMAND; false && cat() { :; }; PATH=HOME/bin:$PATH; cat x": STARTS,
    "COMMAND; cat() { ./vendor.sh; }; cat": VENDORS,
    "env -i OURS -c 1": STARTS,
    "unset PLANTA_REHEARSAL; OURS -c 1": "it names PLANTA_REHEARSAL",
    'A=unset; "$A" PLANTA_REH""EARSAL; OURS -c 1': "it starts unset, which is not here",
    "./unset.sh": "it names PLANTA_REHEARSAL",
    "COMMAND; . ./vendor.sh": "what . runs is not known",
    "COMMAND; . HOME/vendor.sh": VENDORS,
    "PY=HOME/x; false && . HOME/env.sh; $PY $PH -c 1": "what . runs is not known",
    "PY=HOME/x; echo it\\'s; . HOME/env.sh; $PY $PH -c 1": "what . runs is not known",
    "(. HOME/env.sh); $PY $PH -c 1": "what . runs is not known",
    "{ true; . HOME/env.sh; } | cat; $PY $PH -c 1": UNSURE,
    "COMMAND; . HOME/return.sh; $PY $PH -c 1": "whether all of ",
    "COMMAND; . HOME/half.sh; ./vendor.sh '": "sh says: ",
    "COMMAND; . HOME/half.sh; true": "its syntax is not understood",
    "COMMAND; . HOME/absent.sh; true": "/absent.sh, which is not here",
    "COMMAND; cp vendor.sh HOME/env.sh; . HOME/env.sh": WRITES,
    "HOME/beside.sh": VENDORS,
    "COMMAND; HOME/quote.sh": "its syntax is not understood",
    "HOME/variable.sh": VENDORS,
    'COMMAND; eval "./vendor.sh"': "what eval runs is not known",
    "COMMAND; echo ./vendor.sh | sh": "sh reads its commands from somewhere else",
    "sudo -u planta COMMAND": "sudo may lose the variable",
    "COMMAND; ssh localhost ./vendor.sh": "ssh may lose the variable",
    "COMMAND; echo ./vendor.sh | at now": "at may lose the variable",
    "COMMAND; python3 wrapper.py": OTHER,
    "COMMAND; vendor/renamed.py": OTHER,
    "COMMAND; perl -e 'system(\"./vendor.sh\")'": STARTS,
    "COMMAND; find . -name vendor.sh -exec sh {} +": "what find does with -exec is not known",
    "COMMAND; sed '1e ./vendor.sh' tab": "what sed does with 1e ./vendor.sh is not known",
    "COMMAND; sed p x -e '1e ./vendor.sh'": "what sed does with -e is not known",
    "COMMAND; cd; wget http://x/Onight.sh; ./night.sh": WRITES,
    "COMMAND; wait -p PATH; cat x": "what wait does with -p is not known",
    "COMMAND; test -v 'a[$(./vendor.sh)]'": "what test does with -v is not known",
    "COMMAND; systemd-cat --level-prefix false ./vendor.sh": STARTS,
    "COMMAND; cp vendor.sh night.sh; ./night.sh": WRITES,
    "COMMAND; echo ./vendor.sh > night.sh; ./night.sh": WRITES,
    "PATH=HOME/new:$PATH; COMMAND; mkdir new; cp vendor.sh HOME/new/cat; cat x": WRITES,
    "COMMAND; ln -sf vendor.sh x.sh; ./x.sh": "it starts ./x.sh, which is not here",
    "COMMAND; mkdir -p usr/bin; cp vendor.sh usr/bin/cat; usr/bin/cat x; cd /": WRITES,
    "COMMAND; mkdir b; cp vendor.sh b/cat; b/cat x": "it starts b/cat, which is not here",
    "COMMAND; mkdir b; cp vendor.sh b/nice; b/nice true": "b/nice is not that of the system",
    "COMMAND; mkdir b; cp vendor.sh b/sh; b/sh ./night.sh": "b/sh is not a known shell",
    "COMMAND; mkdir b; cp vendor.sh b/python3; ./python.sh": "b/python3 is not here",
    "COMMAND; [[ -n x && ./vendor.sh ]]": "sh does not know [[",
    "COMMAND; echo $'\\'; ./vendor.sh; echo \\''": "sh says: ",
    "COMMAND; echo x &>log ./vendor.sh": "words follow a redirection",
    "COMMAND; ./two_lines.sh": "something that is not understood: [ x = ./vendor.sh ]",
    "COMMAND; ./fifo.sh": "it is not a regular file",
    "COMMAND; ./long.sh": "is too long to be looked at",
    "COMMAND; time cd vendor; ./night.sh": "what time cd does is not known",
    "env SHELL=/bin/dash ./night.sh": "env changes SHELL",
    "COMMAND; chdir vendor; ./night.sh": "it starts chdir, which is not here",
    "COMMAND; echo ${x:-`./vendor.sh`}": "something that is not understood",
    'COMMAND; echo "${1:-${x=`./vendor.sh`}}"': "something that is not understood",
    "COMMAND; echo ${x#$(./vendor.sh)}": "something that is not understood",
    "unset PLANTA_REH\\EARSAL; OURS -c 1": "which variables it changes is not certain",
    "COMMAND; read PA\\TH < vendor.sh; cat x": "which variables it changes is not certain",
    "HOME/vend*.sh": UNSURE,
    "./warned.sh": UNSURE,
    "BASH_ENV=x; ./vendor.sh": "it sets BASH_ENV",
    "COMMAND; ./circle.sh": "it starts too many scripts, or they start each other",
    "env TMPDIR=x OURS -c 1": "env changes TMPDIR",
    "export $(cat x); OURS -c 1": "which variables it changes is not certain",
    "trap 'X=1' EXIT; COMMAND": "when trap does this is not certain",
    "COMMAND; /dev/fd/3": "what /dev/fd/3 is there, is not certain",
    "COMMAND; cd $X; ./night.sh": "in which folder ./night.sh is, is not certain",
    "sh < vendor.sh": "sh reads its commands from somewhere else",
}
RUN = [
    "COMMAND -t -1",
    "COMMAND && COMMAND",
    "./night.sh",
    "sh night.sh -t -1",
    "cd /tmp && nice -n 5 ~/night.sh > /dev/null",
    "flock -n lock ./night.sh || echo $?",
    "python2 vendor/planta_headless.py -s PLANTA -c 1",
    "P=planta_; vendor/${P}headless.py -s PLANTA -c 1",
    "cd vendor && PYTHON planta_headless.py -s PLANTA -c 1",
    "OURS -s PLANTA -t -1 -f calls.py",
    "HOME/vendor.sh",
    "sh HOME/vendor.sh && flock l HOME/vendor.sh",
    "HOME/wrapper.sh -s PLANTA -c 1",
    ". HOME/env.sh; $PY $PH -s PLANTA -c 1",
    "cd /tmp; . HOME/env.sh && COMMAND",
    "./sourcing.sh",
    "cd HOME && flock -n -E 75 l sh -c 'mv -f a b; COMMAND -v > a 2>&1' || { echo \"ended with $?\"; cat a; }",
    "COMMAND 2>&1 | sed 's/^/planta: /' | tee log",
    "COMMAND && sed -n p wrapper.py",
    "COMMAND || { ps; ping -c 1 x; mountpoint -q x; wget -q -O x http://x; curl -X POST -H 'a: b' -d c http://x; }",
    "export LC_ALL=C; trap 'rm -f l' EXIT; f() { COMMAND; }; f",
    'i=0; while [ $i -lt 1 ]; do COMMAND && break; i=$((i+1)); done; echo "it is $(date)"',
]


def files(rehearse: Rehearse, production: Production) -> None:
    """What the lines start."""
    ours = f"{rehearse.python} {SCRIPT}"
    call = f'{ours} -s {production.service} -c 1 "$@" > $LOG'
    night = f"#!/bin/sh -e\n# planta_headless.py\ncd {rehearse.folder} || exit\nLOG=$(date +%F).log\n{call}\n"
    for name, text in {
        "vendor/planta_headless.py": production.client(),
        "vendor/renamed.py": production.client(),
        "vendor.sh": f"#!/bin/sh\n{rehearse.python} {rehearse.folder}/vendor/planta_headless.py\n",
        "wrapper.sh": f'#!/bin/sh -e\nexec /usr/bin/python2 -3 {rehearse.folder}/vendor/planta_headless.py "$@"\n',
        "beside.sh": f"#!/bin/sh\n: $0\n{rehearse.python} {rehearse.folder}/vendor/planta_headless.py\n",
        "variable.sh": f"#!/bin/sh\nX='{rehearse.python} {rehearse.folder}/vendor/planta_headless.py -c 1'\n$X\n",
        "env.sh": f"PY={rehearse.python}\nPH={SCRIPT}\n",
        "return.sh": f"return\nPY={rehearse.python}\nPH={SCRIPT}\n",
        "half.sh": "X='\n",
        "quote.sh": f"#!/bin/bash\n. {rehearse.folder}/half.sh\n{rehearse.folder}/vendor.sh\n: '\n",
        "sourcing.sh": f"#!/bin/sh\n# it's\n. {rehearse.folder}/env.sh\n$PY $PH -s {production.service} -c 1\n",
        "bin/cat": f"#!/bin/sh\n{rehearse.folder}/vendor.sh\n",
        "unset.sh": f"unset PLANTA_REHEARSAL\n{ours} -s {production.service} -c 1\n",
        "warned.sh": f"{ours.replace(' ', ' -W $X ')} {rehearse.folder}/wrapper.py\n",
        "wrapper.py": f"import os; os.system('{rehearse.folder}/vendor.sh')\n",
        "night.sh": night,
        "circle.sh": f"{rehearse.folder}/circle.sh\n",
        "python.sh": f"b/python3 {SCRIPT} -c 1\n",
        "two_lines.sh": "#!/bin/sh\nif [ x =\n./vendor.sh ]; then :; fi\n",
        "long.sh": "#" * (1 << 20) + f"\n{rehearse.folder}/vendor.sh\n",
        "calls.py": "",
    }.items():
        rehearse.write(name, text).chmod(0o755)
    os.mkfifo(rehearse.folder / "fifo.sh")


def table(rehearse: Rehearse, production: Production, lines: Iterable[str]) -> dict[str, str]:
    """The row of the table for each line, all of them in one crontab."""
    meant = {"COMMAND": f"/planta/python /planta/planta_headless.py -s {production.service} -c 1",
             "OURS": f"{rehearse.python} {SCRIPT}", "PYTHON": rehearse.python, "PLANTA": production.service,
             "HOME": str(rehearse.folder)}  # fmt: skip
    commands = (
        re.sub(r"\b(?:COMMAND|OURS|PYTHON|PLANTA|HOME)\b", lambda match: meant[match[0]], line) for line in lines
    )
    head = f"HOME={rehearse.folder}\nTMPDIR={rehearse.temporary}\n"
    tab = rehearse.write("tab", head + "".join(f"0 2 * * * {command}\n" for command in commands))
    done = rehearse("--crontab", str(tab))
    assert production.connections == 0
    rows = done.stdout[done.stdout.index("line  schedule") :].splitlines()[1:-1]
    found = {int(row.split()[0]): row for row in rows}
    return {line: found.get(number, "") for number, line in enumerate(lines, 3)}


@no_cron
def test_a_line_that_may_reach_a_real_server_is_not_run(rehearse, production):
    rehearse.use_stub()
    files(rehearse, production)
    for line, row in table(rehearse, production, NOT_RUN).items():
        assert "not rehearsed: " in row, line
        assert NOT_RUN[line] in row, line
    assert rehearse.calls() == []


@no_cron
def test_a_line_is_run_whole_with_its_scripts_and_wrappers(rehearse, production):
    rehearse.use_stub()
    files(rehearse, production)
    for line, row in table(rehearse, production, RUN).items():
        assert re.search(r"  0 +\d+\.\d  .*  0: job 1 ok(; 0: job 1 ok)?$", row), (line, row)
    calls = rehearse.calls()
    assert len(calls) >= len(RUN)
    assert all(call[1] == "rehearse" or call[0] == str(SCRIPT) for call in calls)  # and no other script


@no_cron
@pytest.mark.slow
def test_a_script_is_kept_in_the_rehearsal_and_is_looked_at_again_once_a_line_has_changed_it(rehearse, production):
    files(rehearse, production)
    lines = ["./night.sh -t -1", "COMMAND -t -1 && cp vendor.sh night.sh", "sh -c ./night.sh"]
    kept, changing, changed = table(rehearse, production, lines).values()
    for row in (kept, changing):
        assert row.endswith("  0: job 1 ok"), row
    assert f"not rehearsed: {rehearse.folder}/vendor/planta_headless.py {VENDORS}" in changed


@no_cron
def test_the_copy_of_a_script_is_made_when_its_line_is_run(rehearse, production):
    rehearse.use_stub()
    for name in ("one", "two"):
        rehearse.write(f"{name}.sh", f"/planta/planta_headless.py -s x:1 -c {name} > log\n").chmod(0o755)
    table(rehearse, production, ["COMMAND; cp two.sh one.sh", "HOME/one.sh"])
    assert [call[-1] for call in rehearse.calls()] == ["1", "two"]


@no_cron
@pytest.mark.slow
def test_the_vendor_s_script_would_have_been_noticed(tmp_path):
    production = Production()
    script = tmp_path / "planta_headless.py"
    script.write_text(production.client())
    subprocess.run([sys.executable, script], check=True, timeout=PATIENCE)
    assert production.connections == 1
    production.close()


@no_cron
def test_a_setting_that_changes_what_commands_do_keeps_each_call_from_being_run(rehearse):
    rehearse.use_stub()
    settings = ["BASH_ENV=/x", "LD_PRELOAD=/x", "PLANTA_REHEARSAL=/x", "PATH=bin:/bin", "SHELL=/planta/sh", "PS4=$(x)"]
    for setting in settings:
        tab = rehearse.write("tab", f"HOME=/\n{setting}\n0 2 * * * planta_headless.py -c 1\n")
        done = rehearse("--crontab", str(tab))
        assert (done.returncode, "; 1 not rehearsed; 0 without" in done.stdout) == (1, True), setting
    assert rehearse.calls() == []


PARTS = [
    *["./v"] * 6, *[" "] * 6, *["'", '"', ";", "\\", "$(", ")"] * 2, "&&", "|", "echo", "`", "(", "${x:-", "}", "#",
    "\\\\", "\\'", "x=", "$x", "\n", "{", "[ ", " ]", "[[ ", " ]]", "if true;then", " fi", "for i in a;do", " done",
    "f()", "!", "sh -c ", "trap ", "$'", "~", "*", "<", ">", "2>", "&", "&>", "$((", "))", "((", "case a in a)",
    ";; esac", "\r", "<(", *["\nENV\n", ";ENV;", "ENV&&", "ENV", "x=./v;", ";$x"] * 2,
]  # fmt: skip
OF_A_VENDOR = "#!/bin/sh\n/planta/planta_headless.py\n: > mark\n"


@no_cron
@pytest.mark.slow
@pytest.mark.parametrize("shell", [path for path in ("/bin/dash", "/bin/bash") if os.path.exists(path)])
def test_what_is_taken_for_harmless_is_read_by_the_shell_in_the_same_way(tmp_path, shell):
    """Random lines: none that may be run starts ./v, which calls a script that is not ours."""
    choice = draws().choice
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "SHELL": shell}
    script = tmp_path / "v"
    (tmp_path / "env").write_text("x=echo\n")
    run = 0
    while run < (200 if EXHAUSTIVE else 20):
        line = "".join(choice(PARTS) for _ in range(choice(range(3, 14)))).replace("ENV", f". {tmp_path}/env")
        entry = Entry(
            File("tab", line), 0, Scheduler.CRON, Language.SHELL, Text.of(line, 0, len(line)), "", "root",
            str(tmp_path), environment, shell,
        )  # fmt: skip
        if not script.exists() or script.read_text() != OF_A_VENDOR:  # another line has written to it
            script.write_text(OF_A_VENDOR)
            script.chmod(0o755)
        if "./v" in line and not containment.judge(entry, line, "/dev/null/x").doubt:
            run += 1
            subprocess.run([shell, "-c", line], cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL,
                           capture_output=True, check=False, timeout=PATIENCE)  # fmt: skip
            assert not (tmp_path / "mark").exists(), (line, REPEAT)


# What a job calls


def calling(*argv: str) -> str:
    """The code of a job that calls the command, and ends as that does."""
    return f"import subprocess; raise SystemExit(subprocess.run({[sys.executable, str(SCRIPT), *argv]!r}).returncode)"


@pytest.mark.slow
def test_a_job_that_calls_the_command_stays_in_the_rehearsal_and_gets_the_return_code(rehearse, production):
    rehearse.environment |= {"PLANTA_PROTOCOL": "absent", "PLANTA_RECEIPT": str(rehearse.folder / "receipts")}
    argv = ("-s", production.service, "-t", "-1", "-v", "-c")
    done = rehearse("-t", "-1", "-v", "-c", calling(*argv, "print(6 * 7); 1/0"))
    assert (done.returncode, "job 1 stdout: 42" in done.stdout) == (1, True), done.stdout
    assert "job 1 failed: exit status 1" in done.stdout
    assert len(notes(done)) == 1
    assert not (rehearse.folder / "receipts").exists()


@pytest.mark.slow
def test_it_stays_in_the_rehearsal_however_it_is_called(rehearse, production):
    """The complaint is that of a rehearsal, and not that of the command."""
    ways = [[str(SCRIPT)], ["-m", "planta_headless"], ["-c", "from headless.cli import run; run()"]]
    calls = [[sys.executable, *way, "-s", production.service, "-t", "x", "-c", "1"] for way in ways]
    code = f"import subprocess\nfor call in {calls!r}: print(subprocess.run(call, cwd={str(ROOT)!r}).returncode)"
    done = rehearse("-t", "-1", "-v", "-c", code)
    assert (done.returncode, done.stdout.count("job 1 stdout: 2\n")) == (0, len(ways)), done.stdout
    assert done.stdout.count("stderr: headless rehearse: error: -t 'x' is not") == len(ways), done.stdout


def inside(folder: Path, depth: int) -> dict[str, str]:
    """The variables inside of a rehearsal that has so many around it, and itself, in this folder."""
    folder.mkdir(mode=0o700)
    return options.environment(
        str(folder), options.OwnOptions(()), os.devnull, options.OuterRehearsal("", (), depth - 1)
    )


@pytest.mark.slow
def test_a_job_that_calls_the_command_with_itself_comes_to_an_end(rehearse, production, tmp_path):
    """Each rehearsal is one deeper than the one around it, and the one that would be the sixth is none."""
    rehearse.write("again.py", calling("-s", production.service, "-t", "-1", "-v", "-f", "again.py"))
    rehearse.environment |= inside(tmp_path / "around", 5)
    done = rehearse("-t", "-1", "-v", "-f", "again.py")
    assert (done.returncode, "whose job calls it again" in done.stdout) == (1, True), done.stdout
    rehearse.environment |= inside(tmp_path / "sixth", 6)
    done = rehearse("-t", "-1", "-v", "-f", "again.py")
    assert (done.returncode, "whose job calls it again" in done.stderr) == (2, True), done.stderr


def test_a_command_that_would_reach_another_server_is_a_2_in_a_rehearsal(tmp_path, production, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLANTA_REHEARSAL", str(tmp_path))
    (tmp_path / "tab").write_text(f"0 2 * * * planta_headless.py -s {production.service} -c 1\n")
    login = ("-s", production.service, "-u", "R41", "-p", "absent")
    for argv in (["wait", "x", *login], ["cancel", "x", *login], ["sessions", *login], ["password-file", *login],
                 ["check", "--connect", "tab"]):  # fmt: skip
        done = headless(*argv)
        assert (done.returncode, done.stderr.count("\n"), "this is a rehearsal" in done.stderr) == (2, 1, True), argv


def test_a_variable_that_cannot_be_used_is_a_2_and_never_a_call_of_a_real_server(command, production, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir(mode=0o700)
    inside(tmp_path / "open", 1)
    (tmp_path / "open").chmod(0o777)  # somebody else could say what is run
    values = ["", "absent", "/absent", *(str(tmp_path / name) for name in ("file", "empty", "open"))]
    inside(tmp_path / "here", 1)
    for value in [*(values if os.name != "nt" else values[:-1]), "here"]:  # which another process finds elsewhere
        done = command("-s", production.service, "-c", "1", env={**os.environ, "PLANTA_REHEARSAL": value})
        said = (done.returncode, done.stderr.count("\n"), "PLANTA_REHEARSAL" in done.stderr)
        assert said == (2, 1, True), (value, done.stderr)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_signal_ends_what_the_jobs_of_a_rehearsal_rehearse(rehearse, production):
    inner = (
        f"import os, time; open({str(rehearse.folder / 'pid')!r}, 'w').write(f'{{os.getpid()}}\\n'); time.sleep(600)"
    )
    code = calling("-s", production.service, "-t", "-1", "-c", inner)
    pid = rehearse.folder / "pid"
    with rehearse.start("-t", "-1", "-c", code) as process:
        try:
            wait_until(lambda: pid.exists() and pid.read_text().endswith("\n"))
            process.terminate()
            assert process.wait(PATIENCE) == -signal.SIGTERM
        finally:
            process.kill()
    wait_until(lambda: not is_running(int(pid.read_text())))
    rehearse.assert_nothing_left()
