"""The way that unchanged clients take to the sandbox leads nowhere else."""

import asyncio
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from tieout_sandbox import SandboxSettings, serve
from xero_hosts import HOSTS, xero_hosts


@pytest.mark.parametrize("host", HOSTS)
async def test_xeros_hosts_are_the_sandbox(tmp_path: Path, host: str) -> None:
    async with (
        serve(SandboxSettings(contacts=20, invoices=100)) as sandbox,
        xero_hosts(urlsplit(sandbox.url).port or 0, tmp_path) as given,
        aiohttp.ClientSession() as http,
    ):
        trusted = ssl.create_default_context(cafile=given["REQUESTS_CA_BUNDLE"])
        url = f"https://{host}/.well-known/openid-configuration"
        async with http.get(url, proxy=given["HTTPS_PROXY"], ssl=trusted) as answer:
            assert (await answer.json())["issuer"] == "https://identity.xero.com"


async def test_no_other_host_is_reached(tmp_path: Path) -> None:
    async with xero_hosts(1, tmp_path) as given:
        port = urlsplit(given["HTTPS_PROXY"]).port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")
        assert await reader.read() == b"HTTP/1.1 403 Forbidden\r\n\r\n"
        writer.close()
        await writer.wait_closed()
