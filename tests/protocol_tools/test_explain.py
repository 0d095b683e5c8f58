"""`headless protocol explain` says what recordings show, with the evidence, and how much they leave open."""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from dataclasses import replace
from typing import Any

import pytest
from lxml import etree

from headless.client.loading import load
from headless.client.waiting import Waiter
from headless.dialects.base import Call
from headless.dialects.vocabulary import CHALLENGE, MODULE, OSUSER, PY_CODE, Job
from headless.protocol_tools.login_search import logins_of
from headless.protocol_tools.recordings import CALLS, SERVER, RecordedCall
from headless.protocol_tools.survey import Survey
from support.command_here import headless
from support.credentials import HASH
from support.example_server import ExampleServer, proof
from support.sampling import one_of
from support.vendors import delta, epsilon, eta, gamma, zeta
from support.vendors.literal import END, talk
from support.vendors.recorded import EVERY_CALL, KILLED, labelled, record

TELLING = {
    gamma: (
        "client: Transport(Length(size=4, order='little', extra=4), Compression(kind='zlib', scope='message', after=1)",
        "every byte of 71 messages of 12 different lengths, 71 to 72094 bytes, in 14 connections, at most 8 in one",
        "client: utf-8: declared in all 71 messages, 1 of them with letters beyond ASCII",
        "A5 settled: the client in 14 connections",
        "hmac.new(hash_, bytes.fromhex(<Message/Login@challenge>), hashlib.sha256).hexdigest().upper()",
        "the same in 11 logins; not so in 1 with a wrong password",
        "A9 settled, not as assumed: module: <ModC id>, py_file: <ExecPythonScript file>, py_code: <ExecPythonScript>",
        "A10 settled, not as assumed: each job in a message of its own; before the next one came <Message><Cmd",
        "# accepted = \"Cmd[@name='queued']\" # in 10 of 10, once for each job; elsewhere 'refused'",
        "# ok = \"Cmd[@state='2']\" # in 8 of 8, once for each job; elsewhere '3'",
        "the server sends <Message><Comm ping> each 60 s of silence, 3 times in 1 connections",
        "return filled('<Comm pong=\"1\"/>')",
        "server: 107 of 107 messages pass",
    ),
    delta: (
        "client: Transport(Documents())",
        "server: Transport(Delimiter(end=b'\\x00'), beginning=b'\\r\\n', is_line=True)",
        "server: windows-1252: declared in all 60 messages, all in ASCII",
        "<Message/Login@challenge>.encode() + b':' + hashlib.md5(hash_).hexdigest().encode()",
        "A5 settled, not as assumed: the server in 14 connections",
        "A10 settled: all jobs in one message",
        "# ok = \"Shutdown[@result='0']\" # in 8 of 8, in the last message; elsewhere '1'",
        "A16 settled: nothing came again and again in 185 s of silence",
        "client: 39 of 39 messages pass",
    ),
    epsilon: (
        "client: Transport(Http(start='POST /jobs/v2 HTTP/1.1', headers=('Host: jobs.example:8080', 'User-Agent",
        "Compression(kind='gzip', scope='message'))",
        "client: ISO-8859-15: declared in all 53 messages",
        "the client sends <letter><state session> each 60 s of silence, 3 times in 1 connections",
        "hashlib.sha512((self.call.user.encode() + b'|' + <letter/nonce>.encode() + b'|' + hash_)).hexdigest()",
        "# accepted = 'letter/taken' # in 10 of 10",
        "# ok = \"letter/state[normalize-space(text())='done']\" # in 8 of 8, in the last message; elsewhere 'failed'",
        "server: 51 of 51 messages pass",
    ),
    zeta: (
        "client: Transport(Digits(base=10, width=8), Compression(kind='deflate', scope='frames', after=1))",
        "server: Transport(Digits(base=16, between=b'\\r\\n', after=b'\\r\\n'), Compression(kind='deflate'",
        "client: utf-16: two bytes for each character in all 40 messages",
        "server: utf-8: NOT CERTAIN: not declared, and nothing beyond ASCII was said",
        "A16 settled, not as assumed: the server sends <alive> each 60 s of silence, 3 times",
        "(a ^ b for a, b in zip(hashlib.sha256(hash_).digest(), hashlib.sha256(<zeta@nonce>.encode()).digest())).hex()",
        "<login run>: it is taken for random digits",
        "# ok = \"job/rc[normalize-space(text())='0']\" # in 8 of 8, once for each job, in the last message; elsewhere",
    ),
    eta: (
        "client: Transport(Documents(), beginning=b'ETA\\x02')",
        "the server sends bytes without a document each 60 s of silence, 3 times",
        "eta/text (12); text 7 values, a job's text came back here",
        "bcrypt.hashpw(hash_[:72], <eta/salt>.encode()).decode()",
        "before the next one came nothing (5)",
        "# accepted = \"eta/what[normalize-space(text())='started']\" # in 10 of 10; elsewhere 'sorry'",
    ),
}
VENDORS = pytest.mark.parametrize("vendor", one_of(2, TELLING), ids=lambda vendor: vendor.__name__.rpartition(".")[2])


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    """What `explain -p` says of a vendor, and the file that it writes."""
    found = {}

    def explain(vendor):
        if vendor not in found:
            folder = tmp_path_factory.mktemp("vendor")
            record(vendor, folder / "talk")
            secret = folder / "secret"
            secret.write_text(HASH)
            secret.chmod(0o400)
            done = headless(
                "protocol", "explain", str(folder / "talk"), "-p", str(secret), "--write", str(folder / "site.py")
            )
            assert done.returncode == 0, done.stderr
            found[vendor] = done.stdout, (folder / "site.py").read_text()
        return found[vendor]

    return explain


