"""Whether answers are honest: declined where the documents do not say, quoted only from what is there.

XQuAD's questions are asked of a library of its 240 paragraphs twice: with the paragraph they are about, and without
it, and only it. Every figure is out of fold: the model that decides has seen no question about the same article.
The same is done in small libraries of one article's five paragraphs, where everything is about the same thing, and
with questions that the whole corpus is not about.

Peers are a threshold on the similarity of the best chunk, one on BM25, and the chat model asked plainly to say "I
don't know". `--fit` writes the coefficients that the package ships; `--model` names the chat model.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from aigrid.core.config import Config
from aigrid.knowledge import abstain
from aigrid.knowledge.answer import citations_of
from aigrid.knowledge.cite import check
from aigrid.knowledge.embed import open_embedder
from benchmarks.common import arguments, log, report
from benchmarks.honesty_chat import chat_figures
from benchmarks.honesty_data import Case, Corpus, Remembering, Whole, corpus, cranfield, source_of, xquad
from benchmarks.honesty_fit import FIGURES, Examples, apart, balance, fit, out_of_fold, rates, trade_off

GOAL = 0.9
SKIPPED = 2
"""Every so many of Cranfield's queries is asked: each reads sentences that no other does, which takes time."""
COEFFICIENTS = Path(abstain.__file__).with_name("abstain.json")


@dataclass
class Asked:
    """What was measured about questions asked with (1) and without (0) the paragraph they are about."""

    figures: dict[str, list[dict[str, float]]] = field(default_factory=lambda: {name: [] for name in FIGURES})
    answers: list[float] = field(default_factory=list)
    articles: list[int] = field(default_factory=list)
    similarity: list[float] = field(default_factory=list)
    bm25: list[float] = field(default_factory=list)
    citations: int = 0
    valid: int = 0
    quoted: list[tuple[bool, bool]] = field(default_factory=list)
    """Of answerable questions: whether the first quote holds the answer, and whether any does."""

    def ask(self, where: Corpus, case: Case, without: int | None) -> None:
        """Ask one question."""
        left_out = () if without is None else (without,)
        hits = where.hits(case.question, *left_out)
        embedders = {"words": where.embedder, "vectors": Whole(where.embedder), "terms": None}
        for name, embedder in embedders.items():
            reading = where.read(case.question, hits, embedder, *left_out)
            self.figures[name].append(abstain.figures(reading))
            if name == "words":
                cited = citations_of(reading, where.plain.get)
                self.citations += len(cited)
                self.valid += sum(check(each, where.plain[each.source_id]) for each in cited)
                if without is None:
                    holds = [
                        each.source_id == source_of(case) and _covers(each.start, each.end, case) for each in cited
                    ]
                    self.quoted.append((bool(holds) and holds[0], any(holds)))
        self.answers.append(float(without is None))
        self.articles.append(case.article)
        near, words = where.scores(case.question, *left_out)
        self.similarity.append(near)
        self.bm25.append(words)


def _covers(start: int, end: int, case: Case) -> bool:
    return start <= case.start and case.start + len(case.answer) <= end


def by_paragraphs(texts: Sequence[str], cases: Sequence[Case], embedder: Remembering) -> Asked:
    """Ask everything of the whole corpus."""
    asked = Asked()
    with corpus(texts, embedder, range(len(texts))) as whole:
        for at, case in enumerate(cases):
            if at % 200 == 0:
                log(f"whole corpus: {at} of {len(cases)} questions")
            asked.ask(whole, case, None)
            asked.ask(whole, case, case.paragraph)
    return asked


def by_article(texts: Sequence[str], cases: Sequence[Case], embedder: Remembering) -> Asked:
    """Ask everything of a library of the question's own article."""
    asked = Asked()
    log("libraries of one article each")
    for article in sorted({case.article for case in cases}):
        own = [case for case in cases if case.article == article]
        with corpus(texts, embedder, sorted({case.paragraph for case in own})) as small:
            for case in own:
                asked.ask(small, case, None)
                asked.ask(small, case, case.paragraph)
    return asked


