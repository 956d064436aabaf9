"""A second database with questions, made here: a publisher's, where Geography's tables, words and joins do not occur.

It is a check on the blueprint, not a benchmark of language: the questions are people's words only as far as its author
could think of several ways to say a thing. Keys are numbers and joins go over them. `python -m benchmarks.sql_library
FOLDER` writes `books.sqlite` and `books.json`, in the format of text2sql-data.
"""

import json
import random
import sqlite3
import sys
from pathlib import Path
from typing import Any

FIRST = (
    "anna boris clara david elena felix greta hugo irene jonas karin leon maria nils olga paul rosa simon tara viktor"
)
LAST = "abbott brandt castell dorn engel fischer grass hahn ibsen jansen keller lorenz moser novak otto palmer"
COUNTRIES = ["norway", "portugal", "japan", "chile", "canada", "ireland", "egypt", "poland"]
TOPICS = ["history", "cooking", "poetry", "travel", "science", "crime", "gardening"]
CITIES = ["oslo", "lisbon", "kyoto", "dublin", "krakow", "montreal"]
HOUSES = ["north light", "blue door", "old mill", "harbour press", "red lantern", "quiet hill"]
NOUNS = [
    "river",
    "stone",
    "garden",
    "winter",
    "mirror",
    "harbour",
    "letter",
    "shadow",
    "orchard",
    "bridge",
    "lantern",
    "island",
    "clock",
    "train",
    "window",
    "salt",
]
ADJECTIVES = ["silent", "broken", "golden", "distant", "hidden", "early", "restless", "narrow", "last", "paper"]

SHAPES: list[tuple[list[str], str]] = [
    (["who wrote {title}", "who is the author of {title}", "which author wrote {title}", "name the writer of {title}"],
     "SELECT a.name FROM author AS a, book AS b WHERE b.author_id = a.author_id AND b.title = \"{title}\""),
    (["which books did {author} write", "what books were written by {author}", "list the books by {author}",
      "show me all titles by {author}"],
     "SELECT b.title FROM author AS a, book AS b WHERE b.author_id = a.author_id AND a.name = \"{author}\""),
    (["how many books did {author} write", "how many titles are by {author}", "number of books by {author}"],
     "SELECT COUNT( b.book_id ) FROM author AS a, book AS b WHERE b.author_id = a.author_id AND a.name = \"{author}\""),
    (["how many pages does {title} have", "how long is {title}", "what is the number of pages of {title}"],
     "SELECT b.pages FROM book AS b WHERE b.title = \"{title}\""),
    (["what does {title} cost", "how much is {title}", "what is the price of {title}"],
     "SELECT b.price FROM book AS b WHERE b.title = \"{title}\""),
    (["when was {title} published", "in which year did {title} come out", "what is the year of {title}"],
     "SELECT b.year FROM book AS b WHERE b.title = \"{title}\""),
    (["which {topic} books are there", "list all {topic} books", "show me the books about {topic}"],
     "SELECT b.title FROM book AS b WHERE b.topic = \"{topic}\""),
    (["how many {topic} books are there", "number of books about {topic}", "how many books are about {topic}"],
     "SELECT COUNT( b.book_id ) FROM book AS b WHERE b.topic = \"{topic}\""),
    (["what is the longest book", "which book has the most pages", "what is the longest book of all"],
     "SELECT b.title FROM book AS b WHERE b.pages = ( SELECT MAX( c.pages ) FROM book AS c )"),
    (["what is the shortest book", "which book has the fewest pages", "what is the shortest book of all"],
     "SELECT b.title FROM book AS b WHERE b.pages = ( SELECT MIN( c.pages ) FROM book AS c )"),
    (["what is the longest {topic} book", "which {topic} book has the most pages", "the longest book about {topic}"],
     "SELECT b.title FROM book AS b WHERE b.topic = \"{topic}\" AND b.pages = ( SELECT MAX( c.pages ) FROM book AS c WHERE c.topic = \"{topic}\" )"),
    (["what is the cheapest {topic} book", "which {topic} book costs least", "the cheapest book about {topic}"],
     "SELECT b.title FROM book AS b WHERE b.topic = \"{topic}\" AND b.price = ( SELECT MIN( c.price ) FROM book AS c WHERE c.topic = \"{topic}\" )"),
    (["what is the cheapest book", "which book costs least", "what is the book with the lowest price"],
     "SELECT b.title FROM book AS b WHERE b.price = ( SELECT MIN( c.price ) FROM book AS c )"),
    (["which authors are from {country}", "list the writers from {country}", "who comes from {country}"],
     "SELECT a.name FROM author AS a WHERE a.country = \"{country}\""),
    (["where is {author} from", "what country does {author} come from", "which country is {author} from"],
     "SELECT a.country FROM author AS a WHERE a.name = \"{author}\""),
    (["how many authors are from {country}", "how many writers come from {country}", "number of authors from {country}"],
     "SELECT COUNT( a.author_id ) FROM author AS a WHERE a.country = \"{country}\""),
    (["which books did {house} publish", "what was published by {house}", "list the books of {house}"],
     "SELECT b.title FROM book AS b, publisher AS p WHERE b.publisher_id = p.publisher_id AND p.name = \"{house}\""),
    (["who published {title}", "what is the publisher of {title}", "which house published {title}"],
     "SELECT p.name FROM book AS b, publisher AS p WHERE b.publisher_id = p.publisher_id AND b.title = \"{title}\""),
    (["in which city is {house}", "where is {house}", "what city is {house} in"],
     "SELECT p.city FROM publisher AS p WHERE p.name = \"{house}\""),
    (["which publishers are in {city}", "list the houses in {city}", "what publishers are there in {city}"],
     "SELECT p.name FROM publisher AS p WHERE p.city = \"{city}\""),
    (["which books by {author} are about {topic}", "list the {topic} books by {author}",
      "what {topic} books did {author} write"],
     "SELECT b.title FROM author AS a, book AS b WHERE b.author_id = a.author_id AND a.name = \"{author}\" AND b.topic = \"{topic}\""),
    (["which books came out after {year}", "list books published after {year}", "what was published after {year}"],
     "SELECT b.title FROM book AS b WHERE b.year > {year}"),
    (["which {topic} books came out after {year}", "list {topic} books published after {year}"],
     "SELECT b.title FROM book AS b WHERE b.topic = \"{topic}\" AND b.year > {year}"),
    (["which author wrote the most books", "who wrote most books", "who is the author with the most books"],
     "SELECT a.name FROM author AS a, book AS b WHERE b.author_id = a.author_id GROUP BY a.name ORDER BY COUNT( b.book_id ) DESC LIMIT 1"),
    (["what is the average price of a book", "what do books cost on average", "average price of all books"],
     "SELECT AVG( b.price ) FROM book AS b"),
    (["what is the average price of {topic} books", "what do {topic} books cost on average"],
     "SELECT AVG( b.price ) FROM book AS b WHERE b.topic = \"{topic}\""),
    (["who wrote the longest book", "which author wrote the book with the most pages", "author of the longest book"],
     "SELECT a.name FROM author AS a, book AS b WHERE b.author_id = a.author_id AND b.pages = ( SELECT MAX( c.pages ) FROM book AS c )"),
    (["who wrote the cheapest book", "which author wrote the book with the lowest price", "author of the cheapest book"],
     "SELECT a.name FROM author AS a, book AS b WHERE b.author_id = a.author_id AND b.price = ( SELECT MIN( c.price ) FROM book AS c )"),
    (["which books are by authors from {country}", "list books whose authors come from {country}",
      "what was written by people from {country}"],
     "SELECT b.title FROM book AS b WHERE b.author_id IN ( SELECT a.author_id FROM author AS a WHERE a.country = \"{country}\" )"),
    (["how many books are by authors from {country}", "number of books by authors from {country}"],
     "SELECT COUNT( b.book_id ) FROM book AS b WHERE b.author_id IN ( SELECT a.author_id FROM author AS a WHERE a.country = \"{country}\" )"),
]  # fmt: skip


