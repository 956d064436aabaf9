"""How quick knowledge is: chunks into the index, and hybrid queries at 50,000 chunks."""

from aigrid.core.config import load
from aigrid.knowledge.embed import open_embedder
from benchmarks.common import arguments, report
from benchmarks.knowledge_index import CHUNKS, measure


def main() -> None:
    """Measure and report."""
    parser = arguments(__doc__)
    parser.add_argument("--chunks", type=int, default=CHUNKS, help="how many chunks to index")
    options = parser.parse_args()
    index = measure(open_embedder(load()), options.chunks)
    report({"index": index, "holds": index.pop("claims")}, options.json)


if __name__ == "__main__":
    main()