def explain(folder, *options: str) -> str:
    done = headless("protocol", "explain", str(folder.path), *options)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# Five vendors


@VENDORS
def test_what_a_vendor_s_recordings_show_is_said(vendor, explained):
    text, _ = explained(vendor)
    assert [line for line in TELLING[vendor] if line not in text] == [], text


@VENDORS
def test_the_vocabulary_is_a_schema_that_each_message_passes(vendor, explained):
    counts = re.findall(r"(?:client|server): (\d+) of (\d+) messages pass", explained(vendor)[0])
    assert len(counts) == 2
    assert all(passed == all_of_them for passed, all_of_them in counts)


@VENDORS
def test_nothing_secret_is_shown_or_written(vendor, explained, tmp_path):
    secrets = {HASH, HASH[29:], hashlib.sha256(HASH.encode()).hexdigest(), hashlib.md5(HASH.encode()).hexdigest()}
    for login in logins_of(Survey(record(vendor, tmp_path / "talk")).facts):
        secrets |= {
            text for key, text in login.proofs.items() if key[2] in ("response", "key") or key[1][-1].endswith("proof")
        }
    assert len(secrets) > 10
    for text in explained(vendor):
        assert [secret for secret in secrets if secret in text] == []


@VENDORS
def test_the_file_has_few_lines_and_leaves_the_proofs_to_a_person(vendor, explained):
    _, code = explained(vendor)
    body = code.partition("class Dialect")[2]
    lines = [line for line in body.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert 5 <= len(lines) <= 30, code
    (settled,) = re.findall(r"settled = \((.*)\)", code)
    assert not {"A4", "A11", "A12", "A13", "A14", "A15", "A18"} & set(re.findall(r"A\d+", settled.partition("#")[0]))
    for name in ("accepted", "ended", "ok", "failed", "refused"):
        assert f"    # {name} = " in code
        assert f"\n    {name} = " not in code


def test_the_example_of_the_documents_is_explained_as_well(tmp_path):
    calls, connections = [], []
    for call in labelled("challenge", "three jobs", "the second fails", "the second is unknown", "osuser", "no -t"):
        server = ExampleServer()
        said: list[bytes] = []
        items = "".join(f'<item kind="{job.kind}">{job.text}</item>' for job in call.jobs)
        auth = call.login
        for data in (
            f'<request client="headless 39" user="R41" auth="{auth}">{items}</request>\0'.encode(),
            *([f'<answer answer="{proof()}"/>\0'.encode()] if auth == "challenge" else []),
        ):
            said += [data, b"".join(answer.say() for answer in server.received(data))]
        calls.append(call)
        connections.append(said)
    text = explain(talk(tmp_path / "talk", connections, calls))
    assert "client: Transport(Delimiter(end=b'\\x00'))" in text
    assert "A10 settled, not as assumed: the jobs are in the login" in text
    assert "# accepted = \"response[@code='200']\"" in text
    assert "# ok = \"result[@code='200']\" # in 3 of 3, in the last message; elsewhere '500'" in text


# Too little


def test_what_ends_a_frame_is_known_from_connections_that_are_too_long_for_a_sample(tmp_path):
    def frame(text):
        document = f"<Message><StatusBar>{text}</StatusBar></Message>".encode()
        return b"#%06X\r\n%s\n" % (len(document), document)

    said = [b"<go>009ABC</go>\0", b"HELLO\r\n" + b"".join(frame("x" * 20_000 * size) for size in (1, 2, 3)) + frame("")]
    text = explain(talk(tmp_path / "talk", [said] * 3))
    assert "server: Transport(Digits(base=16, width=6, before=b'#', between=b'\\r\\n', after=b'\\n'" in text
    assert "was cut" not in text


def test_one_message_alone_is_said_to_be_little(tmp_path):
    text = explain(talk(tmp_path / "talk", [[b"\0\0\0\x04<a/>"]]))
    assert "NOT CERTAIN: there is one message only" in text
    assert "server: tried 0 explanations: none fits" in text


def test_messages_that_all_have_the_same_length_bear_out_no_length(tmp_path):
    frame = b"\0\0\0\x0a<a n='1'/>"
    text = explain(talk(tmp_path / "talk", [[frame, frame, frame, frame]] * 3))
    assert text.count("NOT CERTAIN: all messages have the same length") == 2


def test_a_length_that_never_needed_its_upper_bytes_may_be_shorter(tmp_path):
    def frame(count: int) -> bytes:
        return (10 + count).to_bytes(4, "big") + b"<a>" + b"x" * (count + 3) + b"</a>"

    connections = [[frame(each), frame(each + 5), frame(each + 100), frame(each + 300)] for each in range(3)]
    text = explain(talk(tmp_path / "talk", connections))
    assert "client: Transport(Length(size=4, order='big'))" in text
    assert "Transport(Length(size=2, order='big', before=b'\\x00\\x00')) explains it as well" in text
    assert "a message of 65536 bytes would tell" in text


def test_bytes_before_the_only_message_of_each_connection_may_come_once_or_each_time(tmp_path):
    text = explain(talk(tmp_path / "talk", [[b"XY<a/>", b"<b/>"], [b"XY<ab/>", b"<b/>"]]))
    assert "NOT CERTAIN: no connection has a second message" in text


def test_a_beginning_that_was_seen_once_is_said_to_be(tmp_path):
    text = explain(talk(tmp_path / "talk", [[b"HELLO\r\n", b"<a/><b/>", b"<c/><d/>"]], first=SERVER))
    assert "NOT CERTAIN: there is one connection only: whether each one begins so is not known" in text


def test_without_a_second_login_the_formula_is_not_certain(tmp_path):
    folder = record(gamma, tmp_path / "talk", labelled("challenge", "a wrong password"))
    secret = tmp_path / "secret"
    secret.write_text(HASH)
    secret.chmod(0o400)
    done = headless("protocol", "explain", str(folder.path), "-p", str(secret), "--write", str(tmp_path / "site.py"))
    text = done.stdout
    assert "A8 open:" in text
    assert "one login alone bears it out: record a second one" in text
    assert "'A8'" not in (tmp_path / "site.py").read_text()


def test_what_was_not_recorded_is_asked_for(tmp_path):
    text = explain(record(gamma, tmp_path / "talk", labelled("challenge")))
    for line in (
        "0 a call without -t: record one",
        "0 a job that fails: record one",
        "0 a job that the server refuses: record one",
        "0 a wrong password: record one",
        "record a job of 180 s",
        "A7 open:",
        "no wrong password was recorded",
        "no py_code was recorded",
        "A10 open: no call with several jobs was recorded",
        "nothing tells an acceptance from a refusal: record a job that is unknown, with --expect 2",
        "nothing tells a success from a failure: record a job that fails, with --expect 1",
        "A16 open:",
    ):
        assert line in text, line


def test_without_a_failed_call_nothing_is_a_candidate_for_a_success(tmp_path):
    calls = [call for call in EVERY_CALL if call.expected != 1]
    text = explain(record(delta, tmp_path / "talk", calls))
    assert "# ok = ... # no candidate: nothing tells a success from a failure" in text


@pytest.mark.parametrize("vendor", [gamma, delta, epsilon, zeta, eta], ids=lambda each: each.__name__[-5:])
def test_nor_with_one_that_failed_because_the_server_was_killed(vendor, tmp_path):
    calls = [call for call in EVERY_CALL if call.expected != 1 or call.label == KILLED]
    text = explain(record(vendor, tmp_path / "talk", calls))
    assert "1 broken off" in text
    assert "A14 open: the result (1 calls that were broken off do not count)" in text
    assert "0 a job that fails: record one" in text
    assert "# ok = ... # no candidate: nothing tells a success from a failure" in text


def test_calls_of_which_nothing_is_known_settle_nothing(tmp_path):
    folder = record(gamma, tmp_path / "talk")
    lines = [RecordedCall.from_json(line) for line in (folder.path / CALLS).read_text().splitlines()]
    unknown = [RecordedCall(connections=call.connections).to_json() for call in lines]
    (folder.path / CALLS).unlink()
    (folder.path / CALLS).write_text("\n".join(unknown) + "\n")
    text = explain(folder)
    assert "14 not known" in text
    assert "of 14 recordings it is not known how they ended: record them with --expect" in text
    assert "A9 open: the texts of the calls' jobs were not found in what the client sent" in text


def test_an_order_of_jobs_that_recordings_do_not_tell_stays_open(tmp_path):
    text = explain(record(gamma, tmp_path / "talk", labelled("three jobs", "challenge", "the second fails")))
    assert "A10 open: each job in a message of its own; before the next one came" in text
    assert "# order = planta.AFTER_RESULT # the next job waits for the result of the one before, or" in text


def call(*jobs: str, timeout: int = -1, expected: int = 0) -> RecordedCall:
    return RecordedCall("", OSUSER, None, "jdoe", tuple(Job(MODULE, job) for job in jobs), timeout, expected=expected)


def test_what_a_server_says_when_a_client_has_left_early_tells_nothing_of_an_end(tmp_path):
    good = [b"<go>009ABC</go>\0", b"<yes/>\0<end rc='0'/>\0"]
    failed = [b"<go>009ABC</go>\0", b"<yes/>\0<end rc='1'/>\0"]
    early = [b"<go>009ABC</go>\0", b"<yes/>\0", END, b"<end rc='0'/>\0"]
    calls = [
        call("009ABC"),
        call("009ABC", expected=1),
        call("009ABC", timeout=1, expected=3),
        call("009ABC", timeout=0),
    ]
    text = explain(talk(tmp_path / "talk", [good, failed, early, early], calls))
    assert "# ended = 'end' # in 1 of 1, in the last message" in text
    assert "# ok = \"end[@rc='0']\" # in 1 of 1, in the last message; elsewhere '1'" in text


def test_an_end_that_follows_a_refusal_as_well_is_a_candidate_and_the_start_of_a_job_is_none(tmp_path):
    """Without it the start of a job, which a call without -t may have missed, would be taken for the end."""

    def said(*parts):
        return [
            b"<Message><ModC id='009ABC'/></Message>\0",
            b"".join(b"<Message>%s</Message>\0" % each for each in parts),
        ]

    yes, starts, end = b"<Cmd name='yes'/>", b"<StatusBar>job 1</StatusBar>", b"<Shutdown action='exit'/>"
    connections = [
        said(yes, starts, end),
        said(b"<MessageBox>unknown module</MessageBox>", end),
        said(yes, starts),
        said(yes),
    ]
    calls = [
        call("009ABC"),
        call("009ABC", expected=2),
        call("009ABC", timeout=1, expected=3),
        call("009ABC", timeout=0),
    ]
    text = explain(talk(tmp_path / "talk", connections, calls))
    assert "# ended = 'Shutdown' # in 1 of 1, in the last message" in text
    assert "'StatusBar' #" not in text
    assert "ignored" not in text


@pytest.mark.parametrize(
    ("with_user", "sent"),
    [
        (b"<Env><OSuser name='jdoe'/></Env>", ["<Env><OSuser name='jdoe'/></Env>"]),
        (
            b"<Env><OSuser name='jdoe'/></Env><Login user='R41'/>",
            ["<Env><OSuser name='jdoe'/></Env>", "<Login user='R41'/>"],
        ),
        (b"<Env><OSuser name='jdoe' as='R41'/></Env>", ["<Env><OSuser name='jdoe' as='R41'/></Env>"]),
        (b"<Env><OSuser name='R41'/></Env>", ["<Env><OSuser name='R41'/></Env>"]),
    ],
)
def test_what_osuser_says_of_the_user_is_written_and_plain_osuser_says_as_before(with_user, sent, tmp_path):
    env = b"<Env><OSuser name='jdoe'/></Env>"
    asks, grants = b"<Message><Env/><Login user='R41'/></Message>\0", b"<Message><Env/></Message>\0"
    challenges = [
        [asks, b"<Message><Login challenge='%d'/></Message>\0" % number, answer, grants]
        for number, answer in enumerate([b"<Message><Login user='R41' response='%032d'/></Message>\0" % 7] * 2)
    ]
    said = [
        *([b"<Message>%s</Message>\0" % each, grants] for each in (env, env, with_user)),
        *challenges,
    ]
    calls = [call("009ABC"), call("009ABC"), replace(call("009ABC"), user="R41")]
    calls += [replace(call("009ABC"), login=CHALLENGE, os_user="", user="R41")] * 2
    job = [b"<Message><ModC id='009ABC'/></Message>\0", b"<Message><Cmd/></Message>\0"]
    folder = talk(tmp_path / "talk", [[*each, *job] for each in said], calls)
    assert headless("protocol", "explain", str(folder.path), "--write", str(tmp_path / "site.py")).returncode == 0
    with (tmp_path / "site.py").open("a") as file:
        file.write("\n    settled, ok = planta.ASSUMPTIONS, 'Cmd'\n")
    dialect: Any = load(str(tmp_path / "site.py"), Waiter())
    for user, parts in ((None, [env.decode()]), ("R41", sent)):
        made = dialect(Call("39", OSUSER, user, "jdoe", (), bytes(32)))
        texts = [etree.tostring(each).decode().replace('"', "'") for each in (*made.handshake(), *made.login_request())]
        assert texts == parts


def says(*parts):
    """What a client and a server with the published vocabulary say."""
    return [b"<Message><ModC id='009ABC'/></Message>\0", b"".join(b"<Message>%s</Message>\0" % each for each in parts)]


YES, END_OF_ALL = b"<Cmd name='yes'/>", b"<Shutdown action='exit'/>"


def test_output_is_the_last_candidate_for_a_success_and_called_so(tmp_path):
    output, error = b"<EvLogMsg level='info'>42</EvLogMsg>", b"<EvLogMsg level='error'/>"
    calls = [call("009ABC"), call("009ABC", expected=1)]
    text = explain(talk(tmp_path / "1", [says(YES, output, END_OF_ALL), says(YES, error, END_OF_ALL)], calls))
    assert "# ok = \"EvLogMsg[@level='info']\" # in 1 of 1; elsewhere 'error'; it is output as well (A12)" in text
    assert "# no_result = planta.ORDERLY_END # with `failed`, if the server tells no success" in text
    assert "# failed = \"EvLogMsg[@level!='info']" not in text
    done = b"<Cmd name='done'/>"
    text = explain(talk(tmp_path / "2", [says(YES, output, done, END_OF_ALL), says(YES, error, END_OF_ALL)], calls))
    assert text.index("# ok = \"Cmd[@name='done']\"") < text.index("# ok = \"EvLogMsg[@level='info']\"")
    assert "no_result" not in text


def test_a_server_that_tells_failures_alone_has_no_result_offered_and_one_that_tells_nothing(tmp_path):
    calls = [call("009ABC"), call("009ABC", expected=1)]
    text = explain(talk(tmp_path / "1", [says(YES, END_OF_ALL), says(YES, b"<StatusBar/>", END_OF_ALL)], calls))
    assert "# failed = 'StatusBar'" in text
    assert "# no_result = planta.ORDERLY_END # with `failed`, if" in text
    text = explain(talk(tmp_path / "2", [says(YES, END_OF_ALL)] * 2, calls[:1] * 2))
    assert "# no_result = planta.ORDERLY_END # if the server tells no success" in text


def test_a_text_is_a_candidate_for_a_failure_only_where_nothing_else_is(tmp_path):
    calls = [call("009ABC"), call("009ABC", expected=1), call("009ABC", expected=1)]
    said = [
        [YES, END_OF_ALL],
        *([YES, b"<EvLogMsg LEVEL>job %d failed</EvLogMsg>" % each, END_OF_ALL] for each in (1, 2)),
    ]
    for level in (b"level='error'", b""):
        parts = [[part.replace(b"LEVEL", level) for part in each] for each in said]
        parts[0][1:1] = [b"<EvLogMsg>42</EvLogMsg>"] * 2
        text = explain(talk(tmp_path / f"talk{len(level)}", [says(*each) for each in parts], calls))
        assert ('# failed = "EvLogMsg[@level' in text) == bool(level)
        assert ("# failed = \"EvLogMsg[normalize-space(text())='job 1 failed']" in text) != bool(level)


def test_words_for_people_are_the_last_candidates_of_a_refusal(tmp_path):
    def said(answer):
        return [b"<go>009ABC</go>\0", answer]

    yes, no = b"<status>job 1 runs</status>\0", b"<status>access denied</status>\0<over why='login'/>\0"
    wrong = RecordedCall("", CHALLENGE, "R41", "", (Job(MODULE, "009ABC"),), -1, False, None, 2)
    text = explain(talk(tmp_path / "talk", [said(yes), said(no)], [call("009ABC"), wrong]))
    assert "refused = {'login': \"over[@why='login']\"}" in text
    assert "login: status[normalize-space(text())='access denied']" in text


def test_a_refusal_that_was_not_recorded_is_not_meant_by_the_first_candidate(tmp_path):
    """A server that is full may say it with the same element: that is no reason to give up for ever."""
    said = [[b"<go>009ABC</go>\0", b"<yes/>\0"], [b"<go>009ABC</go>\0", b"<no why='unknown'/>\0"]]
    text = explain(talk(tmp_path / "talk", said, [call("009ABC"), call("009ABC", expected=2)]))
    assert "refused = {'jobs': \"no[@why='unknown']\"}" in text
    assert "# jobs: no in 1 of 1" in text


def test_what_the_client_says_after_the_last_result_is_said_then(tmp_path):
    good = [b"<go>009ABC</go>\0", b"<yes/>\0", b"", b"<end rc='0'/>\0", b"<bye/>\0", b"<closed/>\0"]
    failed = [b"<go>009ABC</go>\0", b"<yes/>\0<end rc='1'/>\0"]
    unknown = [b"<go>009ABC</go>\0", b"<no/>\0"]
    calls = [call("009ABC"), call("009ABC", expected=1), call("009ABC", expected=2)]
    text = explain(talk(tmp_path / "talk", [good, failed, unknown], calls))
    assert "def finish(self):" in text
    assert "def go(self):" not in text


def test_the_next_job_may_wait_for_the_result_of_one_that_has_failed(tmp_path):
    ends = {"009ABC": b"<yes/>\0<end rc='0'/>\0", "009XYZ": b"<yes/>\0<end rc='1'/>\0"}
    calls = [call("009ABC", "009ABC"), call("009XYZ", "009ABC", expected=1), call("009ABC")]
    said = [
        [part for job in each.jobs for part in (b"<go>%s</go>\0" % job.text.encode(), ends[job.text])] for each in calls
    ]
    text = explain(talk(tmp_path / "talk", said, calls))
    assert "A10 settled, not as assumed: each job in a message of its own" in text
    assert "order = planta.AFTER_RESULT" in text


def test_whether_the_call_waits_may_be_said_with_the_jobs(tmp_path):
    calls = [call("009ABC"), call("009XYZ"), call("009ABC", timeout=0)]
    said = [
        [f'<go stay="{1 if each.timeout else 0}"><job>{each.jobs[0].text}</job></go>\0'.encode(), b"<yes/>\0"]
        for each in calls
    ]
    text = explain(talk(tmp_path / "talk", said, calls))
    assert "stay='1' if self.call.waits else '0'" in text


def test_what_came_when_the_client_had_left_is_counted_and_long_values_are_called_so(tmp_path):
    early: list[bytes | None] = [b"<go>009ABC</go>\0", b"<yes/>\0", END, b"<end/>\0"]
    code = b"<go>%s</go>\0" % (b"x" * 100)
    others = ([each, b"<yes/>\0"] for each in (code, code.replace(b"x", b"y")))
    text = explain(talk(tmp_path / "talk", [early, *others], [call("009ABC", timeout=0)]))
    assert "server: 3 messages, without 1 that came when the client had left, or are no XML" in text
    assert "text many or long values" in text


def test_an_encoding_that_nothing_bears_out_is_not_certain(tmp_path):
    code = Job(PY_CODE, "\u00e4\u00f6")
    calls = [RecordedCall("letters", OSUSER, None, "jdoe", (code,), -1, True, 0, 0)]
    data = "<run><code>\u00e4\u00f6</code></run>".encode("iso-8859-15")
    text = explain(talk(tmp_path / "talk", [[data, b"<ok/>"]], calls))
    assert "client: windows-1252: NOT CERTAIN: not declared; windows-1252, iso-8859-15, iso-8859-1 are possible" in text


def test_the_letters_of_a_call_tell_an_encoding_that_is_not_declared(tmp_path):
    code = Job(PY_CODE, "\u00e4\u20ac")
    calls = [RecordedCall("letters", OSUSER, None, "jdoe", (code,), -1, True, 0, 0)]
    data = "<run><code>\u00e4\u20ac</code></run>".encode("iso-8859-15")
    text = explain(talk(tmp_path / "talk", [[data, b"<ok/>"]], calls))
    assert "client: iso-8859-15: not declared; the call's own letters came in it 1 times" in text


def test_a_declaration_that_does_not_hold_is_said(tmp_path):
    data = '<?xml version="1.0" encoding="UTF-8"?><a>\u00e4</a>'.encode("windows-1252")
    text = explain(talk(tmp_path / "talk", [[data, b"<ok/>"]]))
    assert "client: UTF-8: NOT CERTAIN: declared, but 1 messages are not written in it" in text


def test_a_silence_once_is_no_keep_alive(tmp_path):
    said: list[bytes | float] = [b"<a/>", b"<b/>", b"", 60.0, b"<ping/>", b"", 7.0, b"<c/>"]
    assert "A16 open: nothing came again and again in 60 s of silence" in explain(talk(tmp_path / "talk", [said]))


# What cannot be explained


def test_what_fits_no_framing_is_said_with_the_place(tmp_path):
    text = explain(talk(tmp_path / "talk", [[b"<a/>\0<b/>\0", b"<c/>"], [b"<a/>\0<b/>;<c/>\0", b"<c/>"]]))
    assert "client: tried" in text
    assert "none fits" in text
    assert "the best of them fails at 0001: message 2" in text


def test_bytes_of_tls_are_called_so(tmp_path):
    hello = b"\x16\x03\x01\x02\x00\x01\x00" + bytes(range(200))
    assert "These are bytes of TLS" in explain(talk(tmp_path / "talk", [[hello, hello]]))


@pytest.mark.parametrize(
    "data",
    [
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b"<a" * 20_000,
        b"<a>" * 300 + b"</a>" * 300,
        bytes(range(256)) * 20,
        b"\xff\xfe" * 500,
        b"{'json': true}\n" * 20,
    ],
)
def test_hostile_bytes_are_no_messages(data, tmp_path):
    text = explain(talk(tmp_path / "talk", [[data, data], [data]]))
    assert text.count("none fits") == 2, text


def test_what_unpacks_to_very_much_ends(tmp_path):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = packer.compress(b"<a>" + b" " * 20_000_000 + b"</a>") + packer.flush(zlib.Z_SYNC_FLUSH)
    assert "none fits" in explain(talk(tmp_path / "talk", [[bomb, b"<a/>"]]))


def test_names_and_values_cannot_harm_a_terminal(tmp_path):
    evil = "\u202e\x9b31m\u2028".encode()
    said = [b"<a b='" + evil + b"'>" + evil + b"</a>", b"<c d='" + evil + b"'/>"]
    text = explain(talk(tmp_path / "talk", [said, said]))
    assert [each for each in text if not (each.isprintable() or each == "\n")] == []


def test_many_different_elements_are_no_trouble(tmp_path):
    many = b"<a>" + b"".join(b"<e%d f%d='1'/>" % (number, number) for number in range(9000)) + b"</a>"
    deep = b"<d>" * 100 + b"</d>" * 100
    text = explain(talk(tmp_path / "talk", [[many, deep, many, deep]]))
    assert "more places" in text
    assert "client: 2 of 2 messages pass" in text
    assert "server: 2 of 2 messages pass" in text


def test_namespaces_make_a_schema_that_each_message_passes(tmp_path):
    one = b'<a xmlns="urn:a" xmlns:b="urn:b" b:c="1" d="2"><b:e/><f xmlns=""/><g><h/></g></a>'
    other = b"<plain x:y='1' xmlns:x='urn:x'><x:z>text</x:z>tail</plain>"
    text = explain(talk(tmp_path / "talk", [[one, other, one, one], [other, one]]))
    assert "client: 3 of 3 messages pass" in text
    assert "server: 3 of 3 messages pass" in text


# Files


def test_a_file_that_exists_is_not_overwritten(tmp_path):
    folder = talk(tmp_path / "talk", [[b"<a/>", b"<b/>"]])
    site = tmp_path / "site.py"
    site.write_text("mine")
    done = headless("protocol", "explain", str(folder.path), "--write", str(site))
    assert (done.returncode, done.stdout) == (2, "")
    assert "exists, and is not overwritten" in done.stderr
    assert site.read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (("talk", "--write", "no/such/site.py"), 2, "there is no folder no/such"),
        (("empty",), 2, "there are no recordings in"),
        (("talk", "-p", "no-such-file"), 2, "does not exist"),
        ((), 2, "the following arguments are required: DIR"),
        (("broken",), 1, "calls.jsonl, line 1"),
        (("lost",), 1, "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_one_line(options, code, text, tmp_path):
    talk(tmp_path / "talk", [[b"<a/>", b"<b/>"]])
    (tmp_path / "empty").mkdir()
    (talk(tmp_path / "broken", []).path / CALLS).write_text("{}\n{}\n")
    (talk(tmp_path / "lost", [[b"<a/>"]]).path / "0000.talk").unlink()
    done = headless("protocol", "explain", *options, folder=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert text in done.stderr
    assert done.stderr.count("\n") == 1 or "usage:" in done.stderr


def test_a_header_of_http_that_says_who_somebody_is_is_not_written(tmp_path):
    def request(body: bytes) -> bytes:
        head = b"POST /a HTTP/1.1\r\nHost: b\r\nAuthorization: Basic cjQxOnNlY3JldA==\r\nCookie: id=12345\r\n"
        return head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)

    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n<b/>"
    folder = talk(tmp_path / "talk", [[request(b"<a/>"), answer, request(b"<aa/>"), answer]] * 2)
    done = headless("protocol", "explain", str(folder.path), "--write", str(tmp_path / "site.py"))
    for text in (done.stdout, (tmp_path / "site.py").read_text()):
        assert "Host: b" in text
        assert "cjQx" not in text
        assert "12345" not in text


def test_a_static_proof_is_not_shown_whatever_its_name(tmp_path):
    digest = hashlib.sha1(b"secret").hexdigest()
    encoded = base64.b64encode(hashlib.sha1(b"secret").digest()).decode()
    said = [f"<in k='{digest}' l='{encoded}'/>".encode(), b"<ok/>", b"<run>009ABC</run>", b"<end/>"]
    folder = talk(tmp_path / "talk", [said, said])
    done = headless("protocol", "explain", str(folder.path), "--write", str(tmp_path / "site.py"))
    for text in (done.stdout, (tmp_path / "site.py").read_text()):
        assert digest not in text
        assert encoded not in text


def test_a_password_that_is_sent_as_it_is_is_not_shown_if_a_wrong_one_was_recorded(tmp_path):
    def said(password: str) -> list[bytes]:
        return [f"<in who='R41' k='{password}'/>".encode(), b"<ok/>"]

    wrong = RecordedCall("wrong", "challenge", "R41", "", (Job(MODULE, "009ABC"),), -1, False, 2, 2)
    usual = RecordedCall("right", "challenge", "R41", "", (Job(MODULE, "009ABC"),), -1, True, 0, 0)
    folder = talk(tmp_path / "talk", [said("horse"), said("horse"), said("mule")], [usual, usual, wrong])
    done = headless("protocol", "explain", str(folder.path), "--write", str(tmp_path / "site.py"))
    for text in (done.stdout, (tmp_path / "site.py").read_text()):
        assert "horse" not in text
        assert "mule" not in text
