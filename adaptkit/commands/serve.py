"""`adaptkit serve`: a folder of adapters as an HTTP service."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptkit.adapters.card import CONFIG
from adaptkit.adapters.store import Store
from adaptkit.commands.answer_arguments import positive
from adaptkit.errors import AdaptkitError
from adaptkit.serve.settings import ServeSettings
from adaptkit.serve.sockets import listen
from adaptkit.utils.atomic_files import exists_in
from adaptkit.utils.terminal import say

if TYPE_CHECKING:
    from adaptkit.monitoring.log import LogWriter

HELP = "serve a folder of adapters over HTTP"
DESCRIPTION = f"""{HELP}: OpenAI's, TEI's and vLLM's routes, an interactive /docs, /metrics.
`model` in a request names the adapter. Keys come from files or the environment
(ADAPTKIT_API_KEYS, separated by commas; ADAPTKIT_ADMIN_KEY), never from the command line."""
COUNTS = (
    ("slots", 32, "adapters in memory at once"),
    ("max_rows", 32, "rows of a batch"),
    ("max_queue", 1024, "rows that may wait"),
    ("max_client_batch_size", 256, "rows of a request"),
    ("max_new_tokens", 1024, "tokens that are written for a row"),
)
DTYPES = ("float32", "bfloat16", "float16")
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="holds a folder for each adapter")
    parser.add_argument("--base", help="the base (default: the one that the cards name)")
    parser.add_argument("--adapters", nargs="+", help="serve these only (default: all)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port (%(default)s); 0: a free one")
    for name, default, text in COUNTS:
        words = f"{text} (%(default)s)"
        parser.add_argument(f"--{name}", type=positive, default=default, help=words)
    parser.add_argument("--dtype", choices=DTYPES, help="the base's numbers (default: as stored)")
    parser.add_argument(
        "--compute",
        choices=("float32", "bfloat16", "int8", "auto"),
        help="in which the base computes on a CPU; auto: float32 or bfloat16, by measurement",
    )
    parser.add_argument("--quantize", help="int8 or nf4: a smaller base")
    parser.add_argument(
        "--no_capture",
        action="store_true",
        help="read by the base's own modules (default: captured, which is faster, on a CPU)",
    )
    parser.add_argument(
        "--deadline", type=float, default=60.0, help="seconds for a request (%(default)s)"
    )
    parser.add_argument(
        "--allowed_hosts",
        nargs="+",
        help="names by which it is asked (default: this machine's, if it listens to it alone)",
    )
    parser.add_argument(
        "--log", help="folder for answers and feedback, in daily parquet files (default: no log)"
    )
    parser.add_argument(
        "--log_texts",
        choices=("hashed", "plain"),
        help="with --log: texts as digests, or as they are, to learn from (default: hashed)",
    )
    parser.add_argument("--ray", action="store_true", help="spread over processes with Ray Serve")
    parser.add_argument(
        "--replicas", type=positive, help="with --ray: hosts, each with a base of its own (1)"
    )
    parser.add_argument(
        "--max_replicas", type=positive, help="with --ray: hosts when many rows wait (--replicas)"
    )
    parser.add_argument("--api_keys_file", help="a key a line; requests need one of them")
    parser.add_argument("--admin_key_file", help="the key that loads and unloads adapters")
    parser.add_argument(
        "--adapter_folders",
        nargs="+",
        help="what an administrator loads lies below one of these (default: the folder itself)",
    )


def run(given: argparse.Namespace) -> None:
    """Serve until a signal comes.

    Raises:
        AdaptkitError: there are no adapters, a key is too short, or the address is taken.
    """
    _check_folder(given)
    settings = ServeSettings(
        api_keys=tuple(_keys(given.api_keys_file, "ADAPTKIT_API_KEYS")),
        admin_key=next(iter(_keys(given.admin_key_file, "ADAPTKIT_ADMIN_KEY")), None),
        adapter_folders=tuple(map(Path, given.adapter_folders or [given.folder])),
        max_client_batch_size=given.max_client_batch_size,
        max_new_tokens=given.max_new_tokens,
        deadline=given.deadline,
        allowed_hosts=tuple(given.allowed_hosts or _own_names(given)),
    )
    if given.host not in LOOPBACK and not settings.api_keys:
        say(f"warning: whoever reaches {given.host} may ask: --api_keys_file names who may.")
    if given.ray:
        _run_cluster(given, settings)
        return
    if given.replicas or given.max_replicas:
        raise AdaptkitError("--replicas and --max_replicas go with --ray.")
    log = _log(given)
    socket = listen(given.host, given.port)
    try:
        from adaptkit.serve.server import run_server
    except ImportError as problem:
        raise AdaptkitError(
            f"serving needs {problem.name}: pip install 'adaptkit[serve]'."
        ) from None
    from adaptkit.host.api import Host

    host = Host.from_store(given.folder, **_host_options(given))
    _say_what_is_served(given, len(host.names()), host.base.name)
    if given.compute is not None:
        dtype = str(host.backbone.dtype).removeprefix("torch.")
        say(f"it computes in {'int8' if host.backbone.int8 else dtype}")
    run_server(host, settings, socket, _say_where, log)


def _say_what_is_served(given: argparse.Namespace, count: int, base: str) -> None:
    say(f"{count} adapter{'s' * (count != 1)} over {Path(base).name}")
    if given.log is not None:
        hashed = "hashed, so adaptkit refresh learns nothing from feedback on them"
        kept = "plain" if given.log_texts == "plain" else hashed
        say(f"answers and feedback go to {given.log}, texts {kept}")


def _say_where(url: str) -> None:
    say(f"{url} (a page to try them; {url}/docs)")


def _host_options(given: argparse.Namespace) -> dict[str, Any]:
    """The options of `Host.from_store`."""
    names = ("base", "slots", "adapters", "max_rows", "max_queue", "dtype", "compute", "quantize")
    chosen = {name: getattr(given, name) for name in names if getattr(given, name) is not None}
    return chosen | {"capture": not given.no_capture}


def _run_cluster(given: argparse.Namespace, settings: ServeSettings) -> None:
    """Serve with Ray until a signal comes."""
    try:
        from adaptkit.serve.cluster.run import run_cluster
    except ImportError as problem:
        raise AdaptkitError(
            f"--ray needs {problem.name}: pip install 'adaptkit[serve,ray]'."
        ) from None
    from adaptkit.adapters.store import Store

    least = given.replicas or 1
    most = given.max_replicas or least
    if most < least:
        raise AdaptkitError(f"--max_replicas {most} is less than --replicas {least}.")
    _log(given)  # refused before Ray starts
    store = Store(given.folder, given.adapters)
    _say_what_is_served(given, len(store.names()), given.base or store.base())
    run_cluster(
        given.folder,
        _host_options(given),
        settings,
        (given.host, given.port),
        (least, most),
        (given.log and str(Path(given.log).absolute()), given.log_texts == "plain"),
        _say_where,
    )


def _log(given: argparse.Namespace) -> LogWriter | None:
    """The log that is asked for."""
    if given.log is None:
        if given.log_texts is not None:
            raise AdaptkitError("--log_texts goes with --log FOLDER.")
        return None
    from adaptkit.monitoring.log import LogWriter

    return LogWriter(given.log, given.log_texts == "plain")


def _own_names(given: argparse.Namespace) -> tuple[str, ...]:
    """By which names a service for this machine alone is asked; any other is a page's trick."""
    return ("localhost", "127.0.0.1", "[::1]") if given.host in LOOPBACK else ()


def _check_folder(given: argparse.Namespace) -> None:
    """Refuse what is no folder of adapters before anything is loaded."""
    folder = Path(given.folder)
    if exists_in(folder, CONFIG):
        raise AdaptkitError(
            f"{folder} is one adapter; a folder of adapters is served: adaptkit serve "
            f"{folder.absolute().parent} --adapters {folder.absolute().name}"
        )
    store = Store(folder, given.adapters)
    if not store.names():
        raise AdaptkitError(f"{folder} holds no adapter: each has a folder of its own in it.")
    if given.base is None:
        store.base()
    for allowed in given.adapter_folders or ():
        if not Path(allowed).is_dir():
            raise AdaptkitError(f"--adapter_folders: there is no folder {allowed}.")


def _keys(file: str | None, variable: str) -> list[str]:
    """Keys from a file, a line each, or from an environment variable."""
    if file is not None:
        try:
            lines = Path(file).read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as problem:
            raise AdaptkitError(f"{file} cannot be read as keys: {problem}") from None
        found = [line.strip() for line in lines if line.strip()]
        if not found:
            raise AdaptkitError(f"{file} holds no key.")
        return found
    return [key.strip() for key in os.environ.get(variable, "").split(",") if key.strip()]
