"""The client of an S3 server: credentials and endpoint as they are set for every dataset, and a quick start."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from spelling_transfer.storage.remote_errors import explain_remote
from spelling_transfer.storage.stores.base import StoreError

ATTEMPTS = 6


def make_client(connections: int) -> Any:
    """Returns a client of boto3; nothing is sent yet.

    Args:
        connections: How many requests at once.

    Raises:
        StoreError: There is no such profile, or the endpoint is no URL.
    """
    import boto3
    import fsspec
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    options: dict[str, Any] = dict(fsspec.config.conf.get("s3", {}))
    more = dict(options.get("client_kwargs") or {})
    config = Config(
        max_pool_connections=connections,
        connect_timeout=10,
        read_timeout=60,
        retries={"max_attempts": ATTEMPTS, "mode": "standard"},
        # SHA-256 is sent with everything and compared with the manifest after everything: a second sum adds nothing.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    ).merge(Config(**(options.get("config_kwargs") or {})))
    try:
        core = Session()
        # Each object of a listing has a time, and the parser that guesses its form costs more than all the rest of it.
        core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=parse_time)
        session = boto3.Session(
            aws_access_key_id=options.get("key"),
            aws_secret_access_key=options.get("secret"),
            aws_session_token=options.get("token"),
            profile_name=options.get("profile"),
            region_name=more.get("region_name"),
            botocore_session=core,
        )
        endpoint = options.get("endpoint_url") or more.get("endpoint_url")
        region = session.region_name or "us-east-1"
        return session.client("s3", endpoint_url=endpoint, region_name=region, config=config)
    except (BotoCoreError, ValueError) as error:
        raise StoreError(explain_remote(error, "s3", "read") or f"s3: {error}.") from error


def parse_time(value: Any) -> datetime:
    """Returns a time in a server's answer: ISO 8601 in its body, another form in its headers."""
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        found = None
    if found is not None and found.tzinfo is not None:
        return found
    from botocore.utils import parse_timestamp

    parsed: datetime = parse_timestamp(value)
    return parsed


def server_time(answer: dict[str, Any]) -> float:
    """Returns the time of an answer by the server's clock, in seconds."""
    from email.utils import parsedate_to_datetime

    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return parsedate_to_datetime(date).timestamp() if date else time.time()
