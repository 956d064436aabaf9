"""Questions over a SQLite database: the schema as knowledge, constrained read-only SQL, the result as table and chart."""
