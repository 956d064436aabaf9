"""Which engine answers: by model, in order, the healthy ones first; those whose promise is used up come later."""

from collections.abc import Sequence

import msgspec

from aigrid.core.clock import SECOND, mono_ns
from aigrid.core.errors import NotFound, Unavailable
from aigrid.engines.base import Engine, ModelInfo

COOL_DOWN_NS = 10 * SECOND
"""How long an engine that failed goes to the end of the line."""


class Route(msgspec.Struct):
    """The engines that can serve a model, best first, and how many tries they have together."""

    model: ModelInfo
    engines: list[Engine]
    tries: int


class Router:
    """Finds engines for models and remembers who failed lately."""

    def __init__(self, engines: Sequence[Engine], retries: dict[str, int]) -> None:
        self.engines = list(engines)
        self._retries = retries
        self._failed_ns: dict[str, int] = {}

    def models(self) -> list[ModelInfo]:
        """Return every model that some engine serves, each once."""
        seen: dict[str, ModelInfo] = {}
        for engine in self.engines:
            for model in engine.models():
                seen.setdefault(model.id, model)
        return list(seen.values())

    def route(self, model_id: str) -> Route:
        """Return the route for a model; raises `NotFound` that names the models there are."""
        found: ModelInfo | None = None
        engines: list[Engine] = []
        for engine in self.engines:
            for model in engine.models():
                if model.id == model_id:
                    found = found or model
                    engines.append(engine)
        if found is None:
            self._refuse(model_id)
        if len(engines) > 1:
            now = mono_ns()
            engines.sort(key=lambda engine: (self._cools(engine, now), engine.load().spent))
        retries = max(self._retries.get(engine.name, 0) for engine in engines)
        assert found is not None
        return Route(found, engines, max(len(engines), 1 + retries))

    def _cools(self, engine: Engine, now: int) -> bool:
        return now - self._failed_ns.get(engine.name, now - SECOND * 3600) < COOL_DOWN_NS

    def works(self, model_id: str) -> bool:
        """Return whether some engine serves a model now: it names it, is not down, and has not failed just now."""
        now = mono_ns()
        return any(
            engine.load().state != "down" and not self._cools(engine, now)
            for engine in self.engines
            if any(model.id == model_id for model in engine.models())
        )

    def _refuse(self, model_id: str) -> None:
        known = sorted(model.id for model in self.models())
        down = [engine.name for engine in self.engines if engine.load().state != "ready"]
        if down and not known:
            raise Unavailable(f"no model is loaded yet ({', '.join(down)} not ready); try again soon", retry_after=2)
        listed = ", ".join(known[:20]) or "none"
        raise NotFound(
            f"the model '{model_id}' does not exist here; models: {listed}", param="model", code="model_not_found"
        )

    def failed(self, engine: Engine) -> None:
        """Remember that an engine failed just now."""
        self._failed_ns[engine.name] = mono_ns()
