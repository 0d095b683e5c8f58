"""Returns whether a library is missing, and how it is installed here."""

from __future__ import annotations

import errno
import os
import sys

from headless.system import FINAL, is_final

_RUNTIME = ("bcrypt", "lxml")
_ADMIN = ("croniter", "mslex", "tree_sitter", "tree_sitter_bash", "jinja2")  # modules of the extra [admin]
_DEBIAN = "/etc/debian_version"


def library_of(module: str, path: str) -> str:
    """Returns the module of the library that the module with this name and path belongs to, "" for what is none of
    ours. A part in C that cannot be loaded has a name of its own: `etree`."""
    places = (module, *os.path.normpath(path).split(os.sep))
    return next((library for library in (*_RUNTIME, *_ADMIN) if library in places), "")


def how_to_install(module: str) -> str:
    """Returns the command that installs the library of this module, and the others that belong to it. It changes no
    Python that others use, also if root types it."""
    this = f'"{sys.executable}"' if " " in sys.executable else sys.executable
    packages = " ".join(_RUNTIME if module in _RUNTIME else (*_RUNTIME, *(name.replace("_", "-") for name in _ADMIN)))
    is_root = os.name != "nt" and os.geteuid() == 0
    if (sys.prefix != sys.base_prefix or not (is_root or _is_managed())) and _has_pip():
        return f"{this} -m pip install --force-reinstall {packages}"
    if module in _RUNTIME and sys.prefix == "/usr" and os.path.exists(_DEBIAN):
        return f"apt install python3-{module}"
    python = os.path.join(".venv", "Scripts", "python") if os.name == "nt" else ".venv/bin/python"
    return f"{this} -m venv .venv && {python} -m pip install {packages} (and start this with {python} from now on)"


def _is_managed() -> bool:
    """Returns whether the operating system keeps this Python to itself (PEP 668)."""
    import sysconfig

    return os.path.exists(os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED"))


def _has_pip() -> bool:
    from importlib.util import find_spec

    return find_spec("pip") is not None


def is_missing(error: ImportError) -> bool:
    """Returns whether only a person can bring the module. Else the system could not read or load what is there."""
    if isinstance(error, ModuleNotFoundError):  # as importlib says also where it cannot look
        return not _is_there(str(error.name))
    name = str(error).partition("cannot import name '")[2].partition("'")[0]
    if name:  # a module of a package, say
        return not _is_out_of_reach(f"{error.name}.{name}")
    # Of the reason of the dynamic loader there is nothing but the text (dlerror(3)).
    passing = {os.strerror(number) for number in errno.errorcode if number not in FINAL}
    return not str(error).endswith(tuple(passing))


def _is_there(module: str) -> bool:
    from importlib.util import find_spec

    try:
        sys.path_importer_cache.clear()  # of folders that could not be listed
        return find_spec(module) is not None or _is_out_of_reach(module)
    except (ImportError, ValueError):  # the package that it belongs to is not there
        return False
    except OSError as error:
        return not is_final(error)


def _is_out_of_reach(module: str) -> bool:
    """Returns whether there may be a file for it that cannot be looked at now, which importlib takes for none."""
    from importlib.machinery import all_suffixes

    package, _, name = module.rpartition(".")
    folders = getattr(sys.modules.get(package), "__path__", ()) if package else sys.path
    for path in (os.path.join(folder, name + suffix) for folder in folders for suffix in ("", *all_suffixes())):
        try:
            os.stat(path)
        except OSError as error:
            if not is_final(error):
                return True
        except ValueError:  # a NUL
            pass
    return False


def describe_missing(error: ImportError) -> str:
    """Returns one sentence: what is missing, and what to do."""
    package = str(error.name).partition(".")[0]
    if package == "headless":
        return f"the folder 'headless', which must stand beside the script, is not whole ({error})"
    library = library_of(package, error.path or "")
    if not library:  # a stranger may have given this name to a package of his
        return f"this Python has no module {package} ({error}): use one that has it"
    return f"the library {library} cannot be loaded ({error}); install it with: {how_to_install(library)}"
