#!/usr/bin/env python3
"""Engines on another machine read and write the lake's tables, with nothing of it but its address and a lake key.

Usage: elsewhere.py --project DIR --key ID:SECRET --only NAME

A lacus server must be serving the project, as bucket "lake". Clients come through a relay that connects from an address of this
machine that is not the loopback's, so that the server takes them for those of another machine.
"""

import argparse
import base64
import http.client
import json
import pathlib
import socket
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib

import boto3
import duckdb
import polars
import pyarrow
import pyarrow.fs
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from duckdb_extensions import import_extension
from iceberg import Lacus, clicks, compare, null_as_empty, lists_of_structs, ordered, same_times
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import OAuthError, UnauthorizedError

EXTENSIONS = ("avro", "httpfs", "iceberg")
MIB = 1 << 20


class Relay:
    """Passes connections on, from another address than the loopback's."""

    def __init__(self, base):
        self.server = urllib.parse.urlsplit(base).netloc.rsplit(":", 1)
        probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        probe.connect(("203.0.113.1", 9))
        self.source = probe.getsockname()[0]
        assert not self.source.startswith("127."), "this machine has no address but the loopback's"
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection((self.server[0], int(self.server[1])), source_address=(self.source, 0))
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self.copy, args=(one, other), daemon=True).start()

    @staticmethod
    def copy(one, other):
        try:
            while piece := one.recv(65536):
                other.sendall(piece)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            for end in (one, other):
                end.close()


