"""``headgate models``: fetches and converts model files ahead of time."""

from __future__ import annotations

import argparse
from time import monotonic

from gateway.cli.command import FAILED, Commands, add_command, add_config

_EPILOG = """\
exit code: 0 if all files are there that can be fetched ahead, 1 if some cannot be had, 2 for a wrong configuration.

example:
  headgate models --config models.toml
"""


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "models",
        _run,
        summary="fetch and convert model files ahead of time",
        description="Bring the files of every model into the cache, so that `headgate serve` finds them there. What a "
        "hub has, vLLM fetches by itself when it starts for the first time.",
        epilog=_EPILOG,
    )
    add_config(parser)


def _run(options: argparse.Namespace) -> int:
    from engines.errors import EngineError
    from engines.launchers import LAUNCHERS
    from engines.processes.gpus import available
    from engines.spec import HubSource
    from gateway.config.load import load
    from gateway.fleet.engine_specs import cache_of, specs_of

    config = load(options.config)
    began = monotonic()
    failed = False
    for spec in specs_of(config, len(available())):

        def tell(step: str, model: str = spec.model) -> None:
            print(f"[{monotonic() - began:6.1f} s] {model}: {step}", flush=True)

        try:
            files = LAUNCHERS[spec.engine].prepare(spec, cache_of(config), tell)
            # Its name stands in the place of a folder there.
            from_hub = isinstance(spec.source, HubSource)
            tell(f"{files} is fetched by vLLM when it starts" if from_hub else f"ready in {files}")
        except EngineError as error:
            tell(f"failed: {error}")
            failed = True
    return FAILED if failed else 0
