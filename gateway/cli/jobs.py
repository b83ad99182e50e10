"""``headgate jobs``: lists fine-tuning jobs, and pauses, resumes, cancels and follows them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from gateway.cli.api_client import KEY, URL, ApiClient, ApiError
from gateway.cli.command import FAILED, Commands, add_command
from gateway.cli.tune import follow

_EPILOG = f"""\
A key, where the gateway wants one, is taken from {KEY}.

examples:
  headgate jobs
  headgate jobs follow ftjob-1f0c2a9b
  headgate jobs cancel ftjob-1f0c2a9b
"""


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "jobs",
        _run,
        summary="list, follow, pause, resume and cancel fine-tuning jobs",
        description="Ask a running gateway for its fine-tuning jobs, or to change one.",
        epilog=_EPILOG,
    )
    parser.add_argument("action", nargs="?", default="list", choices=("list", "follow", "pause", "resume", "cancel"))
    parser.add_argument("job", nargs="?", metavar="JOB", help="the job, but for a list")
    parser.add_argument("--url", default=URL, metavar="URL", help="the gateway (default: %(default)s)")


def _run(options: argparse.Namespace) -> int:
    api = ApiClient(options.url)
    if (options.job is None) != (options.action == "list"):
        action = "follow" if options.action == "list" else options.action
        print(f"headgate: expected 'headgate jobs', or 'headgate jobs {action} JOB'.", file=sys.stderr)
        return FAILED
    try:
        if options.action == "list":
            print(listing(api.get("/v1/fine_tuning/jobs?limit=100")["data"]))
            return 0
        if options.action == "follow":
            return follow(api, options.job, sys.stdout)
        job = api.post(f"/v1/fine_tuning/jobs/{quote(options.job, safe='')}/{options.action}")
    except KeyboardInterrupt:
        print("\nThe job goes on.")
        return FAILED
    except ApiError as error:
        print(f"headgate: {error}", file=sys.stderr)
        return FAILED
    print(line_of(job))
    return 0


def listing(jobs: Sequence[Mapping[str, Any]]) -> str:
    """Return a line for each job, or one that says that there is none."""
    return "\n".join(map(line_of, jobs)) or "There is no fine-tuning job."


def line_of(job: Mapping[str, Any]) -> str:
    """Write a job on one line."""
    made = datetime.fromtimestamp(job["created_at"]).astimezone().isoformat(" ", "minutes")[:16]
    error = (job.get("error") or {}).get("message", "").partition("\n")[0]
    return f"{job['id']}  {made}  {job['status']:<16}  {job['model']}  {job['fine_tuned_model'] or error}".rstrip()
