"""A reader of a watch in a process of its own, to be killed: prints one token a line, `*` before those of events."""

import asyncio
import sys

import tieout


async def read(target: str, kind: str, connection_id: str, after: str) -> None:
    async with tieout.Client(target) as client:
        if kind == "connection":
            async for change in client.connections.watch(connection_ids=[connection_id], after=after):
                say(change.resume_token, is_event=change.HasField("change"))
        elif kind == "changes":
            async for news in client.receivables.watch_changes(connection_id, after=after):
                say(news.resume_token, is_event=news.HasField("change"))
        elif kind == "export":
            async for export in client.payment_exports.watch(connection_id, after=after):
                say(export.resume_token, is_event=export.HasField("change"))
        elif kind == "discrepancy":
            async for found in client.reconciliations.watch_discrepancies(connection_id, after=after):
                say(found.resume_token, is_event=found.HasField("change"))
        else:
            async for told in client.syncs.watch_connection(connection_id, after=after):
                say(told.resume_token, is_event=told.HasField("progress"))


def say(token: str, *, is_event: bool) -> None:
    sys.stdout.write(f"{'*' if is_event else ' '}{token}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(read(*sys.argv[1:5]))
