"""explain: says what can be found out from recordings, with the evidence, and writes a dialect with it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from headless import password_file
from headless.arguments import path
from headless.errors import ParameterError
from headless.protocol_tools.assumed_jobs import job_assumptions
from headless.protocol_tools.assumed_login import login_assumptions
from headless.protocol_tools.client_side import place_name
from headless.protocol_tools.contrast import FAILED, GOOD, LEFT, NOT_KNOWN, OUTCOMES, REFUSED, WRONG
from headless.protocol_tools.documents import Path, local
from headless.protocol_tools.findings import Findings, explain
from headless.protocol_tools.framing_search import Answer
from headless.protocol_tools.recordings import CLIENT, SERVER, Folder
from headless.protocol_tools.secrecy import LEAST_HIDDEN, is_secret
from headless.protocol_tools.survey import Facts
from headless.protocol_tools.vocabulary import Feature, Values
from headless.protocol_tools.writing import Assumption, check_free, code_of, one_line, value_code, write_new
from headless.terminal import escape_control_chars, print_answer, print_note, shorten

PROGRAM = "headless protocol explain"
_MAX_PLACES = 300  # of one side that are shown
_MAX_ALTERNATIVES = 4  # of a framing that are
_MAX_VALUES = 5  # of a place that are
_MAX_PAIRS = 50  # of recordings of the same call that are compared
_MAX_LINE = 600


def add(commands: Any) -> None:
    """Adds the command to those of `headless protocol`."""
    text = "say what can be found out from recordings"
    parser = commands.add_parser("explain", help=text, description=_DESCRIPTION)
    parser.set_defaults(command=run, program=PROGRAM)
    parser.add_argument("folder", type=path, metavar="DIR", help="the folder of the recordings")
    parser.add_argument("-p", "--secret", metavar="SECRET_FILE", help="the password file of the recorded client")
    parser.add_argument("--write", type=path, metavar="FILE", help="write a dialect to this new file")


_DESCRIPTION = """Says how messages become bytes, what is in them, and how the login is computed, with the evidence.
What accepts, what ends and what is a result is for you to decide: it shows candidates. Nothing secret is shown."""


def run(arguments: argparse.Namespace) -> int:
    """Returns the exit status. Raises HeadlessError."""
    if arguments.write is not None:
        check_free(arguments.write)
    hash_ = password_file.read(arguments.secret).hash if arguments.secret is not None else None
    folder = Folder(arguments.folder)
    if not folder.has_calls:
        raise ParameterError(f"there are no recordings in {arguments.folder}")
    found = explain(folder, hash_)
    known = [*login_assumptions(found), *job_assumptions(found)]
    print_answer(_report(found, known))
    if arguments.write is not None:
        write_new(arguments.write, code_of(known, found.is_planta))
        print_note(PROGRAM, f"{arguments.write} was written: what it leaves open is for you to decide")
    return 0


# What is said


def _report(found: Findings, assumptions: Sequence[Assumption]) -> str:
    """Returns the whole text."""
    sections = (
        ("Calls", _calls(found)),
        ("Framing and compression", _framing(found)),
        ("Encoding", _encoding(found)),
        ("Vocabulary", _vocabulary(found)),
        ("Assumptions of PLANTA.md. Candidates prove nothing: a person decides", _assumptions(found, assumptions)),
        ("Schema", _schema(found)),
    )
    lines = []
    for title, body in sections:
        lines += [title, *(f"  {line}" for line in body), ""]
    return "\n".join(escape_control_chars(line) if line.strip() else "" for line in lines)


def _short(text: str) -> str:
    return shorten(one_line(text), _MAX_LINE)


def _calls(found: Findings) -> Iterator[str]:
    contrast = found.contrast
    yield f"{len(found.survey.calls)} calls with {len(found.survey.names)} connections"
    yield from (f"{contrast.count(outcome):4} {outcome}" for outcome in OUTCOMES if contrast.count(outcome))
    if contrast.count(NOT_KNOWN):
        yield "How a call ended has to be known for what follows from it: record it with --expect"
    missing = {
        GOOD: "a call with -t that ends well",
        LEFT: "a call without -t",
        FAILED: "a job that fails",
        REFUSED: "a job that the server refuses",
        WRONG: "a wrong password",
    }
    yield from (f"   0 {text}: record one" for outcome, text in missing.items() if not contrast.count(outcome))


def _framing(found: Findings) -> Iterator[str]:
    for sender, answer in found.survey.answers.items():
        if answer.transport is None:
            yield f"{sender}: tried {answer.tried} explanations: none fits"
            if answer.failure:
                yield f"    the best of them fails at {_short(answer.failure)}"
            if found.survey.is_tls:
                yield "    These are bytes of TLS. Record with --to tls://HOST:PORT, and the client without TLS"
            continue
        yield f"{sender}: {value_code(answer.transport)}"
        yield f"    {_evidence(answer)}"
        for other, difference in answer.alternatives[:_MAX_ALTERNATIVES]:
            yield f"    NOT CERTAIN: {value_code(other)} explains it as well: {difference}"
        if len(answer.alternatives) > _MAX_ALTERNATIVES:
            yield f"    NOT CERTAIN: {len(answer.alternatives) - _MAX_ALTERNATIVES} more explain it as well"
        yield from (f"    NOT CERTAIN: {doubt}" for doubt in answer.doubts)


def _evidence(answer: Answer) -> str:
    evidence = answer.evidence
    cut = f"; the last frame was cut in {', '.join(evidence.cut[:3])}" if evidence.cut else ""
    cut += f" and {len(evidence.cut) - 3} more" if len(evidence.cut) > 3 else ""
    empty = f", and {evidence.empty} empty ones" if evidence.empty else ""
    lengths = f"of {len(evidence.lengths)} different lengths, {min(evidence.lengths)} to {max(evidence.lengths)} bytes"
    where = f"in {evidence.connections} connections, at most {evidence.most} in one"
    return f"every byte of {evidence.messages} messages {lengths}{empty}, {where}{cut}"


def _encoding(found: Findings) -> Iterator[str]:
    for sender, encoding in found.encodings.items():
        yield f"{sender}: {encoding.name}: {'' if encoding.is_certain else 'NOT CERTAIN: '}{encoding.text}"
        for prolog, count in found.survey.styles[sender].prologs.most_common(3):
            yield f"    {count} messages begin with {repr(prolog) if prolog else 'the root element'}"


# Vocabulary


def _vocabulary(found: Findings) -> Iterator[str]:
    pairs = _same_calls(found.survey.facts)
    for sender, vocabulary in found.survey.vocabularies.items():
        more = found.survey.answers[sender].evidence.messages - vocabulary.messages
        others = f", without {more} that came when the client had left, or are no XML" if more > 0 else ""
        yield f"{sender}: {vocabulary.messages} messages{others}"
        differing: set[tuple[Path, str | None]] = set()
        for one, other in pairs:
            differing |= {each[:2] for each in _values(one, sender) ^ _values(other, sender)}
        for at, place in [*vocabulary.places.items()][:_MAX_PLACES]:
            parts = [f"{'/'.join(map(local, at))} ({place.elements})"]
            for name, values in place.values.items():
                count = f" ({values.count} times)" if values.count != place.elements else ""
                differs = ", differs between recordings of the same call" if (at, name) in differing else ""
                echo = _echo(found, at, name) if sender == SERVER else ""
                parts.append(
                    f"{'@' + local(name) if name else 'text'}{count} {_listed(found, at, name, values, sender)}"
                )
                parts[-1] += differs + echo
            yield "    " + _short("; ".join(parts))
        if len(vocabulary.places) > _MAX_PLACES:
            yield f"    ... and {len(vocabulary.places) - _MAX_PLACES} more places"


def _values(facts: Facts, sender: str) -> set[Feature]:
    features = facts.said if sender == CLIENT else facts.before + facts.after
    return {each for each in features if each[2] is not None}


def _same_calls(facts: Sequence[Facts]) -> list[tuple[Facts, Facts]]:
    """Returns pairs of recordings of the same call."""
    first: dict[object, Facts] = {}
    pairs = []
    for each in facts:
        one = first.setdefault(each.call.asked, each)
        if each.call.login and one is not each:
            pairs.append((one, each))
    return pairs[:_MAX_PAIRS]


def _listed(found: Findings, path: Path, name: str, values: Values, sender: str) -> str:
    is_hidden = any(is_secret(name or path[-1], value) for value in values.found)
    if sender == CLIENT and not is_hidden:
        is_long = len(values.found) > 1 and max(map(len, values.found)) >= LEAST_HIDDEN
        is_hidden = is_long or found.may_prove(path, name)
    if is_hidden or values.is_many or len(values.found) > _MAX_VALUES:
        count = "many or long" if values.is_many else f"{len(values.found)}"
        return f"{count} values{' (not shown)' * is_hidden}"
    return ", ".join(f"{value!r} {count}" for value, count in values.found.items())


def _echo(found: Findings, path: Path, name: str) -> str:
    echoes = (echo for each in found.survey.facts for echo in sorted(each.echoes))
    whats = dict.fromkeys(what for at, at_name, what in echoes if (at, at_name) == (path, name))
    return "".join(f", {what} came back here" for what in whats)


# What follows


def _assumptions(found: Findings, assumptions: Sequence[Assumption]) -> Iterator[str]:
    for each in assumptions:
        yield _short(f"{each.number} {each.state}: {each.evidence}")
        yield from (f"    {line[: len(line) - len(line.lstrip())]}{_short(line)}" for line in each.lines)
    if found.login is None and found.proof is not None:
        yield f"The proof is likely {place_name(found.proof)}, by its name or because it differs"


def _schema(found: Findings) -> Iterator[str]:
    for sender, vocabulary in found.survey.vocabularies.items():
        yield f"{sender}: {vocabulary.passed()} of {vocabulary.messages} messages pass"
        for text in vocabulary.schemas.values():
            yield from (f"    {line}" for line in text.decode().splitlines())
