#!/usr/bin/env python3
"""A table like ClickBench's `hits`, made up: its 105 columns, and skew like that of the real one, rows in order of time.

Usage: hits.py REST_URI ROWS        appends them to the table main.hits of an Iceberg REST catalog, as another engine would
"""

import sys

import duckdb
from pyiceberg.catalog.rest import RestCatalog

# Rows of one commit.
PORTION = 500_000

# What is made of the row number i. A macro of DuckDB's does not see columns, so i is always handed over.
MACROS = """
CREATE MACRO uniform(i, k) AS (hash(i * 1024 + k) % 16777216) / 16777216.0;
CREATE MACRO skewed(i, n, k) AS CAST(floor(n * pow(uniform(i, k), 4)) AS BIGINT);
CREATE MACRO signed(x) AS CAST(hash(x) >> 1 AS BIGINT);
CREATE MACRO path(n) AS 'catalog/' || chr(CAST(97 + n % 26 AS INT)) || '/' || md5(CAST(n AS VARCHAR)) || '/item-' || n || '.html';
CREATE MACRO site(n) AS 'site-' || (n % 977) || CASE WHEN n % 3 = 0 THEN '.example.ru' ELSE '.example.com' END;
CREATE MACRO page(n) AS CASE WHEN n % 6007 = 11 THEN 'http://www.google.com/search?q=' || n ELSE 'http://' || site(n) || '/' || path(n) END;
"""

# Columns whose values the questions look at.
ASKED = {
    "WatchID": "signed(i)",
    "Title": "CASE WHEN u % 1999 = 7 THEN 'Google ' || u ELSE 'Заголовок страницы ' || (u % 400000) || ' — ' || site(u) END",
    "EventTime": "TIMESTAMP '2013-07-01 00:00:00' + to_seconds(CAST(floor(second) AS BIGINT))",
    "EventDate": "CAST(TIMESTAMP '2013-07-01 00:00:00' + to_seconds(CAST(floor(second) AS BIGINT)) AS DATE)",
    "CounterID": "CAST(CASE WHEN uniform(i, 3) < 0.0074 THEN 62 ELSE 100 + skewed(i, 6400, 4) END AS INT)",
    "ClientIP": "CAST(signed(skewed(i, ROWS, 5)) % 2147483647 AS INT)",
    "RegionID": "CAST(skewed(i, 9040, 6) AS INT)",
    "UserID": "CASE WHEN i % 2500003 = 17 THEN 435090932899640449 ELSE signed(skewed(i, ROWS / 3, 7)) END",
    "URL": "page(u)",
    "Referer": "CASE WHEN uniform(i, 8) < 0.19 THEN '' ELSE page(r) END",
    "IsRefresh": "CAST(uniform(i, 9) < 0.12 AS INT)",
    "ResolutionWidth": "CAST([1638, 1996, 1440, 1368, 1917, 1750, 1297, 1087, 1024, 0][1 + skewed(i, 10, 10)] AS INT)",
    "MobilePhone": "CAST(CASE WHEN uniform(i, 11) < 0.058 THEN 1 + skewed(i, 44, 12) ELSE 0 END AS INT)",
    "MobilePhoneModel": "CASE WHEN uniform(i, 11) < 0.058 THEN 'model ' || skewed(i, 166, 12) ELSE '' END",
    "TraficSourceID": "CAST(skewed(i, 11, 13) - 1 AS INT)",
    "SearchEngineID": "CAST(CASE WHEN uniform(i, 14) < 0.132 THEN 1 + skewed(i, 90, 15) ELSE 0 END AS INT)",
    "SearchPhrase": "CASE WHEN uniform(i, 14) < 0.132 THEN 'купить ' || (s % 9973) || ' в городе ' || s ELSE '' END",
    "AdvEngineID": "CAST(CASE WHEN uniform(i, 17) < 0.0063 THEN 1 + skewed(i, 18, 18) ELSE 0 END AS INT)",
    "WindowClientWidth": "CAST(uniform(i, 19) * 1900 AS INT)",
    "WindowClientHeight": "CAST(uniform(i, 20) * 1000 AS INT)",
    "IsLink": "CAST(uniform(i, 21) < 0.15 AS INT)",
    "IsDownload": "CAST(uniform(i, 22) < 0.01 AS INT)",
    "DontCountHits": "CAST(uniform(i, 23) < 0.07 AS INT)",
    "RefererHash": "CASE WHEN r % 200 = 0 THEN 3594120000172545465 ELSE signed(r) END",
    "URLHash": "CASE WHEN u % 50 = 0 THEN 2868770270353813622 ELSE signed(u) END",
}

