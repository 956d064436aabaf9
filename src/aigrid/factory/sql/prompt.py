"""What a model is asked and what it should write: a question with its values named, and SQL with the same names.

"what is the capital of texas" is shown as "what is the capital of state_name0": the model never has to copy a value,
and one lesson is good for all of them.
"""

from collections.abc import Sequence

from aigrid.factory.sql.database import Database
from aigrid.factory.sql.template import Template, is_slot
from aigrid.factory.sql.write import short, text, tokens

STOP = "\n"


class Names:
    """How slots are called: the column's name and a number, with the table's where two domains share the name."""

    def __init__(self, domains: Sequence[str]) -> None:
        short_names = [domain.rpartition(".")[2] for domain in domains]
        self._names = {
            domain: name if short_names.count(name) == 1 else domain.replace(".", "_")
            for domain, name in zip(domains, short_names, strict=True)
        }

    def slots(self, domains: Sequence[str]) -> list[str]:
        """Return the names of a question's slots, in order."""
        return [f"{self._names.get(domain, domain.replace('.', '_'))}{at}" for at, domain in enumerate(domains)]

    def question(self, words: Sequence[str]) -> str:
        """Return a question's words with names for its slots."""
        names = iter(self.slots([word[1:-1] for word in words if is_slot(word)]))
        return " ".join(next(names) if is_slot(word) else word for word in words)

    def sql(self, each: Template) -> str:
        """Return a template's SQL with names for its slots."""
        names = self.slots(each.slots)
        return text([names[int(token[1:-1])] if is_slot(token) else token for token in each.sql])

    def parse(self, said: str, words: Sequence[str]) -> Template | None:
        """Return what a model wrote for a question as a template; None where it is no SELECT."""
        line = said.strip().partition(STOP)[0].strip()
        if not line.lower().startswith("select"):
            return None
        domains = [word[1:-1] for word in words if is_slot(word)]
        places = {name: f"{{{at}}}" for at, name in enumerate(self.slots(domains))}
        written = [places.get(token, token) for token in tokens(short(line))]
        used = sorted({int(token[1:-1]) for token in written if is_slot(token)})
        back = {f"{{{at}}}": f"{{{new}}}" for new, at in enumerate(used)}
        return Template("model", tuple(words), tuple(back.get(token, token) for token in written),
                        tuple(domains[at] for at in used))  # fmt: skip


def prompt(words: Sequence[str], neighbours: Sequence[Template], names: Names, schema: str = "") -> str:
    """Return what a model is asked: the schema (where given), some neighbours with their SQL, and the question."""
    shown = "".join(f"{names.question(each.words)}\n{names.sql(each)}\n" for each in neighbours)
    return f"{schema}{shown}{names.question(words)}\n"


def completion(each: Template, names: Names) -> str:
    """Return what the model should write."""
    return names.sql(each) + STOP


def schema(database: Database) -> str:
    """Return the tables in one line each."""
    return "".join(
        f"{table.lower()}({', '.join(column.name.lower() for column in columns)})\n"
        for table, columns in database.tables.items()
    )


def slot_names(templates: Sequence[Template]) -> Names:
    """Return the names for all slots of some templates."""
    return Names(sorted({domain for each in templates for domain in each.slots}))
