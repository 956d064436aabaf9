"""A one-page brief of papers: what they claim, how, how sure, and where they meet; each statement with its page.

    python blueprints/paper-insights/run.py one.pdf two.pdf

Without a file it reads the example's papers. No model is asked, unless `--shorten` is given: then one says statements
in fewer words, where these bear out the quote. Exit code 1: a statement is not on the page that it names.
"""

import argparse
import contextlib
import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from insights.brief import check, write
from insights.condense import condense
from insights.evaluate import by_section, marked, misplaced, scores
from insights.find import statements
from insights.read import BadPaper, read
from insights.tools import PAPERS

from aigrid.client.model import add_options, chosen
from aigrid.core.errors import AigridError


def main() -> int:
    """Read, find, compare, write, check, print."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="*", help="PDF files, or folders of them (default: the example's)")
    parser.add_argument("--shorten", action="store_true", help="have a model say statements in fewer words")
    add_options(parser)
    parser.add_argument("--out", type=Path, help="write the brief there, too")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print all statements and the brief with its quotes, as JSON")
    how.add_argument(
        "--evaluate", action="store_true", help="compare with what a person marked in the example's papers"
    )
    options = parser.parse_args()
    files = [
        file for path in options.files or [PAPERS] for file in (sorted(path.glob("*.pdf")) if path.is_dir() else [path])
    ]
    try:
        papers = read(files)
        found = [one for paper in papers for one in statements(paper)]
        with contextlib.ExitStack() as stack:
            shorten = partial(condense, stack.enter_context(chosen(options))) if options.shorten else None
            brief = write(papers, found, shorten)
    except (BadPaper, AigridError) as error:
        print(f"paper-insights: {error}", file=sys.stderr)
        return 2
    wrong = check(brief, papers)
    if options.evaluate:
        wrong = misplaced(brief, papers, files)
        for paper, file in zip(papers, files, strict=True):
            gold = marked(file.parent.parent / "text" / f"{file.stem}.txt")
            plain = scores(paper, by_section(paper), gold)
            for kind, (right, mine, theirs) in scores(paper, found, gold).items():
                baseline = f"by its section alone {plain[kind][0]} of {plain[kind][1]}"
                print(f"{paper.file:20} {kind:7} {right} right of {mine} found; {theirs} marked; {baseline}")
        print(f"\nstatements in the brief: {len(brief.lines)}; not on the page they name: {len(wrong)}")
        if shorten is not None:
            print(f"said in fewer words by the model: {brief.offered} asked, {brief.taken} faithful")
    elif options.json:
        shown = {"statements": [asdict(one) for one in found], "brief": asdict(brief), "wrong": wrong}
        print(json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        print(brief.markdown, end="")
    if options.out is not None:
        options.out.write_text(brief.markdown)
    for each in wrong:
        print(f"paper-insights: {each}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
