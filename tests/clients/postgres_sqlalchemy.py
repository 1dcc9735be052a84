#!/usr/bin/env python3
"""SQLAlchemy 2 over psycopg: connect, look at schemas, reflect a table, ask.

Usage: postgres_sqlalchemy.py --project DIR
"""

import sqlalchemy
from postgres_shop import VALUES, address, fill
from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql


def inspect(engine):
    inspector = sqlalchemy.inspect(engine)
    assert inspector.default_schema_name == "main"
    assert {"main", "shop", "information_schema"} <= set(inspector.get_schema_names()), inspector.get_schema_names()
    assert inspector.get_table_names() == ["things"], inspector.get_table_names()
    assert inspector.get_table_names("shop") == ["things"]
    assert inspector.get_view_names() == ["cheap"]
    assert inspector.has_table("things") and inspector.has_table("cheap") and not inspector.has_table("nothing")
    assert "price < 100" in inspector.get_view_definition("cheap")
    columns = {column["name"]: column for column in inspector.get_columns("things", "shop")}
    assert list(columns) == list(VALUES), columns
    kinds = {name: column["type"] for name, column in columns.items()}
    assert isinstance(kinds["id"], sqlalchemy.BIGINT) and not columns["id"]["nullable"]
    assert isinstance(kinds["price"], sqlalchemy.NUMERIC) and (kinds["price"].precision, kinds["price"].scale) == (12, 2)
    assert isinstance(kinds["at"], postgresql.TIMESTAMP) and kinds["at"].timezone
    assert isinstance(kinds["local"], postgresql.TIMESTAMP) and not kinds["local"].timezone
    assert isinstance(kinds["tags"], postgresql.ARRAY) and isinstance(kinds["tags"].item_type, sqlalchemy.TEXT)
    assert isinstance(kinds["who"], postgresql.JSON) and isinstance(kinds["ref"], postgresql.UUID)
    assert all(columns[name]["nullable"] for name in VALUES if name != "id")
    assert inspector.get_pk_constraint("things")["constrained_columns"] == []
    assert inspector.get_foreign_keys("things") == [] and inspector.get_indexes("things") == []
    assert inspector.get_unique_constraints("things") == [] and inspector.get_check_constraints("things") == []
    assert inspector.get_table_comment("things") == {"text": None}


def ask(engine):
    metadata = sqlalchemy.MetaData()
    things = sqlalchemy.Table("things", metadata, autoload_with=engine)
    of_shop = sqlalchemy.Table("things", metadata, autoload_with=engine, schema="shop")
    with engine.connect() as connection:
        row = connection.execute(select(things).where(things.c.name == VALUES["name"])).one()._mapping
        assert dict(row) == VALUES, row
        counted = select(of_shop.c.ok, func.count()).where(of_shop.c.id.in_([1, 2])).group_by(of_shop.c.ok)
        assert sorted(connection.execute(counted.order_by(of_shop.c.ok)).all(), key=str) == [(None, 1), (True, 1)]
        joined = select(func.max(things.c.price)).join(of_shop, things.c.id == of_shop.c.id)
        assert connection.scalar(joined) == VALUES["price"]
        streamed = connection.execution_options(stream_results=True, yield_per=10)
        assert sum(1 for _ in streamed.execute(sqlalchemy.text("SELECT value FROM generate_series(1, 100)"))) == 100
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        table = sqlalchemy.Table("made", sqlalchemy.MetaData(), sqlalchemy.Column("n", sqlalchemy.BigInteger))
        table.create(connection)
        connection.execute(table.insert(), [{"n": 1}, {"n": 2}])
        connection.execute(table.update().where(table.c.n == 2).values(n=3))
        assert connection.execute(select(func.sum(table.c.n))).scalar() == 4
        table.drop(connection)
        assert not sqlalchemy.inspect(connection).has_table("made")


def main():
    host, port = address()
    fill(host, port)
    for driver in ("psycopg", "psycopg2"):
        engine = sqlalchemy.create_engine(f"postgresql+{driver}://lacus@{host}:{port}/lake")
        inspect(engine)
        ask(engine)
        engine.dispose()
    print("SQLAlchemy finds its way")


if __name__ == "__main__":
    main()
