#!/usr/bin/env python3
"""asyncpg: everything is prepared and binary; pools reset connections.

Usage: postgres_asyncpg.py --project DIR
"""

import asyncio
import json

import asyncpg
from postgres_shop import VALUES, address, fill


async def connected(connection):
    assert connection.get_server_version().major == 15
    names = [name for name in VALUES if name != "sizes"]
    row = await connection.fetchrow(f"SELECT {', '.join(names)} FROM things WHERE id = $1", 1)
    row = dict(row) | {"who": json.loads(row["who"])}
    assert row == {name: VALUES[name] for name in names} | {"ref": row["ref"]}, row
    assert str(row["ref"]) == str(VALUES["ref"])
    nulls = await connection.fetchrow(f"SELECT {', '.join(names)} FROM things WHERE id = $1", 2)
    assert [value for value in nulls.values() if value is not None] == [2], nulls
    statement = await connection.prepare("SELECT name, price FROM things WHERE price > $1 AND day = $2 AND name <> $3")
    assert [kind.name for kind in statement.get_parameters()] == ["numeric", "date", "text"]
    assert [(column.name, column.type.name) for column in statement.get_attributes()] == [("name", "text"), ("price", "numeric")]
    assert await statement.fetchval(VALUES["price"] - 1, VALUES["day"], "x", column=1) == VALUES["price"]
    for name in ("small", "ok", "ratio", "local", "at", "clock"):
        found = await connection.fetchval(f"SELECT id FROM things WHERE {name} = $1", VALUES[name])
        assert found == 1, name
    async with connection.transaction(readonly=True):
        values = [row[0] async for row in connection.cursor("SELECT value FROM generate_series(1, 200)", prefetch=50)]
        assert values == list(range(1, 201))
        cursor = await connection.cursor("SELECT value FROM generate_series(1, 200)")
        assert len(await cursor.fetch(10)) == 10 and (await cursor.fetchrow())[0] == 11
        try:
            async with connection.transaction():
                await connection.execute("SELECT nothing")
        except asyncpg.UndefinedColumnError:
            pass
        assert await connection.fetchval("SELECT 1") == 1
    await connection.execute("CREATE TABLE numbers (n bigint, t text)")
    await connection.executemany("INSERT INTO numbers VALUES ($1, $2)", [(n, f"t{n}") for n in range(3)])
    assert await connection.fetchval("SELECT sum(n) FROM numbers") == 3
    copied = []

    async def keep(data):
        copied.append(data)

    assert await connection.copy_from_query("SELECT n, t FROM numbers ORDER BY n", output=keep, format="csv") == "COPY 3"
    assert b"".join(copied) == b"0,t0\n1,t1\n2,t2\n", copied
    copied.clear()
    assert await connection.copy_from_table("numbers", columns=["t"], output=keep) == "COPY 3"
    await connection.execute("DROP TABLE numbers")
    try:
        await connection.fetch("SELECT count(*) FROM generate_series(1, 100000000) a, generate_series(1, 100000000) b", timeout=0.3)
        raise AssertionError("it ended")
    except asyncio.TimeoutError:
        pass
    assert await connection.fetchval("SELECT 2") == 2


async def run():
    host, port = address()
    fill(host, port)
    async with asyncpg.create_pool(host=host, port=port, user="lacus", database="lake", min_size=1, max_size=2) as pool:
        async with pool.acquire() as connection:
            await connected(connection)
        # What one left behind, the next does not find.
        async with pool.acquire() as connection:
            await connection.execute("SET application_name = 'left'")
        async with pool.acquire() as connection:
            assert await connection.fetchval("SHOW application_name") == ""
    print("asyncpg does what it does")


if __name__ == "__main__":
    asyncio.run(run())