def measured(asked: Asked, train: Sequence[Asked], name: str) -> dict[str, Any]:
    """Return what a model comes to on questions, out of fold; it is fitted on all of `train`."""
    answers, articles = np.array(asked.answers), np.array(asked.articles)
    margins = out_of_fold(asked.figures[name], articles, together(train, name), FIGURES[name])
    half = np.random.default_rng(7).permutation(len(answers) // 2) % 2 == 0  # these with their paragraph
    chosen = np.array([2 * at + (0 if kept else 1) for at, kept in enumerate(half)])
    return {
        **rates(margins, answers, articles),
        "half_removed": rates(margins[chosen], answers[chosen], articles[chosen]),
        "trade_off": trade_off(margins, answers),
    }


def together(train: Sequence[Asked], name: str) -> Examples:
    """Return everything measured as examples for one model."""
    figures = [each for asked in train for each in asked.figures[name]]
    answers = np.concatenate([asked.answers for asked in train])
    return Examples(figures, answers, np.concatenate([asked.articles for asked in train]))


def threshold_peer(scores: Sequence[float], asked: Asked) -> dict[str, Any]:
    """Return what one threshold on one score comes to, set on other articles."""
    figures = [{"score": score} for score in scores]
    answers, articles = np.array(asked.answers), np.array(asked.articles)
    margins = out_of_fold(figures, articles, Examples(figures, answers, articles), ["score"])
    return {**rates(margins, answers, articles), "trade_off": trade_off(margins, answers)}


def elsewhere(texts: Sequence[str], cases: Sequence[Case], embedder: Remembering) -> dict[str, Any]:
    """Return how often questions are declined in a corpus that is not about them, and Cranfield's own with and without.

    Judged by the coefficients as shipped: no word of Cranfield was seen when they were fitted.
    """
    documents, queries, relevant = (part[::SKIPPED] if at else part for at, part in enumerate(cranfield()))
    log("other domains: Cranfield")
    with corpus(texts, embedder, range(len(texts))) as wrong:
        declined = [not _known(wrong, query, ()) for query in queries]
    with corpus(documents, embedder, range(len(documents))) as right:
        strangers = [not _known(right, case.question, ()) for case in cases[::12]]
        log("other domains: Cranfield's own queries")
        there = np.array([_score(right, query, ()) for query in queries])
        gone = np.array([_score(right, query, relevant[at]) for at, query in enumerate(queries)])
    scores, answers = np.r_[there, gone], np.r_[np.ones(len(there)), np.zeros(len(gone))]
    return {
        "cranfield_queries_asked_of_xquad_declined": round(float(np.mean(declined)), 4),
        "xquad_questions_asked_of_cranfield_declined": round(float(np.mean(strangers)), 4),
        "cranfield_relevant_removed": {
            "queries": len(queries),
            "answered": round(float((there >= 0).mean()), 4),
            "declined": round(float((gone < 0).mean()), 4),
            "auc": round(apart(scores, answers), 4),
            "best_balance": round(float((there >= balance(scores, answers)).mean()), 4),
        },
    }


def _score(where: Corpus, question: str, without: Sequence[int]) -> float:
    reading = where.read(question, where.hits(question, *without), where.embedder, *without)
    model = abstain.models()[abstain.model_for(reading)]
    return model.score(abstain.figures(reading)) - model.threshold if reading.passages() else -np.inf


def _known(where: Corpus, question: str, without: Sequence[int]) -> bool:
    return _score(where, question, without) >= 0


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--fit", action="store_true", help="write the coefficients that the package ships, and stop")
    parser.add_argument("--model", default="smollm2-135m-instruct", help="the chat model (default: %(default)s)")
    parser.add_argument("--chats", type=int, default=60, help="questions for the chat model (default: %(default)s)")
    chosen = parser.parse_args()
    embedder = Remembering(open_embedder(Config()))
    texts, cases = xquad()
    questions = [case.question for case in cases]
    embedder.embed(questions)  # all at once is quicker than one by one
    embedder.words(questions)
    train = [by_paragraphs(texts, cases, embedder), by_article(texts, cases, embedder)]
    whole, small = train
    if chosen.fit:
        fitted = {}
        for name, names in FIGURES.items():
            figures, answers, _ = together(train, name)
            fitted[name] = fit(np.array([[each[one] for one in names] for each in figures]), answers, names)
        COEFFICIENTS.write_bytes(msgspec.json.format(msgspec.json.encode(fitted), indent=1) + b"\n")
        log(f"wrote {COEFFICIENTS}")
        return
    models = {name: measured(whole, train, name) for name in FIGURES}
    others = elsewhere(texts, cases, embedder)
    chat = asyncio.run(chat_figures(chosen.model, chosen.chats, texts, cases, embedder))
    words = models["words"]
    first, any_of = (float(np.mean([pair[at] for pair in whole.quoted])) for at in (0, 1))
    result = {
        "benchmark": "honesty",
        "embedder": embedder.name,
        "questions": len(cases),
        "models": models,
        "one_article": measured(small, train, "words"),
        "other_domains": others,
        "citations": {"quoted": whole.citations + small.citations, "valid": whole.valid + small.valid},
        "quotes_with_the_answer": {"first": round(first, 4), "any_of_four": round(any_of, 4)},
        "peers": {
            "similarity_threshold": threshold_peer(whole.similarity, whole),
            "bm25_threshold": threshold_peer(whole.bm25, whole),
            "chat_model_told_to_say_so": chat.pop("peer"),
        },
        "chat": chat,
        "holds": {
            "at least 90 % of questions whose answer was removed are declined": words["declined"] >= GOAL,
            "at least 90 % of answerable questions are answered": words["answered"] >= GOAL,
            "100 % of cited spans exist in their source": whole.valid + small.valid
            == whole.citations + small.citations,
        },
    }
    report({**result, "grid": grid(result)}, chosen.json)


def grid(result: dict[str, Any]) -> dict[str, Any]:
    """Return the table for people: how many questions each way answers and declines rightly, in percent."""
    models, peers, chat = result["models"], result["peers"], result["chat"]["model"]
    found = {
        "aigrid, one library of all paragraphs": models["words"],
        "aigrid, a library for each article (five paragraphs)": result["one_article"],
        "aigrid with a server's embeddings (no vectors of words)": models["vectors"],
        "aigrid by terms alone (no embedder; Chinese, Japanese)": models["terms"],
        "peer: threshold on the best similarity": peers["similarity_threshold"],
        "peer: threshold on the best BM25 score": peers["bm25_threshold"],
        f"peer: {chat}, told to say so": peers["chat_model_told_to_say_so"],
        "aigrid on Cranfield, never fitted on": result["other_domains"]["cranfield_relevant_removed"],
    }
    rows = [
        [name, 100 * each["answered"], 100 * each["declined"], each.get("questions", each.get("queries"))]
        for name, each in found.items()
    ]
    return {"columns": ["answerable: answered, %", "answer removed: declined, %", "questions"], "rows": rows}


if __name__ == "__main__":
    main()
