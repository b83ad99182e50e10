"""The command line of the ONNX Runtime engine."""

from __future__ import annotations

import argparse
import asyncio
import errno
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop
from aiohttp import web

from engines.onnx.command_line import KEY_VARIABLE, add_options, options_in
from engines.onnx.errors import ModelError
from engines.onnx.http.server import MAX_BODY_BYTES, Server
from engines.onnx.model import golden
from engines.onnx.model.model import Model
from engines.onnx.model.moderation import Categories
from engines.onnx.model.tasks import TASKS
from engines.onnx.serving.batcher import Batcher, Observer
from engines.onnx.serving.metrics import Metrics
from engines.onnx.serving.repository import Recipe, Repository, resident_bytes

_DESCRIPTION = """\
Serve one small ONNX model over HTTP in vLLM's shapes: POST /classify, /v1/moderations, /v1/embeddings, /pooling, /score
and /rerank as its task allows, /tokenize and /detokenize, GET /v1/models, /health, /version and /metrics. The socket is
opened when the model has been loaded, checked and warmed up, so an answer from /health means that it is ready. SIGTERM
ends it: what runs is finished first.
"""

_EPILOG = """\
The folder holds model.onnx (with model.onnx_data, if its weights lie outside) and tokenizer.json. If they are there,
config.json (labels, problem_type, Matryoshka dimensions), tokenizer_config.json and sentence_bert_config.json (the
longest text), 1_Pooling/config.json and modules.json (how an embedding is made) are obeyed.

examples:
  python -m engines.onnx --model-name minilm --folder models/minilm --task embed --port 8001
  python -m engines.onnx --model-name prompt-guard --folder models/prompt-guard --task classify \\
      --labels benign,injection --max-length 256 --uds /run/headgate/prompt-guard-0.sock

  curl http://127.0.0.1:8001/v1/embeddings -H 'Content-Type: application/json' -d '{"input": ["Hello", "world"]}'

If HEADGATE_ENGINE_KEY is set in the environment, all but /health is answered only with
"Authorization: Bearer KEY", else 401.

exit codes: 0 after SIGTERM or SIGINT, 1 if the model or the address is unusable, 2 for a wrong command line.
"""


_BACKLOG = 4096
"""Connections that may wait to be accepted: a gateway opens one for each request under way, all at once in a rush."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until it is told to stop; gives the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.record_golden is None and options.uds is None and options.port is None:
        parser.error("one of the arguments --uds --port is required")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    # The threads are ours to count, and the tokenizers library would start as many again.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    start = time.monotonic()
    try:
        onnx = options_in(options)
        recipe = Recipe(
            options.folder,
            options.task,
            onnx.labels,
            onnx.max_length,
            onnx.output,
            Categories(onnx.moderation, onnx.moderation_threshold) if onnx.moderation else None,
            onnx.golden if options.record_golden is None else None,
            options.gpu,
            options.truncate,
        )
        before = resident_bytes()
        model = recipe.load(options.model_name)
        memory = max(0, resident_bytes() - before)
        if options.record_golden is not None:
            print(golden.as_toml(golden.record(model, *options.record_golden)))
            return 0
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(model, recipe, memory, options, start))
    except (ModelError, OSError, ValueError) as error:
        print(f"error: {options.model_name}: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(model: Model, recipe: Recipe, memory: int, options: argparse.Namespace, start: float) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    metrics = Metrics(model.name)

    def make_batcher(loaded: Model, observer: Observer) -> Batcher:
        return Batcher(
            loaded.compute,
            observer,
            threads=options.threads,
            rate=loaded.budget.rate,
            token_budget=loaded.budget.tokens,
            max_waiting_tokens=options.max_queue_tokens,
        )

    repository = Repository(metrics, make_batcher, options.repository)
    repository.put(model, recipe, memory=memory)
    server = Server(repository, metrics, threads=options.threads)
    runner = web.AppRunner(
        server.application(options.max_body_bytes, key=os.environ.get(KEY_VARIABLE, "")),
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=options.shutdown_timeout,
    )
    await runner.setup()
    try:
        site = _site(runner, options)
        await site.start()
        # Most of what is here now lives as long as the process; the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        print(
            f"{model.name}: ready on {site.name} after {time.monotonic() - start:.1f} s: {model.task!r}, "
            f"at most {model.tokenizer.max_length} tokens, {options.threads} threads, {model.budget}",
            flush=True,
        )
        await stop.wait()
    finally:
        await runner.cleanup()


def _site(runner: web.AppRunner, options: argparse.Namespace) -> web.BaseSite:
    if options.port is not None:
        return web.TCPSite(runner, options.host, options.port, backlog=_BACKLOG)
    _check_free(options.uds)
    return web.UnixSite(runner, options.uds, backlog=_BACKLOG)


def _check_free(path: Path) -> None:
    """Raise ``OSError`` if a process listens there. One that nobody listens to is replaced when the site starts."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return
    raise OSError(errno.EADDRINUSE, "another process listens on this socket", str(path))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m engines.onnx",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    cores = len(os.sched_getaffinity(0))
    add = parser.add_argument
    add("--model-name", required=True, metavar="NAME", help="what requests call the model")
    add("--folder", required=True, type=Path, metavar="DIR", help="where the model's files are")
    add("--task", required=True, choices=sorted(TASKS), help="what the model does")
    add(
        "--record-golden",
        nargs="+",
        metavar="TEXT",
        help="ask the model this text (a cross-encoder: two texts), write the answer for models.toml, and end",
    )
    address = parser.add_mutually_exclusive_group()
    address.add_argument("--uds", type=Path, metavar="PATH", help="listen on this Unix socket")
    address.add_argument("--port", type=int, metavar="N", help="listen on this port; 0 for a free one")
    add(
        "--host", default="127.0.0.1", help="the address of the port (default %(default)s); 0.0.0.0: all that there are"
    )
    add(
        "--repository",
        type=Path,
        metavar="DIR",
        help="where POST /v2/repository/models/NAME/load finds models, as NAME/VERSION/model.onnx "
        "(default: it can only load the model again from its own folder)",
    )
    add_options(parser)
    add("--truncate", action="store_true", help="cut texts that are too long, unless the request says otherwise")
    add("--gpu", action="store_true", help="run the graph on the first CUDA device that this process sees")
    add(
        "--threads",
        type=_positive,
        default=cores,
        metavar="N",
        help="batches at once (default: cores, here %(default)s)",
    )
    add(
        "--max-queue-tokens",
        type=_positive,
        default=65536,
        metavar="N",
        help="tokens that may wait; beyond, requests are answered 503 with retry-after (default %(default)s)",
    )
    add(
        "--max-body-bytes",
        type=_positive,
        default=MAX_BODY_BYTES,
        metavar="N",
        help="largest body of a request; beyond, 413 (default %(default)s)",
    )
    add(
        "--shutdown-timeout",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="how long running requests may take to finish after SIGTERM (default %(default)s)",
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
