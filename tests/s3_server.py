"""A server of S3's API on loopback (moto's), and the environment that leads to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.request import Request, urlopen

import boto3
import s3fs
from moto.server import ThreadedMotoServer


@contextmanager
def running_s3() -> Iterator[tuple[ThreadedMotoServer, dict[str, str]]]:
    """The server, empty, and what must stand in the environment of who asks it."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()  # all servers share one memory
    s3fs.S3FileSystem.clear_instance_cache()
    yield (
        server,
        {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
        },
    )
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def upload(content: Mapping[str, bytes]) -> None:
    """Objects in the bucket `bucket`, by key."""
    client = boto3.client("s3")
    client.create_bucket(Bucket="bucket")
    for key, body in content.items():
        client.put_object(Bucket="bucket", Key=key, Body=body)
    client.close()
