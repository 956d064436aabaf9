"""A folder of documents through this project, in a process of its own: a part of `knowledge_speed`.

Reads one JSON task from stdin and writes one JSON answer to stdout. The library is the one that `aigrid knowledge add`
fills, in a new `AIGRID_HOME`; times count from `began`, before this process was started.
"""

import json
import sys
import threading
import time
from typing import Any

from aigrid.core.config import load
from aigrid.knowledge.library import open_library


def main() -> None:
    """Add `folder`; once all of it is found by its words, ask a question; with `embed`, go on until it is done."""
    task = json.load(sys.stdin)
    queries: list[str] = task["queries"]
    library = open_library(load())
    stop = threading.Event()
    answer: dict[str, Any] = {}

    def since() -> float:
        return time.monotonic() - task["began"]

    def told(done: int, total: int, what: str) -> None:
        if done >= total and "first_answer_s" not in answer:
            answer["read_s"] = since()
            if not library.search(queries[0]):
                raise AssertionError("nothing is found once all is read")
            answer["first_answer_s"] = since()
            if not task["embed"]:
                stop.set()

    report = library.add([task["folder"]], progress=told, stop=stop)
    answer |= {"chunks": report.chunks, "documents": report.added, "skipped": len(report.skipped)}
    if task["embed"]:
        library.search(queries[0])
        answer["embedded_answer_s"] = since()
        if library.stats().waiting:
            raise AssertionError("something is not embedded")
        took = []
        for query in queries:
            began = time.monotonic()
            library.search(query)
            took.append((time.monotonic() - began) * 1000)
        answer["query_ms"] = took
    library.close()
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