def make(folder: Path, seed: int = 11, per_shape: int = 11) -> tuple[Path, Path]:
    """Write the database and its questions; returns their paths. The same seed gives the same bytes of questions."""
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    database, questions = folder / "books.sqlite", folder / "books.json"
    database.unlink(missing_ok=True)
    names = draw.sample([f"{first} {last}" for first in FIRST.split() for last in LAST.split()], 40)
    titles = draw.sample([f"the {adjective} {noun}" for adjective in ADJECTIVES for noun in NOUNS], 120)
    link = sqlite3.connect(database)
    link.executescript(
        "CREATE TABLE author (author_id INTEGER PRIMARY KEY, name TEXT, country TEXT);"
        "CREATE TABLE publisher (publisher_id INTEGER PRIMARY KEY, name TEXT, city TEXT);"
        "CREATE TABLE book (book_id INTEGER PRIMARY KEY, title TEXT, year INT, pages INT, price REAL, topic TEXT,"
        " author_id INT REFERENCES author(author_id), publisher_id INT REFERENCES publisher(publisher_id));"
    )
    link.executemany("INSERT INTO author VALUES (?, ?, ?)",
                     [(at, name, draw.choice(COUNTRIES)) for at, name in enumerate(names)])  # fmt: skip
    link.executemany("INSERT INTO publisher VALUES (?, ?, ?)",
                     [(at, house, CITIES[at % len(CITIES)]) for at, house in enumerate(HOUSES)])  # fmt: skip
    link.executemany(
        "INSERT INTO book VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [(at, title, draw.randint(1960, 2024), 80 + 3 * at + draw.randint(0, 2), round(5 + at * 0.35 + draw.random() / 5, 2),
          draw.choice(TOPICS), draw.randrange(len(names)), draw.randrange(len(HOUSES))) for at, title in enumerate(titles)],
    )  # fmt: skip
    link.commit()
    link.close()
    values = {"title": titles, "author": names, "topic": TOPICS, "country": COUNTRIES, "house": HOUSES,
              "city": CITIES, "year": [str(year) for year in range(1970, 2020, 7)]}  # fmt: skip
    rows = [_group(ways, sql, values, draw, per_shape) for ways, sql in SHAPES]
    questions.write_text(json.dumps(rows, indent=1))
    return database, questions


def _group(ways: list[str], sql: str, values: dict[str, list[str]], draw: random.Random, count: int) -> dict[str, Any]:
    slots = [name for name in values if "{" + name + "}" in sql]
    named = {name: f"{name}0" for name in values}
    sentences: list[dict[str, Any]] = []
    for _ in range(count if slots else len(ways)):
        way = draw.choice(ways) if slots else ways[len(sentences)]
        picked = {f"{name}0": draw.choice(values[name]) for name in slots}
        split = draw.choices(["train", "dev", "test"], [6, 1, 3])[0]
        sentences.append({"question-split": split, "text": way.format(**named), "variables": picked})
    return {"query-split": draw.choice(["train", "train", "test"]), "sentences": sentences,
            "sql": [sql.format(**named) + " ;"],
            "variables": [{"name": f"{name}0", "example": values[name][0], "type": name} for name in slots]}  # fmt: skip


if __name__ == "__main__":
    for path in make(Path(sys.argv[1])):
        print(path)
