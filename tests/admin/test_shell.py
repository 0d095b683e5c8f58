"""Calls in the text of a shell: found, with the words that the program gets, what becomes of their return codes, and
what is wrong with the text. Where there is a real sh, it has the last word."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys

import pytest

from headless.admin import crontab, shell
from headless.admin.files import File, Kind
from headless.admin.rules import Severity, corrected
from support.process import PATIENCE
from support.shell_texts import H, call, calls_of, entry, findings, needs_sh, scripts_called, words

# A text, the interpreter of its call, and the programs in front.
CALLS = [
    (H, None, ""),
    (f"python2.7 -u {H}", "python2.7", ""),
    (f"/v/bin/python3 -W ignore -X dev {H}", "/v/bin/python3", ""),
    (f"python3 -Wc {H}", "python3", ""),
    (f"python3 -X dev -u {H}", "python3", ""),
    (f"python3 -Xm {H} -c pass", "python3", ""),
    (f"env python3 {H}", "python3", "env"),
    (f"flock -nE 75 f.lock python {H}", "python", "flock"),
    (f"flock f.lock -c 'python {H}'", "python", "flock"),
    (f"chronic timeout -k 5 1h nice -n 5 ionice -c2 python {H}", "python", "chronic timeout nice ionice"),
    (f"nohup setsid stdbuf -oL systemd-cat -t x python {H}", "python", "nohup setsid stdbuf systemd-cat"),
    (f"sudo -u planta A=b {H}", None, "sudo"),
    (f"su - planta -c 'python {H}'", "python", "su"),
    (f'bash -lc "exec python {H}"', "python", "bash exec"),
    (f"sh -c 'sh -c \"python {H}\"'", "python", "sh sh"),
    (f"docker exec c python {H}", "python", "docker"),
    (f"if cd /x; then (while :; do f() {{ python {H}; }}; f; done); fi", "python", ""),
    (f"f() {{ python {H}; }}", "python", ""),
    (f"case x in a) python {H};; esac", "python", ""),
    (f"python \\\n {H}", "python", ""),
    (f"\\python '{H}'", "python", ""),
    (f"x=$(python {H})", "python", ""),
    (f"cat <<E | python {H}\ntext\nE", "python", ""),
    (f"$PYTHON {H}", "$PYTHON", ""),
]


def test_a_call_is_found():
    for text, interpreter, wrappers in CALLS:
        found = call(text)
        assert found.script.text == H, text
        assert (found.interpreter.text if found.interpreter else None) == interpreter, text
        assert words(found.wrappers) == wrappers.split(), text


NO_CALLS = [
    f"cp {H} /x", f"test -x {H}", f"echo {H}", f"# {H}", f"x # {H}", f"echo 'python {H}'", f"cat <<E\npython {H}\nE",
    f"X={H}", "python", "python -u", f"[ -f {H} ] && ls", f"echo {H} | mail x", f"ls > {H}", f"pkill -f {H} || true",
    f"case x in *{H}*) ;; esac", f"for i in {H} x; do ls $i; done", f"X={H}; ls $X | wc -l", "cd /x/planta_headless/",
]  # fmt: skip


def test_what_is_no_call_is_not_found():
    for text in NO_CALLS:
        assert calls_of(entry(text)) == ([], []), text


NOT_CHECKED = [
    f"python -c x {H}", f"python -c {H}", f"python -uc {H}", f"python -m pdb {H}", "python -m planta_headless.py",
    "python -Im planta_headless.py", f"python other.py {H}", f"wrap {H} -m 1", f"X={H}; wrap $X", f"sh {H}",
    f"X=$(which {H}); $X -m 1", f"X=$(which {H}); Y=$X; wrap ${{Y}}", f"for i in '{H} -m 1'; do python $i; done",
    f"echo 'python {H}' | sh", f"echo 'python {H}' | at now", f"python - <<E\nrun('{H}')\nE", f"python < {H}",
    f"cat > x.sh <<E\npython {H}\nE", f"trap 'python {H}' EXIT", f"find / | xargs -r python {H} -m 1 -f",
    f"f() {{ echo $1; }}; f python {H} -m 1", f"sh -c 'echo $1' x {H}", f"echo 1 | xargs python {H} -m",
    f"ssh x python {H} -m 1", f"ssh -p 1 x 'cd /y && python {H} -m 1'", f"docker exec -it c python {H} -m 1",
    f"podman run --rm i sh -c 'python {H} -m 1'", f"parallel python {H} -m ::: 1 2", f"wsl python {H} -m 1",
    f"kubectl exec p -- {H} -m 1", f"su planta {H}", f"x=(python {H}); \"${{x[@]}}\" -m 1", f"make -f {H}",
]  # fmt: skip


def test_what_names_the_command_and_is_not_understood_is_said_to_be_not_checked():
    for text in NOT_CHECKED:
        found = [each.text for each in findings(text, "/bin/bash") if each.rule == "not-checked"]
        assert len(found) == 1 and found[0].startswith("planta_headless.py is named here, and"), (text, found)
        held = text.replace(H, "$HELD")
        if "'" not in text and "<<" not in text:
            again = calls_of(entry(held, "/bin/bash", HELD=H))[1]
            assert len([each for each in again if each.rule == "not-checked"]) == 1, held


def test_a_text_that_is_nested_too_deeply_is_not_passed_over():
    text = f"python {H}"
    for _ in range(25):
        text = f"eval {shlex.quote(text)}" if len(text) < 9000 else text
    functions = "".join(f"f{each}() {{ f{each + 1}; }}; " for each in range(30)) + f"f30() {{ python {H}; }}; f0"
    for each in (text, functions):
        calls, found = calls_of(entry(each))
        assert calls or "not-checked" in [each.rule for each in found]


def test_known_variables_are_expanded_and_split_as_a_shell_does_it():
    text = "M='0 1'; $PY $HEADLESS $LOGIN -m \"$M\" -f ~/x.py -c $UNKNOWN"
    found = call(text, PY="python", HEADLESS=H, LOGIN="-s planta:20000  -u R41", HOME="/home/r41")
    options = ["-s", "planta:20000", "-u", "R41", "-m", "0 1", "-f", "/home/r41/x.py", "-c", "$UNKNOWN"]
    assert words(found.options) == options
    assert [word.is_certain for word in found.options] == [True] * 9 + [False]


NOT_KNOWN = [
    "if x; then A=1; else A=2; fi; {} -m $A",
    "for A in 1 2; do {} -m $A; done",
    "read A; {} -m $A",
    "A=$(x); {} -m $A",
    "A=1; A=$A$B; {} -m $A",
    "A=1; A+=2; {} -m $A",
    "while x; do {} -m $A; A=1; done",
    "{} -m $1",
    "{} -m *",
]


def test_what_cannot_be_known_is_not_certain():
    for text in NOT_KNOWN:
        assert not call(text.format(H)).options[1].is_certain, text


def test_a_subshell_and_a_child_keep_their_variables():
    assert words(call(f"A=1; (A=2); {H} -m $A").options) == ["-m", "1"]
    assert words(call(f"A=1; sh -c '{H} -m \"$A\"'").options) == ["-m", "$A"]
    assert words(call(f"export A=1; sh -c '{H} -m \"$A\"'").options) == ["-m", "1"]
    assert words(call(f"A=1 sh -c '{H} -m \"$A\"'").options) == ["-m", "1"]


def test_words_have_their_offsets_also_in_a_text_in_quotes():
    text = f'cd /x && sh -c "python {H} -m \\"a b\\" \'ü\'" ü'
    found = call(text)
    assert words(found.options) == ["-m", "a b", "ü"]
    assert [text[each.begin : each.end].strip() for each in found.options] == ["-m", '\\"a b\\"', "'ü'"]
    assert text[found.script.begin : found.script.end] == H
    assert found.folder == "/x"


def test_a_call_has_its_line():
    found = call(f"#!/bin/sh\n\n  python {H} \\\n  -m 1\n")
    assert found.entry.file.position(found.offset) == "job.sh:3"


REDIRECTIONS = [
    (f"{H} >>f 2>&1 -m 1", [(1, ">>", "f"), (2, ">&", "1")]),
    (f"cd x && {H} > f 2>&1 || cat f", [(1, ">", "f"), (2, ">&", "1")]),
    (f"cd x && {H} > f 2>&1", [(1, ">", "f"), (2, ">&", "1")]),
    (f"{H} && echo x > f", []),
    (f"({H}; x) 2>e > f", [(2, ">", "e"), (1, ">", "f")]),
    (f"{{ {H} >g; }} > f", [(1, ">", "f"), (1, ">", "g")]),
    (f"sh -c '{H} <i' >f", [(1, ">", "f"), (0, "<", "i")]),
    (f"{H} | tee x > f", []),
    (f"{H} <<E > f\nx\nE\n", [(1, ">", "f")]),
]


def test_redirections_are_those_of_the_shell():
    for text, expected in REDIRECTIONS:
        found = call(text)
        assert [(each.descriptor, each.operator, each.target.text) for each in found.redirections] == expected, text


OPTIONS = [
    "-m 1 -c 'a b'",
    '-c "a\\"b\\$c\\\\d\\e"',
    "a\\ b\\'c'd'\"e\"",
    '"$A" $A x$A"y"$A',
    '\'\' "" $EMPTY "$EMPTY"',
    "-c 'print(\"ü € %d\")' ü",
    "${A} \"${A}\" '$A'",
    "a#b #c",
    "a \\\n \"c\\\nd\" 'e\nf'",
    "2>/dev/null x 2>&1 y",
    "{a,b}",
    '~x a~ =~ "~"',
    "-- -x=y --a='b c'",
    "\"$A'\"'\"'",
    '-c "  x  \n  y"',
    "x=1 y= =z",
    "a\tb",
    '"a`echo b`"',
]


@pytest.mark.slow
@needs_sh
def test_sh_gives_the_program_the_words_that_are_found(tmp_path):
    program, output = tmp_path / "planta_headless.py", tmp_path / "output"
    program.write_text(f"#!/bin/sh\nfor each; do printf '%s\\0' \"$each\"; done > {output}\n")
    program.chmod(0o755)
    environment = {"A": " one  two ", "EMPTY": "", "PATH": "/usr/bin:/bin"}
    for options in OPTIONS:
        line = f"{program} {options}"
        for text in (line, f"cd / && {line}", f"eval {shlex.quote(line)}"):
            subprocess.run(["/bin/sh", "-c", text], env=environment, timeout=PATIENCE, check=True)
            real = output.read_bytes().decode().split("\0")[:-1]
            found = call(text, **environment).options
            assert len(found) == len(real), text
            assert all(word.text == got for word, got in zip(found, real) if word.is_certain), text


STARTED = [
    ("/planta/nightly.sh x >f", ["/planta/nightly.sh"]),
    ("sh /planta/nightly.sh", ["/planta/nightly.sh"]),
    ("bash -x nightly.sh", ["nightly.sh"]),
    ("cd /planta && ./nightly.sh; sh other.sh", ["/planta/nightly.sh", "/planta/other.sh"]),
    (". /planta/env; flock -n l chronic /planta/a.sh || b.sh", ["/planta/env", "/planta/a.sh", "b.sh"]),
    ("sh -c '/planta/a.sh; echo x'", ["/planta/a.sh"]),
    ("runuser -u planta -- /planta/a.sh", ["/planta/a.sh"]),
    ("su planta --command /planta/a.sh", ["/planta/a.sh"]),
    (f"python {H}", []),
]


def test_scripts_are_found():
    for text, scripts in STARTED:
        assert words(scripts_called(entry(text))) == scripts, text


def test_commands_that_are_nested_without_end_are_reported():
    calls, found = calls_of(entry(f"{H}" + " && x" * 20000))
    assert (calls, [each.rule for each in found]) == ([], ["unreadable"])


@pytest.mark.skipif(sys.platform == "win32" or shutil.which("dash") is None, reason="there is no dash")
def test_a_shell_that_a_file_names_is_not_started(tmp_path):
    evil = tmp_path / "sh"
    evil.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    evil.chmod(0o755)
    calls_of(entry(f"{H} 'x", str(evil)))
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("options", ["", "-e", "-c", "-ec", "-o pipefail", "-o", "+x", "--"])
def test_what_follows_a_shell_without_a_text_is_parsed_all_the_same(options):
    for line in (f"sh {options}", f"cat file | bash {options}"):
        parsed = shell.read(entry(f"{line}\n{H} -c pass\n"))
        assert [call.options[-1].text for call in parsed.calls] == ["pass"], line
        assert parsed.programs == [], line


# The return code

# The call fails with 7. That is noticed if the status of the shell is not 0, or something is printed.
NOTICED = [
    "{}",
    "{} || exit 1",
    "{} || echo bad",
    "{} || {{ echo bad; exit 3; }}",
    "{}; exit",
    "{}\nexit $?",
    "{}; rc=$?; echo rc $rc",
    "set -e; {}; true",
    "set -e\nif true; then {}; fi\ntrue",
    "if {}; then :; else echo bad; fi",
    "if ! {}; then echo bad; fi",
    "! {} && echo bad",
    "{} && true || echo bad",
    "x=$({}); echo $?",
    "x=$({})",
    "sh -ec '{}; true'",
    "f() {{ {}; }}; f",
    "f() {{ {}; }}; f || echo bad",
    "{{ {}; echo $?; }}",
    "(cd /; {})",
    "env A=b {}",
    "{} & wait $!",
    "true | {}",
    "eval '{}'",
    "timeout 9 {}",
    "case x in x) {};; esac",
    "exec {}",
    "{} && true",
    "cat <<E | {}\nx\nE",
    "until {}; do echo bad; break; done",
    "set -e; for i in 1; do {}; true; done",
    "bash -o pipefail -c '{} | cat'",
    "bash -c 'set -o pipefail; {} | cat'",
    "bash -c '{} | cat; exit ${{PIPESTATUS[0]}}'",
    "bash -c '{} | tee /dev/null 2>&1; exit ${{PIPESTATUS[0]}}'",
    "bash -c '{} | cat; [ ${{PIPESTATUS[0]}} = 0 ] || echo bad'",
    "set -e; f() {{ {}; }}; f; true",
    "set -e; (set -e; {}; true); true",
    "setsid {}",
    "bash -c 'setsid {}'",
    "exec setsid -w {}",
    "{}; rc=$?; true; exit $rc",
    "bash -c 'trap \"echo bad\" ERR; {}; true'",
    "unset A; {}",
    "echo 1 | while read m; do {} || exit 1; done",
    "echo 1 | while read m; do {} || exit 1; done || echo bad",
    "(for i in 1 2; do {} || exit 1; done)",
    "(exec {}) || echo bad",
    "sh -c 'exec {}' || echo bad",
    "for i in 1; do exec {}; done",
    "exec {} || true",
    "{} || rc=1; exit $rc",
    "if {}; then exit 0; fi; exit 1",
    "if {}; then true; exit; fi; echo bad",
    "{} && exit 0; echo bad",
    "{} && {{ true; exit 0; }}; exit 1",
    "f() {{ if {}; then return 0; fi; return 1; }}; f",
    'for m in 1 2; do {} || bad="$bad $m"; done; test -z "$bad" || echo bad',
    "end() {{ exit $rc; }}; {} || rc=1; end",
    'while [ -z "$bad" ]; do {} || bad=1; done; exit $bad',
]
LOST = [
    "for i in 1 2; do {} && break; sleep 0; done",
    "for i in 1 2; do {} && break || sleep 0; done",
    "for i in 1 2; do {} || continue; done",
    "{}; true",
    "{}\ntrue",
    "{} || true",
    "{} || :",
    "{} | cat",
    "{} && true; true",
    "! {}",
    "{} &",
    "if {}; then :; fi",
    "for i in 1; do {}; true; done",
    "({} &)",
    "true $({})",
    "x=$({}); true",
    "sh -c '{}; true'",
    "set -e; {} | cat",
    "set -e; {} && true; true",
    "f() {{ {}; true; }}; f",
    "f() {{ {}; }}; f; true",
    "{{ {}; }} | cat",
    "{} || exit 0",
    "export X=$({})",
    "{} <<E\nx\nE\ntrue",
    "{} &> /dev/null",
    "{} <<E | cat\nx\nE",
    "if true; then {}; fi; true",
    "case x in x) {}; true;; esac",
    "set -e; set +e; {}; true",
    "bash -c '{} | cat'",
    "bash -c 'set -o pipefail; set +o pipefail; {} | cat'",
    "unset A; {}; unset A",
    "set -e; f() {{ {}; true; }}; f || echo bad",
    "{}; rc=$?; true",
    "set -e; (set -e; {}; true) || echo bad",
    "set -e; if f() {{ {}; true; }}; f; then true; else echo bad; fi",
    "f() {{ set -e; {}; true; }}; f && true",
    "sh -c '{} | cat; exit ${{PIPESTATUS[0]}}' 2>&-; true",
    "exec setsid {}",
    'f() {{ "$@"; true; }}; f {}',
    "echo 1 | while read m; do {} || exit 1; done; true",
    "(for i in 1 2; do {} || exit 1; done); true",
    "({} || exit 1) | cat",
    "sh -c '{} || exit 1'; true",
    "{}; if [ $? ]; then true; else echo bad; fi",
    '{}; [ "$?" ] || echo bad',
    "(exec {}); true",
    "{} || rc=1; exit 0",
    "if {}; then exit 0; fi; true",
    "{} && exit 0; exit 0",
    "if {}; then true; fi; true",
    'for m in 1 2; do {} || bad="$bad $m"; done; true',
    'echo 1 | while read m; do {} || bad=1; done; test -z "$bad" || echo bad',
]


def test_a_return_code_is_lost_if_it_is_not_noticed():
    for text in NOTICED:
        assert {each.lost_because for each in calls_of(entry(text.format(H)))[0]} == {""}, text
    for text in LOST:
        assert call(text.format(H)).lost_because, text


@pytest.mark.slow
@needs_sh
def test_sh_agrees_about_the_return_code(tmp_path):
    failing = tmp_path / "planta_headless.py"
    failing.write_text("#!/bin/sh\nexit 7\n")
    failing.chmod(0o755)
    is_dash = "dash" in os.path.realpath("/bin/sh")  # which does not know &>
    has_bash = shutil.which("bash", path="/usr/bin:/bin") is not None
    for text in NOTICED + LOST:
        if ("&>" in text and not is_dash) or ("bash" in text and not has_bash):
            continue
        argv = ["/bin/sh", "-c", text.format(failing)]
        done = subprocess.run(
            argv, capture_output=True, timeout=PATIENCE, check=False, start_new_session=True
        )  # as cron
        assert bool(done.returncode or done.stdout) is (text in NOTICED), text


# What is wrong with the text


CORRECTED = [
    (f"{H} -m 1 &> f", "ampersand-redirection", f"{H} -m 1 > f 2>&1"),
    (f"{H} &>>'f g' -m 1", "ampersand-redirection", f"{H} >>'f g' 2>&1 -m 1"),
    (f"sh -c '{H} &>f'", "ampersand-redirection", f"sh -c '{H} >f 2>&1'"),
    (f'sh -c "{H} &>\\"f\\""', "ampersand-redirection", f'sh -c "{H} >\\"f\\" 2>&1"'),
    (f"{H} |& tee f", "pipe-ampersand", f"{H} 2>&1 | tee f"),
    (f"{H} 2>&1 > f", "redirection-order", f"{H} > f 2>&1"),
    (f"cd x && {H} 2>&1 >>f || cat f", "redirection-order", f"cd x && {H} >>f 2>&1 || cat f"),
]


def test_a_redirection_is_corrected():
    for text, rule, after in CORRECTED:
        (finding,) = findings(text)
        assert (finding.rule, corrected(text, finding.edits)) == (rule, after), text
        assert findings(after) == [], after


RIGHT = [
    (f"{H} &> f", "/bin/bash"),
    (f"{H} |& tee f", "/bin/bash"),
    (f"[[ x ]] && {H}", "/bin/bash"),
    (f"bash -c '{H} &> f'", "/bin/sh"),
    (f"su planta -c '{H} &> f'", "/bin/sh"),
    (f"{H} > f 2>&1", "/bin/sh"),
    (f"{H} 2>&1 >f | mail x", "/bin/sh"),
    (f"{H} 2>&1 >f 2>g", "/bin/sh"),
    (f"{H} 2>&1 | tee f > g", "/bin/sh"),
    (f"{H} -m 1 > /x/`date +%F`-`hostname`.log 2>&1", "/bin/sh"),
    ("x &> f; [[ x ]]; set -o pipefail", "/bin/sh"),
]


def test_what_is_right_is_no_finding():
    for text, name in RIGHT:
        assert findings(text, name) == [], (text, name)


def test_a_crontab_is_corrected_in_its_own_text():
    content = f"@daily {H} -c 'ü\\%y\\%' &> f\n"
    (line,) = crontab.read(File("crontab", content, Kind.CRONTAB, "root")).entries
    (finding,) = calls_of(line)[1]
    assert corrected(content, finding.edits) == f"@daily {H} -c 'ü\\%y\\%' > f 2>&1\n"


def test_flock_asks_the_shell_of_the_environment():
    text = f"flock l -c '{H} &> f'"
    assert [each.rule for each in calls_of(entry(text, SHELL="/bin/sh"))[1]] == ["ampersand-redirection"]
    assert calls_of(entry(text, SHELL="/bin/bash"))[1] == []


def test_a_correction_never_changes_what_a_variable_has_put_there():
    text = f'A=\'{H} &> f\'; sh -c "$A"; eval "$A"'
    assert [each.edits for each in findings(text)] == [(), ()]


OF_BASH = [
    (f"[[ -f x ]] && {H}", "double-bracket"),
    (f"{H} <<< x", "here-string"),
    (f"set -o pipefail; {H} | tee x", "pipefail"),
    (f"set -euo pipefail\n{H}", "pipefail"),
    *(
        (f'x=1; {H} -m "{each}"', "bad-substitution")
        for each in ("${x:0:2}", "${x:1}", "${x: -2}", "${x/a/b}", "${x^^}", "${x,}", "${!x}", "${x@Q}", "${x[0]}")
    ),
    (f"sleep ${{RANDOM:0:1}}; {H}", "bad-substitution"),
    *((f"{each} && {H}", "test-equals") for each in ('[ "$x" == 2 ]', "test a == a", "[ a = a -a b == b ]")),
    *(
        (f"{each} && {H}", "unknown-to-sh")
        for each in (
            "shopt -s nullglob",
            "pushd /",
            "declare -x A=1",
            "let x=1",
            "read -n 1 y",
            "printf -v x a",
            "wait -n",
        )
    ),
    (f"trap 'echo bad' ERR; {H}", "unknown-to-sh"),
    (f"exec {H} || {H} -m 2", "not-reached"),
    (f"exec {H}\n{H} -m 2", "not-reached"),
    (f"exit 0\n{H}\nexec {H} -m 2", "not-reached"),
]


def test_what_only_bash_knows_is_an_error_for_sh():
    for text, rule in OF_BASH:
        found = findings(text)
        assert {(each.rule, each.severity) for each in found} == {(rule, Severity.ERROR)}, text


NO_BASH = [
    *(f"x=${{x{each}}}; {H}" for each in ("%a", "##a", ":-2", ":=a", "-a", ":+a")), "x=${#x}; " + H,
    f"[ a = '==' ] && {H}", f"exec 9> x; {H}", f"if false; then exit 1; fi; {H}", f"bash -c 'x=${{x:0:2}}; {H}'",
    f"readonly A=1; {H}", f"read -r x; {H}", f"trap 'echo bad' EXIT; {H}", f"(exit 0); {H}", f"exit 0 & {H}",
]  # fmt: skip


def test_what_sh_knows_too_is_no_error():
    for text in NO_BASH:
        assert findings(text) == [], text


@needs_sh
def test_what_sh_cannot_read_is_an_error():
    for text in (f"{H} -c 'print(1)", f'{H} -c "x', f"if {H}; then x", f"( {H}", f"{H} )", f"{H} && "):
        syntax = [each for each in findings(text) if each.rule == "syntax"]
        assert [each.severity for each in syntax] == [Severity.ERROR], text


@needs_sh
def test_what_only_the_parser_cannot_read_is_none():
    assert "syntax" not in {
        each.rule for each in findings(f"case $x in (a|b) :;; esac; x=${{y%%[![:space:]]*}}; {H}\n")
    }
