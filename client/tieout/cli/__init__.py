"""The command line `tieout`: everything that the API serves, for people and for scripts."""

import os


def main() -> None:
    """Run the command line and leave with its exit code."""
    # gRPC reports broken connections on stderr by itself, which would tear a live display; it reads this when imported.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from tieout.cli.app import app  # noqa: PLC0415 - after the line above

    app(prog_name="tieout")
