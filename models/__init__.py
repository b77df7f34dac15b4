"""What a row is: columns, constraints, states. It never decides."""

from models.accounts import (
    ApiKey,
    AuditEvent,
    Invitation,
    PasswordReset,
    Permission,
    Role,
    RolePermission,
    Session,
    Tenant,
    TenantFeature,
    User,
    UserRole,
)
from models.base import Base
from models.inventory import Domain, Page, PageRead, SitemapFile, SitemapRead, SitemapUrl
from models.work import BatchCount, BatchJob, BatchReject, IdempotencyKey, Job

__all__ = [
    "ApiKey", "AuditEvent", "Base", "BatchCount", "BatchJob", "BatchReject", "Domain", "IdempotencyKey", "Invitation",
    "Job", "Page", "PageRead", "PasswordReset", "Permission", "Role", "RolePermission", "Session", "SitemapFile",
    "SitemapRead", "SitemapUrl", "Tenant", "TenantFeature", "User", "UserRole",
]  # fmt: skip
