"""Questions about a database: what is read, how SQL is written, which values a question names."""

import json
import sqlite3
from pathlib import Path

import pytest

from aigrid.core.errors import BadRequest
from aigrid.factory.sql.database import Database, Refused, same
from aigrid.factory.sql.link import Values, readings, words
from aigrid.factory.sql.read import Pair, named, read
from aigrid.factory.sql.template import template
from aigrid.factory.sql.write import short, text, tokens


@pytest.fixture
def shop(tmp_path: Path) -> Database:
    link = sqlite3.connect(tmp_path / "shop.sqlite")
    link.executescript("""
        CREATE TABLE town (name TEXT, people INT, county TEXT);
        CREATE TABLE shop (shop TEXT, town TEXT, opened INT);
        INSERT INTO town VALUES ('old elm', 900, 'kent'), ('kent', 40, 'essex'), ('bray', 300, 'essex');
        INSERT INTO shop VALUES ('tea room', 'bray', 1990), ('o''neill', 'bray', 2001), ('tea room', 'old elm', 2010);
    """)
    link.commit()
    link.close()
    return Database(tmp_path / "shop.sqlite")


def test_variables_are_filled_in_and_longer_names_first(tmp_path: Path) -> None:
    group = {
        "sentences": [
            {"question-split": "test", "text": "how many in n1 or n10", "variables": {"n1": "kent", "n10": 'the "elm"'}}
        ],
        "sql": ['SELECT A FROM T WHERE X = "n1" OR X = "n10" ;'],
        "query-split": "train",
        "variables": [{"name": "k0", "example": "5"}],
    }
    file = tmp_path / "q.json"
    file.write_text(json.dumps([group]))
    (pair,) = read(file)
    assert pair.question == 'how many in kent or the "elm"'
    assert text(tokens(pair.sql)) == "select a from t where x = 'kent' or x = 'the \"elm\"'"
    assert pair.split == "test"
    assert read(file, "query-split")[0].split == "train"
    assert named("n1 n10", {"n1": "a", "n10": "b"}) == "a b"


def test_folds_plain_rows_and_rows_without_a_split(tmp_path: Path) -> None:
    folds = tmp_path / "folds.json"
    sentence = {"text": "q", "variables": {}}
    folds.write_text(
        json.dumps([{"sql": ["select 1"], "sentences": [{**sentence, "question-split": str(n)} for n in range(10)]}])
    )
    assert [pair.split for pair in read(folds)] == ["train"] * 7 + ["dev"] + ["test"] * 2
    lines = tmp_path / "rows.jsonl"
    lines.write_text("\n".join(json.dumps({"question": f"how many {n}", "sql": "select 1"}) for n in range(100)))
    splits = [pair.split for pair in read(lines)]
    assert splits == [pair.split for pair in read(lines)]
    assert {"train", "dev", "test"} == set(splits)
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(BadRequest, match="no question"):
        read(tmp_path / "bad.json")


def test_the_short_form_gives_the_same_rows(shop: Database) -> None:
    long = (
        "SELECT TOWNalias0.NAME FROM TOWN AS TOWNalias0 WHERE TOWNalias0.PEOPLE = ( SELECT MAX( TOWNalias1.PEOPLE ) "
        'FROM TOWN AS TOWNalias1 WHERE TOWNalias1.COUNTY = "essex" ) AND TOWNalias0.COUNTY = "essex" ;'
    )
    brief = short(long, shop)
    assert brief == (
        "select name from town where people = (select max(people) from town where county = 'essex') and county = 'essex'"
    )
    assert same(shop.run(brief), shop.run(text(tokens(long))))
    join = "SELECT s.shop FROM shop AS s , town AS t WHERE s.town = t.name AND t.people > ALL (SELECT u.people FROM town AS u)"
    assert short(join, shop) == (
        "select shop.shop from shop, town where shop.town = town.name and town.people > (select max(people) from town)"
    )


def test_a_correlated_alias_stays(shop: Database) -> None:
    sql = (
        "SELECT a.name FROM town AS a WHERE NOT EXISTS (SELECT 1 FROM town AS b WHERE b.county = a.county "
        "AND b.people > a.people)"
    )
    assert shop.run(short(sql, shop)).rows == (("old elm",), ("bray",))


def test_statements_that_write_or_never_end_are_refused(shop: Database) -> None:
    for sql in ("DELETE FROM town", "SELECT nothing FROM nowhere", "ATTACH 'x' AS y"):
        with pytest.raises(Refused):
            shop.run(sql)
    quick = Database(shop.path, seconds=0.05)
    with pytest.raises(Refused, match="interrupted"):
        quick.run("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT COUNT(*) FROM n")
    assert quick.run("SELECT COUNT(*) FROM town").rows == ((3,),)


def test_rows_are_compared_as_multisets_and_in_order_where_asked(shop: Database) -> None:
    rows = shop.run("SELECT shop FROM shop")
    assert not same(shop.run("SELECT DISTINCT shop FROM shop"), rows)
    assert same(shop.run("SELECT shop FROM shop ORDER BY opened DESC"), rows)
    assert not same(rows, shop.run("SELECT shop FROM shop ORDER BY shop"))
    assert not same(shop.run("SELECT shop, town FROM shop"), rows)


def test_values_are_found_with_all_their_readings(shop: Database) -> None:
    values = Values(shop)
    asked = words("How many people live in Kent near the Old Elm?")
    found = {(each.domain, each.value) for each in values.mentions(asked)}
    assert ("town.county", "kent") in found
    assert ("town.name", "kent") in found
    assert any(value == "old elm" for _, value in found)
    fullest = readings(values.mentions(asked))[0]
    assert [asked[each.start : each.end] for each in fullest] == [["kent"], ["old", "elm"]]
    assert () in readings(values.mentions(asked), most=99)


def test_a_template_names_its_slots_and_fills_them(shop: Database) -> None:
    values = Values(shop)
    pair = Pair(
        "1", "which shops of bray opened after 1995", "SELECT shop FROM shop WHERE town = 'bray' AND opened > 1995"
    )
    made = template(pair, values, shop)
    assert made.words == ("which", "shops", "of", "{town.name}", "opened", "after", "{number}")
    assert made.columns == ("shop.town", "shop.opened")
    mentions = next(
        each
        for each in readings(values.mentions(words("which shops of old elm opened after 2000")))
        if [one.domain for one in each] == ["town.name", "number"]
    )
    assert made.fill(mentions) == "select shop from shop where town = 'old elm' and opened > 2000"
    assert made.fill(mentions[:1]) is None
