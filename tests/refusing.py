"""What a refused call says, read from a real status."""

from typing import Any

import pytest
from google.rpc import error_details_pb2 as details
from grpc import aio
from grpc_status import rpc_status


def said(error: aio.AioRpcError) -> tuple[str, dict[str, str]]:
    """The reason of a refusal, and its violations by field."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type] # it takes the error of a call as well
    assert status is not None
    info, broken = details.ErrorInfo(), details.BadRequest()
    for part in status.details:
        part.Unpack(info)
        part.Unpack(broken)
    return info.reason, {one.field: one.description for one in broken.field_violations}


async def refused(call: Any) -> tuple[str, dict[str, str]]:  # noqa: ANN401 - the call of an asyncio stub
    """What this call says, which has to be refused."""
    with pytest.raises(aio.AioRpcError) as refusal:
        await call
    return said(refusal.value)
