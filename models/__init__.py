"""What a row is: columns, constraints, states. It never decides."""

from models.accounts import Permission, Role, RolePermission, Session, Tenant, User, UserRole
from models.base import Base
from models.inventory import Domain, Page, PageRead, SitemapFile, SitemapRead, SitemapUrl
from models.work import BatchCount, BatchJob, BatchReject, IdempotencyKey, Job

__all__ = [
    "Base", "BatchCount", "BatchJob", "BatchReject", "Domain", "IdempotencyKey", "Job", "Page", "PageRead",
    "Permission", "Role", "RolePermission", "Session", "SitemapFile", "SitemapRead", "SitemapUrl", "Tenant", "User",
    "UserRole",
]  # fmt: skip
