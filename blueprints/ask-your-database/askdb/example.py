"""Makes shop.sqlite: a small shop's customers, products and a year of orders, the same each time."""

import random
import sqlite3
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent / "data"
SHOP = DATA / "shop.sqlite"
_CITIES = ["Tokyo", "Osaka", "Kyoto", "Sapporo", "Fukuoka"]
_PRODUCTS = [
    ("Teapot", "kitchen", 32.0),
    ("Cup", "kitchen", 8.5),
    ("Kettle", "kitchen", 54.0),
    ("Notebook", "paper", 4.2),
    ("Brush pen", "paper", 6.8),
    ("Letter set", "paper", 12.0),
    ("Lamp", "home", 75.0),
    ("Cushion", "home", 28.0),
    ("Umbrella", "home", 19.5),
]


def make(path: Path = SHOP) -> Path:
    """Write the database anew and return its path."""
    path.unlink(missing_ok=True)
    draw = random.Random(2026)
    connection = sqlite3.connect(path)
    with connection:
        connection.executescript(
            """
            CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, city TEXT, since INTEGER);
            CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, category TEXT, price REAL, stock INTEGER);
            CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, product TEXT, quantity INTEGER, total REAL,
                                 month INTEGER, city TEXT);
            """
        )
        customers = [(f"Customer {at:02d}", draw.choice(_CITIES), draw.randint(2015, 2025)) for at in range(1, 41)]
        connection.executemany("INSERT INTO customers (name, city, since) VALUES (?, ?, ?)", customers)
        products = [(*product, draw.randint(0, 120)) for product in _PRODUCTS]
        connection.executemany("INSERT INTO products (name, category, price, stock) VALUES (?, ?, ?, ?)", products)
        orders = []
        for _ in range(600):
            (name, city, _), (product, _, price) = draw.choice(customers), draw.choice(_PRODUCTS)
            quantity = draw.choice([1, 1, 1, 2, 2, 3, 5])
            orders.append((name, product, quantity, round(quantity * price, 2), draw.randint(1, 12), city))
        connection.executemany(
            "INSERT INTO orders (customer, product, quantity, total, month, city) VALUES (?, ?, ?, ?, ?, ?)", orders
        )
    connection.close()
    return path


if __name__ == "__main__":
    print(make())
