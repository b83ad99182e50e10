"""The whole surface of the data plane in one table: method and path, and who answers.

What is not in the table is a 404, whatever engines do. A path may have one parameter (``{id}``), which may hold
slashes, as the names of models do. HEAD is allowed wherever GET is (RFC 9110, section 9.3.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from urllib.parse import unquote

from gateway.api.dialects.completions import Completions, Plain
from gateway.api.dialects.messages import Messages
from gateway.api.dialects.responses import Responses
from gateway.api.dialects.stream_reader import Dialect
from gateway.api.dialects.transcriptions import Transcriptions
from gateway.api.local import batches, files, fine_tuning, health, metrics, models, uploads
from gateway.api.local.documentation import Documentation
from gateway.api.local.route import LocalRoute
from gateway.api.openapi.document import ServedRoute
from gateway.core.errors import MethodNotAllowed, UnknownUrl


@dataclass(frozen=True, slots=True)
class EngineRoute:
    """An endpoint that engines answer: how it speaks, and what a model must be able to do for it (``None``: anything).

    ``multipart`` says that its body is a form and not JSON. ``streams`` says whether ``stream`` asks for events; where
    it does not, clients may send it all the same. ``model_optional`` says that a request without a model goes to the
    first that is able.
    """

    dialect: Dialect
    task: str | None
    multipart: bool = False
    streams: bool = True
    model_optional: bool = False


Route = EngineRoute | LocalRoute

_COMPLETIONS, _PLAIN, _MESSAGES, _RESPONSES = Completions(), Plain(), Messages(), Responses()
_TRANSCRIPTIONS = Transcriptions()


def served_routes() -> list[ServedRoute]:
    """Say what the description of the API needs to know of each route."""
    return [
        ServedRoute(method, path, guarded=True, form=route.multipart, streams=route.streams)
        if isinstance(route, EngineRoute)
        else ServedRoute(method, path, route.guarded, form=route.streamed is not None, streams=False)
        for (method, path), route in ROUTES.items()
    ]


def batch_endpoints() -> list[str]:
    """Give the endpoints that batches may ask: all that take and give JSON."""
    return [path for (_, path), route in ROUTES.items() if isinstance(route, EngineRoute) and not route.multipart]


ROUTES: Mapping[tuple[str, str], Route] = {
    ("POST", "/v1/chat/completions"): EngineRoute(_COMPLETIONS, "generate"),
    ("POST", "/v1/completions"): EngineRoute(_COMPLETIONS, "generate"),
    ("POST", "/v1/responses"): EngineRoute(_RESPONSES, "generate"),
    ("POST", "/v1/messages"): EngineRoute(_MESSAGES, "generate"),
    ("POST", "/v1/messages/count_tokens"): EngineRoute(_MESSAGES, "generate", streams=False),
    ("POST", "/v1/embeddings"): EngineRoute(_PLAIN, "embed", streams=False),
    ("POST", "/v1/moderations"): EngineRoute(_PLAIN, "moderate", streams=False, model_optional=True),
    ("POST", "/v1/suggest"): EngineRoute(_PLAIN, "suggest", streams=False),
    ("POST", "/classify"): EngineRoute(_PLAIN, "classify", streams=False),
    ("POST", "/score"): EngineRoute(_PLAIN, "score", streams=False),
    ("POST", "/v1/score"): EngineRoute(_PLAIN, "score", streams=False),
    ("POST", "/rerank"): EngineRoute(_PLAIN, "score", streams=False),
    ("POST", "/v1/rerank"): EngineRoute(_PLAIN, "score", streams=False),
    ("POST", "/v2/rerank"): EngineRoute(_PLAIN, "score", streams=False),
    ("POST", "/pooling"): EngineRoute(_PLAIN, "pooling", streams=False),
    ("POST", "/tokenize"): EngineRoute(_PLAIN, None, streams=False),
    ("POST", "/detokenize"): EngineRoute(_PLAIN, None, streams=False),
    ("POST", "/v1/audio/transcriptions"): EngineRoute(_TRANSCRIPTIONS, "transcribe", multipart=True),
    ("POST", "/v1/audio/translations"): EngineRoute(_TRANSCRIPTIONS, "transcribe", multipart=True),
    ("GET", "/v1/models"): LocalRoute(models.list_models),
    ("GET", "/v1/models/{id}"): LocalRoute(models.show_model),
    ("DELETE", "/v1/models/{id}"): LocalRoute(models.delete_model),
    ("POST", "/v1/fine_tuning/jobs"): LocalRoute(fine_tuning.create_job),
    ("GET", "/v1/fine_tuning/jobs"): LocalRoute(fine_tuning.list_jobs),
    ("GET", "/v1/fine_tuning/jobs/{id}"): LocalRoute(fine_tuning.show_job),
    ("POST", "/v1/fine_tuning/jobs/{id}/cancel"): LocalRoute(fine_tuning.cancel_job),
    ("POST", "/v1/fine_tuning/jobs/{id}/pause"): LocalRoute(fine_tuning.pause_job),
    ("POST", "/v1/fine_tuning/jobs/{id}/resume"): LocalRoute(fine_tuning.resume_job),
    ("GET", "/v1/fine_tuning/jobs/{id}/events"): LocalRoute(fine_tuning.list_events),
    ("GET", "/v1/fine_tuning/jobs/{id}/checkpoints"): LocalRoute(fine_tuning.list_checkpoints),
    ("POST", "/v1/files"): LocalRoute(files.create_file, streamed=files.body_limit),
    ("GET", "/v1/files"): LocalRoute(files.list_files),
    ("GET", "/v1/files/{id}"): LocalRoute(files.show_file),
    ("DELETE", "/v1/files/{id}"): LocalRoute(files.delete_file),
    ("GET", "/v1/files/{id}/content"): LocalRoute(files.download_file),
    ("POST", "/v1/uploads"): LocalRoute(uploads.create_upload),
    ("POST", "/v1/uploads/{id}/parts"): LocalRoute(uploads.add_part, streamed=uploads.body_limit),
    ("POST", "/v1/uploads/{id}/complete"): LocalRoute(uploads.complete_upload),
    ("POST", "/v1/uploads/{id}/cancel"): LocalRoute(uploads.cancel_upload),
    ("POST", "/v1/batches"): LocalRoute(partial(batches.create_batch, batch_endpoints)),
    ("GET", "/v1/batches"): LocalRoute(batches.list_batches),
    ("GET", "/v1/batches/{id}"): LocalRoute(batches.show_batch),
    ("POST", "/v1/batches/{id}/cancel"): LocalRoute(batches.cancel_batch),
    ("GET", "/health"): LocalRoute(health.health, guarded=False),
    ("GET", "/ping"): LocalRoute(health.health, guarded=False),
    ("POST", "/ping"): LocalRoute(health.health, guarded=False),
    ("GET", "/version"): LocalRoute(health.version, guarded=False),
    ("GET", "/metrics"): LocalRoute(metrics.expose),
    **Documentation(served_routes).routes,
}
"""Who answers what."""


@dataclass(frozen=True, slots=True)
class Match:
    """The row of a request: its route, its template (its name in metrics), and the value of its parameter."""

    route: Route
    template: str
    parameter: str = ""


class RouteTable:
    """Finds the row of a method and a path."""

    def __init__(self, routes: Mapping[tuple[str, str], Route]) -> None:
        self._exact: dict[bytes, dict[bytes, Match]] = {}
        # By what stands before the parameter, and then by what stands behind it: the longest comes first.
        self._around: dict[bytes, dict[bytes, dict[bytes, Match]]] = {}
        for (method, template), route in sorted(routes.items(), key=_length_behind_parameter, reverse=True):
            before, brace, rest = template.encode().partition(b"{")
            table = self._around.setdefault(before, {}) if brace else self._exact
            by_method = table.setdefault(rest.partition(b"}")[2] if brace else before, {})
            by_method[method.encode()] = Match(route, template)
            if method == "GET":
                by_method[b"HEAD"] = Match(route, template)

    def __repr__(self) -> str:
        with_parameter = sum(map(len, self._around.values()))
        return f"<RouteTable [{len(self._exact)} paths, {with_parameter} with a parameter]>"

    def find(self, method: bytes, path: bytes) -> Match:
        """Return the row of a request. Raises ``UnknownUrl``, with a hint, or ``MethodNotAllowed``."""
        by_method, parameter = self._by_method(path)
        if by_method is None:
            raise UnknownUrl(self._unknown(path))
        match = by_method.get(method)
        if match is None:
            template = next(iter(by_method.values())).template
            allow = ", ".join(each.decode() for each in sorted(by_method))
            raise MethodNotAllowed(f"{template} takes {allow} only.", allow=allow)
        return Match(match.route, match.template, parameter) if parameter else match

    def knows(self, path: bytes) -> bool:
        """Whether any method is allowed at a path."""
        return self._by_method(path)[0] is not None

    def template_of(self, path: bytes) -> str:
        """Return the name of a path in metrics, ``unknown`` where it is not in the table."""
        by_method, _ = self._by_method(path)
        return "unknown" if by_method is None else next(iter(by_method.values())).template

    def _by_method(self, path: bytes) -> tuple[dict[bytes, Match] | None, str]:
        exact = self._exact.get(path)
        if exact is not None:
            return exact, ""
        for before, by_rest in self._around.items():
            if not path.startswith(before):
                continue
            for behind, by_method in by_rest.items():
                if path.endswith(behind) and len(path) > len(before) + len(behind):
                    return by_method, unquote(path[len(before) : len(path) - len(behind)].decode("latin-1"))
        return None, ""

    def _unknown(self, path: bytes) -> str:
        """Say that there is no such path, and which one may have been meant."""
        shown = path[:200].decode("latin-1")
        for meant in (b"/v1" + path, path.removeprefix(b"/v1"), path.removesuffix(b"/v1")):
            if meant != path and self.knows(meant):
                cause = "misses" if meant.startswith(b"/v1" + path) else "doubles"
                return (
                    f"There is no {shown!r} here, but {meant.decode('latin-1')!r}: the base URL {cause} '/v1'; "
                    "OpenAI's SDKs want it as http://HOST:PORT/v1, Anthropic's as http://HOST:PORT."
                )
        return f"There is no {shown!r} here; /openapi.json lists the paths there are."


def _length_behind_parameter(row: tuple[tuple[str, str], Route]) -> int:
    return len(row[0][1].partition("}")[2])


TABLE = RouteTable(ROUTES)
