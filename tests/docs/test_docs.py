"""Documentation that is checked: commands exist, options parse, settings are real, links lead somewhere."""

import importlib.util
import re
import shlex

import pytest
from typer.main import get_command

from aigrid.cli.app import app
from aigrid.core.config import SECTIONS, TABLES, describe, load
from benchmarks import report
from tests.docs.pages import PAGES, ROOT, blocks, prose

_spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
generate = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generate)


def command_lines(text):
    """Every `aigrid …` command line in a shell block, options and all."""
    joined = text.replace("\\\n", " ")
    for line in joined.splitlines():
        line = re.sub(r"^sudo (-u \S+ )?", "", re.sub(r"\$\(.*\)", "X", line.strip()))
        words = shlex.split(line, comments=True)
        for cut in (">", "|", "&&", "&"):
            words = words[: words.index(cut)] if cut in words else words
        while words and "=" in words[0]:
            words = words[1:]
        if words and words[0].rpartition("/")[2] == "aigrid":
            yield words[1:]


def parse(words, complete):
    """Parse a command line as the program would; with `complete`, required options must be there too."""
    command, path = get_command(app), ["aigrid"]
    while words and getattr(command, "commands", None):
        assert words[0] in command.commands, f"no command `{' '.join([*path, words[0]])}`"
        command = command.commands[words[0]]
        path.append(words[0])
        words = words[1:]
    known = {option for param in command.params for option in [*param.opts, *param.secondary_opts]} | {
        "--help",
        "-h",
        "--version",
    }
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, f"`{' '.join(path)}` has no option {word}"
    if complete and "--help" not in words:
        assert not getattr(command, "commands", None), f"`{' '.join(path)}` is no whole command"
        command.make_context(" ".join(path), list(words))


@pytest.mark.parametrize("block", blocks("bash"), ids=lambda block: block.id)
def test_every_command_in_a_block_parses(block):
    for words in command_lines(block.text):
        parse(words, complete=True)


def test_every_command_in_the_text_exists(page):
    for code in re.findall(r"`(?:\.venv/bin/)?(aigrid [^`]+)`", prose(page)):
        if re.fullmatch(r"[a-z0-9 \-=A-Z./:_\"'?$]+", code) and "(" not in code:
            parse(shlex.split(code)[1:], complete=False)


def test_every_make_target_exists(page):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"\bmake ([a-z]+)\b(?=`|$|\s+#|\s*\n)", page.read_text(), re.MULTILINE):
        if f"`make {target}`" in page.read_text() or f"\nmake {target}" in page.read_text():
            assert target in targets, f"there is no `make {target}`"


@pytest.mark.parametrize("block", blocks("toml"), ids=lambda block: block.id)
def test_every_example_of_settings_is_valid(block, tmp_path):
    (tmp_path / "aigrid.toml").write_text(block.text)
    load(tmp_path / "aigrid.toml", {})


def test_every_setting_is_documented():
    text = (ROOT / "docs/reference/settings.md").read_text()
    for name, section in {**SECTIONS, **TABLES}.items():
        part = re.search(rf"^## `\[+{name}\]+`\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
        assert part, f"[{name}] is not documented"
        for key, _, _, said in describe(section):
            assert f"| `{key}` |" in part[1], f"{name}.{key} is not documented"
            assert said.replace("|", "\\|") in part[1]


def test_every_command_and_option_is_documented():
    text = (ROOT / "docs/reference/cli.md").read_text()
    pending = [(("aigrid",), get_command(app))]
    while pending:
        path, command = pending.pop()
        children = getattr(command, "commands", None)
        if children:
            pending += [((*path, name), child) for name, child in children.items()]
            continue
        part = re.search(rf"^## `{' '.join(path)}`\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
        assert part, f"`{' '.join(path)}` is not documented"
        for param in command.params:
            for option in param.opts if param.param_type_name == "option" and param.name != "help" else []:
                assert f"`{option}`" in part[1], f"{' '.join(path)} {option} is not documented"


def test_generated_parts_are_up_to_date(page):
    assert generate.fill(page.read_text()) == page.read_text(), "run `make docs`"


def test_tables_of_benchmarks_are_what_was_measured(page):
    assert report.rewrite(page.read_text(), report.results()) == page.read_text(), "run `make bench`"


def test_every_variable_that_is_named_exists(page):
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    settings = {
        f"AIGRID_{name}_{key}".upper() for name, section in SECTIONS.items() for key in section.__struct_fields__
    }
    for name in set(re.findall(r"\bAIGRID_[A-Z_]+[A-Z]\b", page.read_text())):
        assert name in settings or f'"{name}"' in source or name == "AIGRID_SECTION_KEY", f"nothing reads {name}"


def test_every_header_of_ours_is_documented():
    text = (ROOT / "docs/reference/api.md").read_text()
    source = "".join(path.read_text() for path in (ROOT / "src/aigrid/gateway").rglob("*.py"))
    headers = set(re.findall(r'b"(x-aigrid-[a-z-]+)"', source))
    assert headers
    for header in headers:
        assert f"`{header}`" in text, f"{header} is not documented"
    for header in set(re.findall(r"`(x-aigrid-[a-z-]+)`", text)):
        assert header in headers, f"{header} is documented but never sent"


def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            found = (page.parent / path).resolve() if path else page
            assert found.exists(), f"{target} does not exist"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", found.read_text(), re.MULTILINE)
                slugs = [re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings]
                assert anchor in slugs, f"{target} names no heading"


def test_every_page_can_be_reached_from_the_index():
    seen, pending = set(), [ROOT / "README.md"]
    while pending:
        at = pending.pop()
        if at in seen or at.suffix != ".md":
            continue
        seen.add(at)
        pending += [(at.parent / link).resolve() for link in re.findall(r"\]\(([^)#\s]+\.md)[^)]*\)", at.read_text())]
    assert set(PAGES) <= seen
