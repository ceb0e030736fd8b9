"""What every command can be told: which server, how to reach it, who is calling, and how to print."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import tieout

if TYPE_CHECKING:
    from tieout.watch import Patience

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document a line, fields as in the protos.")]
ConnectionName = Annotated[str, typer.Argument(metavar="CONNECTION", help="A connection's id, or its merchant's.")]
Ids = Annotated[bool, typer.Option("--ids", help="Print ids too.")]
Limit = Annotated[int, typer.Option(help="Print at most so many; 0 prints all.", min=0)]
Target = Annotated[str, typer.Option(envvar="TIEOUT_TARGET", help="Where the server listens, host:port.")]
UseTls = Annotated[bool, typer.Option("--tls", envvar="TIEOUT_TLS", help="Encrypt; a file option implies it.")]
CaFile = Annotated[Path | None, typer.Option(envvar="TIEOUT_CA_FILE", help="PEM certificates to trust.")]
CertFile = Annotated[Path | None, typer.Option(envvar="TIEOUT_CERT_FILE", help="PEM certificate of the caller (mTLS).")]
KeyFile = Annotated[Path | None, typer.Option(envvar="TIEOUT_KEY_FILE", help="PEM private key of that certificate.")]
Token = Annotated[str, typer.Option(envvar="TIEOUT_TOKEN", help="Bearer token; better given by the environment.")]
A_CALL = 90.0
"""Seconds that one call may take: what reads from Xero may first wait for the next minute of its limit."""
Timeout = Annotated[float, typer.Option(envvar="TIEOUT_TIMEOUT", help="Seconds that one call may take.", min=0.1)]


@dataclass(frozen=True)
class Server:
    """Which server, and how to reach it."""

    target: str
    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    token: str = ""
    timeout: timedelta = timedelta(seconds=A_CALL)

    def client(self, patience: "Patience") -> "tieout.Client":
        """Make a client for it.

        Raises:
            OSError: a TLS file cannot be read.
            ValueError: only one of certificate and key is given, or the target is a web address.
        """
        encrypted = self.tls or self.ca_file or self.cert_file or self.key_file
        tls = tieout.Tls(self.ca_file, self.cert_file, self.key_file) if encrypted else None
        return tieout.Client(self.target, tls=tls, token=self.token, timeout=self.timeout, patience=patience)
