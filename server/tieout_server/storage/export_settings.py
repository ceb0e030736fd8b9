"""How payments of a connection go into Xero, as the caller last said."""

import msgspec
from sqlalchemy import insert, select, update

from tieout_server.clock import from_micros, to_micros
from tieout_server.ledger.exports import ExportSettings
from tieout_server.storage.database import Transaction
from tieout_server.storage.export_tables import export_settings


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    accounts: dict[str, str]
    overpayment_policy: str
    refund_xero_account_id: str
    refund_tax_type: str


_body = msgspec.json.Decoder(_Body).decode


async def get(tx: Transaction, connection_id: str, *, lock: bool = False) -> ExportSettings:
    """The settings of this connection; those of nobody's choice before the first update.

    With `lock`, nobody else changes them until the commit, once there are some.
    """
    query = select(export_settings).where(export_settings.c.connection_id == connection_id)
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    if row is None:
        return ExportSettings(connection_id=connection_id)
    body = _body(row.body)
    return ExportSettings(
        connection_id=connection_id,
        accounts=body.accounts,
        overpayment_policy=body.overpayment_policy,
        refund_xero_account_id=body.refund_xero_account_id,
        refund_tax_type=body.refund_tax_type,
        revision=row.revision,
        updated_at=from_micros(row.updated_at),
    )


async def put(tx: Transaction, settings: ExportSettings) -> None:
    """Keep these settings in place of what was there; whoever does holds the connection."""
    assert settings.updated_at is not None, "settings that were never updated are not kept"
    body = _Body(
        accounts=settings.accounts,
        overpayment_policy=settings.overpayment_policy,
        refund_xero_account_id=settings.refund_xero_account_id,
        refund_tax_type=settings.refund_tax_type,
    )
    values = {
        "body": msgspec.json.encode(body).decode(),
        "revision": settings.revision,
        "updated_at": to_micros(settings.updated_at),
    }
    own = export_settings.c.connection_id == settings.connection_id
    if not (await tx.execute(update(export_settings).where(own).values(**values))).rowcount:
        await tx.execute(insert(export_settings).values(connection_id=settings.connection_id, **values))
