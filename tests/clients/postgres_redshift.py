#!/usr/bin/env python3
"""redshift_connector: Amazon's own driver, without TLS and password.

Usage: postgres_redshift.py --project DIR
"""

import redshift_connector
from postgres_shop import VALUES, address, fill


def main():
    host, port = address()
    fill(host, port)
    with redshift_connector.connect(host=host, port=port, database="lake", user="lacus", password="", ssl=False) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            names = ["id", "small", "ok", "price", "ratio", "name", "day", "local", "at"]
            cursor.execute(f"SELECT {', '.join(names)} FROM things WHERE id = %s", (1,))
            assert list(cursor.fetchone()) == [VALUES[name] for name in names]
            cursor.execute("SELECT table_name FROM svv_tables WHERE table_schema = %s", ("shop",))
            assert [row[0] for row in cursor.fetchall()] == ["things"]
        connection.autocommit = False
        with connection.cursor() as cursor:
            cursor.execute("SELECT value FROM generate_series(1, 1000)")
            assert len(cursor.fetchmany(10)) == 10
        connection.rollback()
    print("redshift_connector does what it does")


if __name__ == "__main__":
    main()
