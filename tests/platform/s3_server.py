"""A real S3 server on loopback: SeaweedFS, one process, ports of its own, two identities, nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from free_ports import free_ports

_START_SECONDS = 300
_GUARD = '"$@" </dev/null & cat >/dev/null; kill -9 $!'
"""The pipe closes when the process that started the server ends, however it ends; then the server does, too."""


class Identity(NamedTuple):
    """Who asks."""

    key: str
    secret: str


WRITER = Identity("writer-key", "writer-secret-0123456789")
READER = Identity("reader-key", "reader-secret-0123456789")
SMALL = ["-volume.max=2", "-master.volumeSizeLimitMB=4"]
"""Options of a server that has room for a few megabytes."""
WRONG = Identity("writer-key", "not-the-secret-0123456789")


class S3Server:
    """SeaweedFS on free ports of 127.0.0.1 with one bucket; ``kill`` and ``start`` again keep its data.

    Attributes:
        bucket: The bucket.
        options: More options of ``weed mini``, taken at the next start: how many volumes there may be, for example.
    """

    def __init__(self, bucket: str = "data", folder: Path | None = None, options: Sequence[str] = ()) -> None:
        self.bucket, self.options = bucket, list(options)
        self._own_folder = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="weed-"))
        names = ["s3", "master", "volume", "filer", "admin"]
        ports = free_ports(2 * len(names))
        self._ports = dict(zip(names, ports, strict=False))
        self._grpc = dict(zip(names, ports[len(names) :], strict=True))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        return self._ports["s3"]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> S3Server:
        """Starts the server and waits until it takes requests."""
        config = self.folder / "identities.json"
        known = (self.folder / "data").is_dir()
        (self.folder / "data").mkdir(exist_ok=True)
        config.write_text(json.dumps({"identities": [_identity("writer", WRITER, ["Read", "Write", "List", "Tagging"]),
                                                     _identity("reader", READER, ["Read", "List"])]}))  # fmt: skip
        weed = Path(sys.executable).with_name("weed")
        ports = [f"-{name}.port={port}" for name, port in self._ports.items()]
        ports += [f"-{name}.port.grpc={port}" for name, port in self._grpc.items()]
        # Key variables of the environment would add an identity of their own.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
        with (self.folder / "weed.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["bash", "-c", _GUARD, "guard", str(weed), "-logtostderr=true", "mini",
                 f"-dir={self.folder / 'data'}", "-ip=127.0.0.1",
                 "-ip.bind=127.0.0.1", "-master.telemetry=false", "-webdav=false", "-admin.ui=false",
                 "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={config}", f"-bucket={self.bucket}", *ports,
                 *self.options],
                stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=self.folder, env=environment, start_new_session=True,
            )  # fmt: skip
        self._wait(known=known)
        return self

    def kill(self) -> None:
        """Ends the server at once, as a power cut would."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Ends the server and removes its data."""
        self.kill()
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def fill(self, timeout_seconds: float = 120) -> None:
        """Writes until the server has no room; it notices some seconds late that a volume is full."""
        from botocore.exceptions import ClientError

        client, end = self.client(), time.monotonic() + timeout_seconds
        while time.monotonic() < end:
            try:
                client.put_object(Bucket=self.bucket, Key=f"other/{time.monotonic_ns()}", Body=bytes(1 << 20))
            except ClientError:
                return
            time.sleep(0.1)
        raise RuntimeError("the server takes more than it has room for")

    def environment(self, identity: Identity = WRITER, endpoint: str | None = None) -> dict[str, str]:
        """Returns the variables by which AWS's libraries find this server."""
        return {
            "AWS_ACCESS_KEY_ID": identity.key,
            "AWS_SECRET_ACCESS_KEY": identity.secret,
            "AWS_ENDPOINT_URL_S3": endpoint or self.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def client(self, identity: Identity = WRITER) -> Any:
        """Returns a boto3 client of this server."""
        import boto3

        return boto3.client(
            "s3", endpoint_url=self.endpoint, aws_access_key_id=identity.key,
            aws_secret_access_key=identity.secret, region_name="us-east-1",
        )  # fmt: skip

    def __enter__(self) -> S3Server:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait(self, *, known: bool) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        client, end = self.client(), time.monotonic() + _START_SECONDS
        while True:
            try:
                if known:  # after a restart it takes requests before it has found what it holds
                    client.get_object(Bucket=self.bucket, Key=".ready")["Body"].read()
                client.put_object(Bucket=self.bucket, Key=".ready", Body=b"ready")
                return
            except (BotoCoreError, ClientError) as error:
                assert self._process is not None
                if time.monotonic() > end or self._process.poll() is not None:
                    log = (self.folder / "weed.log").read_text(errors="replace")
                    raise RuntimeError(f"SeaweedFS did not start ({error}):\n{log[-3000:]}") from error
                time.sleep(0.1)


def _identity(name: str, identity: Identity, actions: list[str]) -> dict[str, Any]:
    credentials = [{"accessKey": identity.key, "secretKey": identity.secret}]
    return {"name": name, "credentials": credentials, "actions": actions}
