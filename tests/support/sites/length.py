"""A site whose server is nearly as the defaults are: the end says how all jobs went."""

from headless.dialects import planta
from headless.dialects.vocabulary import BUSY, JOBS, LOGIN


class Dialect(planta.Dialect):
    settled = planta.ASSUMPTIONS
    accepted = "Cmd[@name='accepted']"
    ended = "Shutdown[@action='exit']"
    ok = "Shutdown[@code='0']"
    failed = "Shutdown[@code!='0']"
    refused = {LOGIN: "Login[@action='cancel']", JOBS: "Cmd[@name='refused']", BUSY: "Cmd[@name='busy']"}