SMALL = """JavaEnable GoodEvent CounterClass OS UserAgent RefererCategoryID RefererRegionID URLCategoryID URLRegionID ResolutionHeight
ResolutionDepth FlashMajor FlashMinor NetMajor NetMinor UserAgentMajor CookieEnable JavascriptEnable IsMobile IPNetworkID
IsArtifical ClientTimeZone SilverlightVersion1 SilverlightVersion2 SilverlightVersion3 SilverlightVersion4 CodeVersion IsNotBounce HID
IsOldCounter IsEvent IsParameter WithHash Age Sex Income Interests Robotness RemoteIP WindowName OpenerName HistoryLength HTTPError
SendTiming DNSTiming ConnectTiming ResponseStartTiming ResponseEndTiming FetchTiming SocialSourceNetworkID ParamCurrencyID HasGCLID
CLID""".split()
LARGE = ["FUniqID", "ParamPrice"]
TIMES = ["ClientEventTime", "LocalEventTime"]
TEXTS = """FlashMinor2 UserAgentMinor Params PageCharset OriginalURL HitColor BrowserLanguage BrowserCountry SocialNetwork SocialAction
SocialSourcePage ParamOrderID ParamCurrency OpenstatServiceName OpenstatCampaignID OpenstatAdID OpenstatSourceID UTMSource UTMMedium
UTMCampaign UTMContent UTMTerm FromTag""".split()


def columns(rows):
    """The select list: names with expressions."""
    every = dict(ASKED)
    for k, name in enumerate(SMALL, 100):
        every[name] = f"CAST(skewed(i, {3 + k % 60 * (k % 7)}, {k}) AS INT)"
    for k, name in enumerate(LARGE, 200):
        every[name] = f"CASE WHEN uniform(i, {k}) < 0.3 THEN signed(i + {k}) ELSE 0 END"
    for k, name in enumerate(TIMES, 210):
        every[name] = f"TIMESTAMP '2013-07-01 00:00:00' + to_seconds(CAST(floor(second) AS BIGINT) + skewed(i, 3600, {k}))"
    for k, name in enumerate(TEXTS, 220):
        every[name] = f"CASE WHEN uniform(i, {k}) < {0.02 * (k % 9)} THEN 'value ' || skewed(i, {10 ** (1 + k % 4)}, {k}) ELSE '' END"
    assert len(every) == 105
    return ", ".join(f'{expression} AS "{name}"' for name, expression in every.items()).replace("ROWS", str(rows))


def portions(rows):
    connection = duckdb.connect()
    connection.execute(MACROS)
    for first in range(0, rows, PORTION):
        last = min(first + PORTION, rows)
        yield connection.execute(
            f"SELECT {columns(rows)} FROM (SELECT i, (i + uniform(i, 1) * 1000) * 2678400.0 / ({rows} + 1000) AS second, "
            f"skewed(i, {rows // 3}, 30) AS u, skewed(i, {rows // 4}, 31) AS r, skewed(i, {rows // 10}, 32) AS s "
            f"FROM (SELECT unnest(range({first}, {last})) AS i))"
        ).arrow().read_all()


def main(uri, rows):
    catalog = RestCatalog("lacus", uri=uri)
    table = None
    for portion in portions(rows):
        table = table or catalog.create_table("main.hits", portion.schema)
        table.append(portion)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