class Elsewhere:
    """What an engine elsewhere knows: an address, and a key."""

    def __init__(self, lacus, key):
        self.lacus, self.key = lacus, key
        self.id, self.secret = key.split(":")
        self.base = f"http://{Relay(lacus.base).address}"

    def catalog(self, **properties):
        return RestCatalog("lacus", uri=f"{self.base}/iceberg", **{"credential": self.key, **properties})

    def token(self):
        form = urllib.parse.urlencode({"grant_type": "client_credentials", "client_id": self.id, "client_secret": self.secret})
        with urllib.request.urlopen(f"{self.base}/iceberg/v1/oauth/tokens", form.encode(), timeout=60) as reply:
            return json.load(reply)["access_token"]

    def ask(self, path, token=None, headers=None):
        request = urllib.request.Request(self.base + path, headers=headers or {})
        if token:
            request.add_header("authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)

    def bucket(self, id=None, secret=None, **config):
        config = Config(retries={"max_attempts": 2}, **config)
        keys = dict(aws_access_key_id=id or self.id, aws_secret_access_key=secret or self.secret, region_name="us-east-1")
        return boto3.client("s3", endpoint_url=self.base, config=config, **keys)

    def duckdb(self):
        connection = duckdb.connect()
        for extension in EXTENSIONS:
            connection.load_extension(extension)
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET python_enable_replacements = false")
        endpoint = f"{self.base}/iceberg"
        connection.execute(
            f"CREATE SECRET lacus (TYPE iceberg, CLIENT_ID '{self.id}', CLIENT_SECRET '{self.secret}', OAUTH2_SERVER_URI '{endpoint}/v1/oauth/tokens')"
        )
        connection.execute(f"ATTACH '' AS lake (TYPE iceberg, ENDPOINT '{endpoint}', SECRET lacus, DEFAULT_SCHEMA 'main')")
        return connection


def code_of(act, *arguments, **named):
    """The code and status of what was refused."""
    try:
        act(*arguments, **named)
    except ClientError as error:
        return error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
    sys.exit(f"{act} was not refused: {arguments} {named}")


def status_of(act):
    try:
        act()
    except urllib.error.HTTPError as error:
        return error.code
    sys.exit("it was not refused")


def crc32(body):
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


def rows_of(first, count):
    numbers = range(first, first + count)
    return pyarrow.table({"id": pyarrow.array(numbers, pyarrow.int64()), "name": [f"row {n}" for n in numbers]})


def tables(elsewhere):
    """pyiceberg, DuckDB and Polars read and write over the bucket alone."""
    lacus = elsewhere.lacus
    for lines in clicks():
        lacus.send("clicks", lines)
        lacus.commit("clicks")
    catalog = elsewhere.catalog()
    loaded = catalog.load_table("main.clicks")
    assert loaded.location() == "s3://lake/main/clicks", loaded.location()
    assert loaded.io.properties["s3.endpoint"] == elsewhere.base, loaded.io.properties
    ours = [same_times(row) for row in ordered(lacus.sql("SELECT * FROM clicks"))]
    iceberg = loaded.scan().to_arrow()
    forgiven = lists_of_structs(iceberg.schema)
    compare("pyiceberg", null_as_empty(ours, forgiven), null_as_empty(ordered(iceberg.to_pylist()), forgiven))
    engine = elsewhere.duckdb()
    compare("DuckDB", ours, ordered(engine.execute("SELECT * FROM lake.main.clicks").to_arrow_table().to_pylist()))
    options = {name: value for name, value in loaded.io.properties.items() if name.startswith("s3.")}
    compare("Polars", ours, ordered(polars.scan_iceberg(loaded, storage_options=options).collect().to_arrow().to_pylist()))
    catalog.create_namespace("shop")
    orders = catalog.create_table("shop.orders", rows_of(0, 1).schema)
    for first in (0, 100):
        orders.append(rows_of(first, 100))
    orders.delete("id < 10")
    files = [task.file.file_path for task in orders.scan().plan_files()]
    assert files and all(file.startswith("s3://lake/shop/orders/data/") for file in files), files
    assert lacus.sql("SELECT count(*) AS n, sum(id) AS s FROM shop.orders") == [{"n": 190, "s": sum(range(10, 200))}]
    engine.execute("CREATE TABLE lake.shop.pets (id BIGINT, name VARCHAR)")
    engine.execute("INSERT INTO lake.shop.pets SELECT n, 'pet ' || n FROM range(1000) t(n)")
    engine.execute("DELETE FROM lake.shop.pets WHERE id % 10 = 3")
    engine.execute("CREATE TABLE lake.shop.copy AS SELECT * FROM lake.shop.pets WHERE id < 50")
    for table, count in (("pets", 900), ("copy", 45)):
        assert lacus.sql(f"SELECT count(*) AS n FROM shop.{table}") == [{"n": count}]
        assert catalog.load_table(f"shop.{table}").scan().to_arrow().num_rows == count
    assert engine.execute("SELECT count(*) FROM lake.shop.orders").fetchall() == [(190,)]
    for table in ("shop.orders", "shop.pets", "shop.copy"):
        catalog.purge_table(table)
    print(f"{len(ours)} rows: lacus, pyiceberg, DuckDB and Polars agree; what they wrote came over the bucket")


def doors(elsewhere):
    """Without a key nothing is told, to nobody; with one, other machines are told about tables and nothing else."""
    base, lacus = elsewhere.base, elsewhere.lacus
    lacus.send("clicks", ['{"a":1}'])
    lacus.commit("clicks")
    for wrong in ("LACUNOBODY:x", f"{elsewhere.id}:x"):
        try:
            elsewhere.catalog(credential=wrong)
            sys.exit(f"{wrong} was let in")
        except OAuthError as error:
            assert "invalid_client" in str(error), error
    for token in ("anybody", elsewhere.token() + "x", elsewhere.id):
        try:
            RestCatalog("lacus", uri=f"{base}/iceberg", token=token)
            sys.exit(f"{token} was let in")
        except UnauthorizedError:
            pass
    assert status_of(lambda: elsewhere.ask("/iceberg/v1/config")) == 401
    # On this machine, too: the files of this lake are served.
    assert status_of(lambda: urllib.request.urlopen(f"{lacus.base}/iceberg/v1/namespaces", timeout=60)) == 401
    for path in ("/v1/status", "/v1/keys", "/v1/users", "/openapi.json", "/metrics", "/v1/streams"):
        assert status_of(lambda: elsewhere.ask(path, elsewhere.token())) == 403, path
        urllib.request.urlopen(lacus.base + path, timeout=60).close()
    for path in ("/lake", "/lake/", "/lake/main/clicks/metadata/x", "/lake/keys.json"):
        for reached in (base, lacus.base):
            assert status_of(lambda: urllib.request.urlopen(reached + path, timeout=60)) == 403, path
    token = elsewhere.token()
    table = "/iceberg/v1/namespaces/main/tables/clicks"
    answer = elsewhere.ask(table, token)
    assert "s3.access-key-id" not in answer["config"] and "storage-credentials" not in answer, answer["config"]
    answer = elsewhere.ask(table, token, {"x-iceberg-access-delegation": "vended-credentials"})
    [lent] = answer["storage-credentials"]
    assert lent["prefix"] == "s3://lake/main/clicks" and lent["config"] == answer["config"]
    [again] = elsewhere.ask(f"{table}/credentials", token)["storage-credentials"]
    assert again["prefix"] == lent["prefix"]
    # What is lent is for the table alone.
    lacus.send("other", ['{"a":1}'])
    lacus.commit("other")
    store = elsewhere.bucket(again["config"]["s3.access-key-id"], again["config"]["s3.secret-access-key"])
    found = store.list_objects_v2(Bucket="lake", Prefix="main/clicks/")["Contents"]
    assert store.head_object(Bucket="lake", Key=found[0]["Key"])["ContentLength"] == found[0]["Size"]
    other = elsewhere.bucket().list_objects_v2(Bucket="lake", Prefix="main/other/")["Contents"][0]["Key"]
    for act, named in (
        (store.get_object, {"Key": other}),
        (store.put_object, {"Key": "main/other/data/mine", "Body": b"x"}),
        (store.list_objects_v2, {"Prefix": "main/"}),
        (store.list_objects_v2, {}),
        (store.delete_object, {"Key": other}),
        (store.create_multipart_upload, {"Key": "main/clicks2/data/mine"}),
    ):
        assert code_of(act, Bucket="lake", **named) == ("AccessDenied", 403), named
    altered = again["config"]["s3.access-key-id"].rsplit(".", 1)[0] + ".bWFpbi9vdGhlcg"
    store = elsewhere.bucket(altered, again["config"]["s3.secret-access-key"])
    assert code_of(store.get_object, Bucket="lake", Key=other) == ("SignatureDoesNotMatch", 403)
    aws, write = [lacus_key(lacus, asked) for asked in ({"aws": True}, {"source": "clicks"})]
    for id, secret in ((aws["access_key_id"], aws["secret_access_key"]), (write["id"], write["write_key"])):
        assert code_of(elsewhere.bucket(id, secret).list_buckets) == ("InvalidAccessKeyId", 403)
    # A key that is revoked opens nothing from then on, and nothing that came of it does.
    mine = lacus_key(lacus, {"lake": True})
    short = Elsewhere(lacus, f"{mine['access_key_id']}:{mine['secret_access_key']}")
    token = short.token()
    assert short.ask("/iceberg/v1/namespaces", token)["namespaces"]
    request = urllib.request.Request(f"{lacus.base}/v1/keys/{mine['id']}", method="DELETE")
    urllib.request.urlopen(request, timeout=60).close()
    assert status_of(lambda: short.ask("/iceberg/v1/namespaces", token)) == 401
    assert code_of(short.bucket().list_buckets) == ("InvalidAccessKeyId", 403)
    print("whoever has no lake key is told nothing; other machines are told about tables alone")


def lacus_key(lacus, asked):
    return json.loads(lacus.post("/v1/keys", json.dumps(asked), "application/json"))


def objects(elsewhere):
    """boto3 does all that there is, and is refused what there is not."""
    lacus = elsewhere.lacus
    lacus.send("clicks", ['{"a":1}'])
    lacus.commit("clicks")
    store = elsewhere.bucket()
    assert [bucket["Name"] for bucket in store.list_buckets()["Buckets"]] == ["lake"]
    store.head_bucket(Bucket="lake")
    assert store.get_bucket_location(Bucket="lake")["LocationConstraint"] is None
    key, body = "main/clicks/data/mine", bytes(range(256)) * 3000
    assert code_of(store.get_object, Bucket="lake", Key=key) == ("NoSuchKey", 404)
    assert code_of(store.head_object, Bucket="lake", Key=key) == ("404", 404)
    for algorithm in ("CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"):
        named = f"{key}-{algorithm}"
        try:
            store.put_object(Bucket="lake", Key=named, Body=body, ChecksumAlgorithm=algorithm)
        except Exception as error:  # boto3 computes some only with another package
            assert "Missing Dependency" in str(error), error
            continue
    put = store.put_object(Bucket="lake", Key=key, Body=body, IfNoneMatch="*")
    got = store.get_object(Bucket="lake", Key=key)
    assert got["Body"].read() == body and got["ETag"] == put["ETag"] and got["ContentLength"] == len(body)
    tag = got["ETag"]
    for asked, start, end in (("bytes=0-9", 0, 10), ("bytes=767990-", 767990, 768000), ("bytes=-5", 767995, 768000), ("bytes=5-99999999", 5, 768000)):
        part = store.get_object(Bucket="lake", Key=key, Range=asked)
        assert part["Body"].read() == body[start:end] and part["ContentRange"] == f"bytes {start}-{end - 1}/{len(body)}", asked
        assert part["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert code_of(store.get_object, Bucket="lake", Key=key, Range="bytes=768000-") == ("InvalidRange", 416)
    store.get_object(Bucket="lake", Key=key, IfMatch=tag)["Body"].read()
    assert code_of(store.get_object, Bucket="lake", Key=key, IfMatch='"other"') == ("PreconditionFailed", 412)
    assert code_of(store.get_object, Bucket="lake", Key=key, IfNoneMatch=tag)[1] == 304
    assert code_of(store.head_object, Bucket="lake", Key=key, IfNoneMatch=tag)[1] == 304
    assert code_of(store.get_object, Bucket="lake", Key=key, IfModifiedSince=got["LastModified"])[1] == 304
    # Files are written once. Who did not hear that it happened writes the same again.
    assert store.put_object(Bucket="lake", Key=key, Body=body)["ETag"] == tag
    assert code_of(store.put_object, Bucket="lake", Key=key, Body=body, IfNoneMatch="*") == ("PreconditionFailed", 412)
    assert code_of(store.put_object, Bucket="lake", Key=key, Body=b"other") == ("PreconditionFailed", 412)
    # In parts.
    parts = [bytes([n]) * (5 * MIB) for n in range(3)] + [b"the rest"]
    upload = {"Bucket": "lake", "Key": key + "-parts"}
    upload["UploadId"] = store.create_multipart_upload(**upload)["UploadId"]
    tags = [store.upload_part(**upload, PartNumber=n, Body=part)["ETag"] for n, part in enumerate(parts, 1)]
    told = [{"PartNumber": n, "ETag": tag} for n, tag in enumerate(tags, 1)]
    complete = lambda told, **said: store.complete_multipart_upload(**upload, MultipartUpload={"Parts": told}, **said)
    assert code_of(complete, told[::-1]) == ("InvalidPartOrder", 400)
    assert code_of(complete, told + [{"PartNumber": 9, "ETag": '"x"'}]) == ("InvalidPart", 400)
    assert code_of(store.get_object, Bucket="lake", Key=upload["Key"]) == ("NoSuchKey", 404)
    # What is said of the whole is compared, and the upload goes on when it is another file.
    assert code_of(complete, told, ChecksumCRC32=crc32(b"other"), ChecksumType="FULL_OBJECT") == ("BadDigest", 400)
    assert code_of(complete, told, MpuObjectSize=1) == ("InvalidRequest", 400)
    assert code_of(complete, [told[0] | {"ChecksumCRC32": crc32(parts[1])}] + told[1:]) == ("InvalidPart", 400)
    assert code_of(store.get_object, Bucket="lake", Key=upload["Key"]) == ("NoSuchKey", 404)
    whole = b"".join(parts)
    each = [part | {"ChecksumCRC32": crc32(body)} for part, body in zip(told, parts)]
    first = complete(each, ChecksumCRC32=crc32(whole), ChecksumType="FULL_OBJECT", MpuObjectSize=len(whole))
    assert store.get_object(Bucket="lake", Key=upload["Key"])["Body"].read() == whole
    # Who did not hear of it completes it again.
    assert complete(told)["ETag"] == first["ETag"] == store.head_object(Bucket="lake", Key=upload["Key"])["ETag"]
    assert code_of(complete, told[:-1]) == ("NoSuchUpload", 404)
    assert code_of(store.abort_multipart_upload, **upload) == ("NoSuchUpload", 404)
    given_up = {"Bucket": "lake", "Key": key + "-given-up"}
    given_up["UploadId"] = store.create_multipart_upload(**given_up)["UploadId"]
    store.upload_part(**given_up, PartNumber=1, Body=b"x")
    store.abort_multipart_upload(**given_up)
    assert code_of(store.upload_part, **given_up, PartNumber=2, Body=b"x") == ("NoSuchUpload", 404)
    # Lists.
    names = sorted([f"main/clicks/data/many/{n:04}" for n in range(25)])
    for name in names:
        store.put_object(Bucket="lake", Key=name, Body=name.encode())
    pages = store.get_paginator("list_objects_v2")
    found = [file["Key"] for page in pages.paginate(Bucket="lake", Prefix="main/clicks/data/many/", PaginationConfig={"PageSize": 10}) for file in page["Contents"]]
    assert found == names, found
    page = store.list_objects_v2(Bucket="lake", Prefix="main/clicks/", Delimiter="/")
    assert [folder["Prefix"] for folder in page["CommonPrefixes"]] == ["main/clicks/data/", "main/clicks/metadata/"]
    page = store.list_objects_v2(Bucket="lake", Delimiter="/")
    assert [folder["Prefix"] for folder in page["CommonPrefixes"]] == ["main/"], "the raw zone is nobody's"
    assert "Contents" not in store.list_objects_v2(Bucket="lake", Prefix="raw/")
    after = store.list_objects_v2(Bucket="lake", Prefix="main/clicks/data/many/", StartAfter=names[20])["Contents"]
    assert [file["Key"] for file in after] == names[21:]
    # What a table needs stays.
    needed = [file["Key"] for page in pages.paginate(Bucket="lake", Prefix="main/clicks/") for file in page["Contents"] if "mine" not in file["Key"] and "many" not in file["Key"]]
    assert len(needed) >= 4, needed
    for name in needed:
        assert code_of(store.delete_object, Bucket="lake", Key=name) == ("AccessDenied", 403), name
        assert code_of(store.put_object, Bucket="lake", Key=name, Body=b"gone") == ("PreconditionFailed", 412), name
    # lacus deletes files itself; what is not there is gone.
    answer = store.delete_objects(Bucket="lake", Delete={"Objects": [{"Key": name} for name in (names[0], f"{key}-nothing", needed[0])]})
    assert [file["Key"] for file in answer["Deleted"]] == [f"{key}-nothing"], answer
    assert sorted((file["Key"], file["Code"]) for file in answer["Errors"]) == sorted((name, "AccessDenied") for name in (names[0], needed[0]))
    assert code_of(store.delete_object, Bucket="lake", Key=key) == ("AccessDenied", 403)
    assert store.get_object(Bucket="lake", Key=key)["Body"].read() == body
    # Names as partitions have them.
    for name in ("main/clicks/data/n=a%2Fb/x.parquet", "main/clicks/data/n=a+b c/x.parquet"):
        store.put_object(Bucket="lake", Key=name, Body=b"x")
        found = store.list_objects_v2(Bucket="lake", Prefix=name.rsplit("/", 1)[0])["Contents"]
        assert [file["Key"] for file in found] == [name], found
    # Nothing outside of the tables is reached, whatever it is called.
    data = lacus.data
    (data / "lake/main/clicks/data/link").symlink_to(data / "keys.json")
    (data / "lake/main/clicks/folder").symlink_to(data)
    for name in ("../keys.json", "main/clicks/../../../keys.json", "main/clicks/data/../../../../keys.json", "keys.json", "raw/clicks/x", "main/clicks/data/link", "main/clicks/folder/keys.json", "Main/clicks/x", "main/./clicks/x"):
        for act, given in ((store.get_object, {}), (store.put_object, {"Body": b"x"}), (store.delete_object, {})):
            refused = code_of(act, Bucket="lake", Key=name, **given)
            assert refused == ("AccessDenied", 403), (name, refused)
    listed = [file["Key"] for page in pages.paginate(Bucket="lake") for file in page["Contents"]]
    assert listed and not [name for name in listed if "link" in name or "folder" in name or "raw" in name], listed
    (data / "lake/main/clicks/data/link").unlink()
    (data / "lake/main/clicks/folder").unlink()
    assert code_of(store.put_object, Bucket="lake", Key="main/nothing/data/x", Body=b"x") == ("AccessDenied", 403)
    assert code_of(store.get_object, Bucket="lake", Key="main/nothing/data/x") == ("NoSuchKey", 404)
    assert code_of(store.list_objects_v2, Bucket="other") == ("NoSuchBucket", 404)
    assert code_of(store.get_object, Bucket="other", Key="x") == ("NoSuchBucket", 404)
    assert code_of(elsewhere.bucket(secret="x" * 40).list_buckets) == ("SignatureDoesNotMatch", 403)
    assert code_of(elsewhere.bucket(id="LACUNOBODY").list_buckets) == ("InvalidAccessKeyId", 403)
    assert code_of(elsewhere.bucket(signature_version="s3").list_objects_v2, Bucket="lake") == ("AccessDenied", 403)
    address = store.generate_presigned_url("get_object", Params={"Bucket": "lake", "Key": needed[0]})
    assert status_of(lambda: urllib.request.urlopen(address, timeout=60)) == 501
    assert code_of(store.copy_object, Bucket="lake", Key=key, CopySource={"Bucket": "lake", "Key": needed[0]}) == ("NotImplemented", 501)
    assert code_of(store.list_objects, Bucket="lake") == ("NotImplemented", 501)
    assert code_of(store.delete_bucket, Bucket="lake") == ("NotImplemented", 501)
    # pyarrow, which signs and uploads in its own way.
    arrow = pyarrow.fs.S3FileSystem(access_key=elsewhere.id, secret_key=elsewhere.secret, region="us-east-1", endpoint_override=elsewhere.base)
    with arrow.open_output_stream("lake/main/clicks/data/arrow") as stream:
        stream.write(body * 20)
    with arrow.open_input_file("lake/main/clicks/data/arrow") as file:
        file.seek(1_000_000)
        assert file.read(1000) == (body * 20)[1_000_000:1_001_000]
    assert not list((data / "uploads").iterdir()), "something is left of an upload"
    print(f"{len(needed)} files of a table stayed; all else was written once, read and listed")


def cut(elsewhere):
    """A file that breaks off, and one in parts whose server is about to be killed."""
    lacus = elsewhere.lacus
    lacus.send("clicks", ['{"a":1}'])
    lacus.commit("clicks")
    store, key = elsewhere.bucket(), "main/clicks/data/cut"

    class Unsigned(S3SigV4Auth):
        """Signs a request whose body comes later."""

        def payload(self, request):
            return "UNSIGNED-PAYLOAD"

    def begin(announced, sent, path=None):
        path = path or f"/lake/{key}"
        request = AWSRequest("PUT", elsewhere.base + path, headers={"host": elsewhere.base[7:]})
        Unsigned(Credentials(elsewhere.id, elsewhere.secret), "s3", "us-east-1").add_auth(request)
        connection = http.client.HTTPConnection(elsewhere.base[7:], timeout=60)
        connection.putrequest("PUT", path, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            connection.putheader(name, value)
        connection.putheader("content-length", str(announced))
        connection.endheaders()
        connection.send(b"x" * sent)
        return connection

    uploads = lacus.data / "uploads"
    whole = begin(5, 5)
    reply = whole.getresponse()
    assert reply.status == 200, reply.read()
    key = "main/clicks/data/cut-short"
    connection = begin(10 * MIB, 3 * MIB)
    wait_for(lambda: len(list(uploads.iterdir())) == 1)
    assert code_of(store.get_object, Bucket="lake", Key=key) == ("NoSuchKey", 404)
    connection.close()
    wait_for(lambda: not list(uploads.iterdir()))
    assert code_of(store.get_object, Bucket="lake", Key=key) == ("NoSuchKey", 404)
    reply = begin(5 * (1 << 30) + 1, 0).getresponse()
    assert reply.status == 400, reply.status
    upload = {"Bucket": "lake", "Key": key}
    upload["UploadId"] = store.create_multipart_upload(**upload)["UploadId"]
    store.upload_part(**upload, PartNumber=1, Body=b"x" * MIB)
    connection = begin(10 * MIB, 3 * MIB)
    wait_for(lambda: len(list(uploads.iterdir())) == 2)
    print(json.dumps(upload))


def wait_for(is_so):
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen within a minute"
        time.sleep(0.02)


STORIES = [tables, doors, objects, cut]


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--project", required=True, type=pathlib.Path)
    arguments.add_argument("--key", required=True)
    arguments.add_argument("--only", choices=[story.__name__ for story in STORIES], required=True)
    arguments = arguments.parse_args()
    for extension in EXTENSIONS:
        import_extension(extension)
    elsewhere = Elsewhere(Lacus(arguments.project), arguments.key)
    next(story for story in STORIES if story.__name__ == arguments.only)(elsewhere)


if __name__ == "__main__":
    main()
