"""Asking once: what every strategy is compared with, and how a cap holds for a request that does not think."""

from aigrid.engines.base import GenerateRequest
from aigrid.thinking.base import Answer, Models
from aigrid.thinking.budget import Budget
from aigrid.thinking.search import Search


class Plain:
    """Takes the first answer."""

    name = "plain"
    most = 1

    async def run(self, request: GenerateRequest, budget: Budget, models: Models) -> Answer:
        """Return the one answer."""
        search = Search(self.name, request, budget, models)
        search.varied = False
        found = await search.one()
        return search.fallback() if found is None else search.answer(found, "it is the only one")
