"""What keeps a command from being carried out is said in a sentence that whoever runs it can act upon."""

import pytest
import typer

from tieout_server.commands.running import run
from tieout_server.errors import StorageUnavailableError


def test_a_database_that_is_away_is_told_in_its_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    async def done() -> None:
        raise StorageUnavailableError("Repeat the call.", "password authentication failed for user tieout")

    with pytest.raises(typer.Exit) as left:
        run(done())
    assert left.value.exit_code == 2
    said = capsys.readouterr().err
    assert said == (
        "tieout-server: The database of TIEOUT_DATABASE_URL cannot be used: "
        "password authentication failed for user tieout\n"
    )
