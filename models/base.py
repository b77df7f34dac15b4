"""The declarative base, the types in common, and the names constraints get."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from sqlalchemy import DateTime, Identity, MetaData, SmallInteger, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own protocol
        datetime: DateTime(timezone=True),
        str: Text(),
        UUID: Uuid(as_uuid=True),
        dict[str, Any]: JSONB(none_as_null=True),
    }


# A tenant's rows are keyed (tenant_id, id): every foreign key between tenant tables then carries the tenant.
TenantId = Annotated[UUID, mapped_column(primary_key=True)]
RowId = Annotated[UUID, mapped_column(primary_key=True, server_default=text("uuidv7()"))]
BigRowId = Annotated[int, mapped_column(Identity(always=True), primary_key=True)]
SmallInt = Annotated[int, mapped_column(SmallInteger)]
Now = Annotated[datetime, mapped_column(server_default=text("now()"))]
