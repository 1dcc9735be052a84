#!/usr/bin/env python3
"""Drivers that log in: by SCRAM-SHA-256 and by MD5, plain and over TLS, and with what is wrong.

Usage: postgres_login.py --project DIR --ca FILE --scram USER:PASSWORD --md5 USER:PASSWORD
"""

import argparse
import asyncio
import os
import ssl
import threading

import adbc_driver_postgresql.dbapi
import asyncpg
import psycopg
import psycopg2
import pyodbc
import redshift_connector
import sqlalchemy
from postgres_shop import address

WHO = "SELECT current_user, session_user"
ENDLESS = (
    "SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b WHERE a.value % 7 = b.value % 5"
)


def psycopg_3(server, user, password, ca):
    tls = {"sslmode": "verify-full", "sslrootcert": ca}
    ways = [{"sslmode": "disable"}, {"sslmode": "require"}, tls, {**tls, "sslnegotiation": "direct"}]
    for way in ways:
        with psycopg.connect(**server, user=user, password=password, **way) as connection:
            assert connection.execute(WHO).fetchone() == (user, user), way
            assert connection.pgconn.ssl_in_use == (way["sslmode"] != "disable"), way
    for wrong, name in (("x", user), (password, "nobody")):
        try:
            psycopg.connect(**server, user=name, password=wrong)
        except psycopg.OperationalError as error:
            assert f'password authentication failed for user "{name}"' in str(error), error
        else:
            raise AssertionError(f"{name} was let in")


def bound(server, user, password, ca):
    """SCRAM-SHA-256-PLUS: to the certificate that the client saw."""
    settings = {"sslmode": "require", "channel_binding": "require"}
    with psycopg.connect(**server, user=user, password=password, **settings) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def cancelling(server, user, password):
    """A query over TLS is stopped by a request over TLS, and by a plain one as older clients send it."""
    for how in ("cancel_safe", "cancel"):
        with psycopg.connect(**server, user=user, password=password, sslmode="require") as connection:
            stopper = threading.Thread(target=cancel_until, args=(connection, how, stopped := threading.Event()))
            stopper.start()
            try:
                connection.execute(ENDLESS)
            except psycopg.errors.QueryCanceled:
                stopped.set()
            else:
                raise AssertionError("the query ended")
            stopper.join()


def cancel_until(connection, how, stopped):
    # The first one may come before the query has begun.
    for _ in range(100):
        if stopped.wait(0.1):
            return
        getattr(connection, how)()


def psycopg_2(server, user, password, ca):
    for sslmode in ("disable", "require", "verify-full"):
        connection = psycopg2.connect(**server, user=user, password=password, sslmode=sslmode, sslrootcert=ca)
        with connection.cursor() as cursor:
            cursor.execute(WHO)
            assert cursor.fetchone() == (user, user)
        connection.close()


async def asyncpg_(server, user, password, ca):
    for tls in (False, "require", ssl.create_default_context(cafile=ca)):
        settings = {"host": server["host"], "port": server["port"], "database": server["dbname"]}
        connection = await asyncpg.connect(**settings, user=user, password=password, ssl=tls)
        assert tuple(await connection.fetchrow(WHO)) == (user, user)
        await connection.close()
    try:
        await asyncpg.connect(**settings, user=user, password="x")
    except asyncpg.InvalidPasswordError as error:
        assert error.sqlstate == "28P01"
    else:
        raise AssertionError("a wrong password was taken")


def by_url(server, user, password, ca):
    place = f"{user}:{password}@{server['host']}:{server['port']}/{server['dbname']}?sslmode=verify-full&sslrootcert={ca}"
    for driver in ("psycopg", "psycopg2"):
        with sqlalchemy.create_engine(f"postgresql+{driver}://{place}").connect() as connection:
            assert connection.execute(sqlalchemy.text("SELECT current_user")).scalar() == user
    with adbc_driver_postgresql.dbapi.connect(f"postgresql://{place}") as connection:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_user")
            assert cursor.fetchone() == (user,)


def odbc(server, user, password, ca):
    place = f"DRIVER={{PostgreSQL Unicode}};SERVER={server['host']};PORT={server['port']};DATABASE=lake"
    with pyodbc.connect(f"{place};UID={user};PWD={password};SSLmode=require") as connection:
        assert connection.cursor().execute("SELECT current_user").fetchval() == user


def redshift(server, user, password, ca):
    """Amazon's driver takes the certificates of the system, and knows MD5 only."""
    os.environ["SSL_CERT_FILE"] = ca
    settings = {"host": server["host"], "port": server["port"], "database": server["dbname"]}
    for tls in ({"ssl": False}, {"ssl": True, "sslmode": "verify-full"}):
        with redshift_connector.connect(**settings, user=user, password=password, **tls) as connection:
            with connection.cursor() as cursor:
                cursor.execute("SELECT current_user")
                assert list(cursor.fetchone()) == [user]
    try:
        redshift_connector.connect(**settings, user=user, password="x", ssl=False)
    except redshift_connector.Error as error:
        assert "28P01" in str(error), error
    else:
        raise AssertionError("a wrong password was taken")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--ca", required=True)
    arguments.add_argument("--scram", required=True)
    arguments.add_argument("--md5", required=True)
    asked, _ = arguments.parse_known_args()
    host, port = address()
    server = {"host": host, "port": port, "dbname": "lake"}
    scram, md5 = asked.scram.split(":"), asked.md5.split(":")
    for user, password in (scram, md5):
        psycopg_3(server, user, password, asked.ca)
        psycopg_2(server, user, password, asked.ca)
        asyncio.run(asyncpg_(server, user, password, asked.ca))
        by_url(server, user, password, asked.ca)
        odbc(server, user, password, asked.ca)
    bound(server, *scram, asked.ca)
    cancelling(server, *scram)
    redshift(server, *md5, asked.ca)
    print("drivers log in")


if __name__ == "__main__":
    main()
