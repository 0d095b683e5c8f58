"""What is wrong with the text of a shell, and how it is corrected."""

from __future__ import annotations

from headless.admin import crontab
from headless.admin.finding import Severity, corrected
from support.shell_texts import H, calls_of, entry, findings, needs_sh

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
    ("x &> f; [[ x ]]; set -o pipefail", "/bin/sh"),
]


def test_what_is_right_is_not_told():
    for text, shell in RIGHT:
        assert findings(text, shell) == [], (text, shell)


def test_a_crontab_is_corrected_in_its_own_text():
    content = f"@daily {H} -c 'ü\\%y\\%' &> f\n"
    ((line,), _) = crontab.read(content, "crontab", False, "root")
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
]


def test_what_only_bash_knows_is_told_for_sh():
    for text, rule in OF_BASH:
        (finding,) = findings(text)
        assert (finding.rule, finding.severity) == (rule, Severity.ERROR), text


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
