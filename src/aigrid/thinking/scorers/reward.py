"""A reward model behind an OpenAI-compatible server: `POST /v1/score`, as vLLM serves classifiers and reward models."""

from urllib.parse import urlsplit

import msgspec

from aigrid.core.errors import UpstreamError
from aigrid.engines.http import HttpClient
from aigrid.thinking.base import Candidate
from aigrid.thinking.search import Search, question_of


class _Score(msgspec.Struct):
    score: float


class _Scores(msgspec.Struct):
    data: list[_Score]


class Reward:
    """Asks the server for the score of (question, answer). Scores count as they are: higher is better."""

    name, exact, logprobs, calls = "reward", False, False, 0

    def __init__(self, url: str, model: str = "", key: str = "", timeout_s: float = 30.0) -> None:
        base = url.rstrip("/")
        base = base if urlsplit(base).path else f"{base}/v1"
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self.model = model
        self._timeout = timeout_s
        self._client = HttpClient("reward", base, headers=headers, connect_timeout=5.0, timeout=timeout_s)

    async def score(self, search: Search, candidate: Candidate) -> tuple[float, str]:
        """Return the server's score; raises `UpstreamError` where it gives none."""
        body = {"model": self.model, "text_1": question_of(search.request), "text_2": candidate.text}
        async with await self._client.request("POST", "/score", msgspec.json.encode(body)) as connection:
            data = await connection.read_all(self._timeout)
            if connection.status != 200:
                raise UpstreamError(f"the reward model answered with HTTP status {connection.status}")
        try:
            return msgspec.json.decode(data, type=_Scores).data[0].score, ""
        except (msgspec.DecodeError, IndexError) as error:
            raise UpstreamError(f"the reward model sent no score: {error}") from None
