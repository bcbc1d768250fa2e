"""Settings: flag, else environment, else `headwater.toml`, else default."""

from headwater.settings.documentation import Documented, document
from headwater.settings.exposure import check_exposure, is_loopback
from headwater.settings.loading import FILE_NAME, load
from headwater.settings.schema import (
    AuthSettings,
    Endpoint,
    HedgeSettings,
    KeyLimits,
    KeySettings,
    LimitSettings,
    ModelSettings,
    ProviderSettings,
    ServerSettings,
    Settings,
    StoreSettings,
    TimeoutSettings,
)
from headwater.settings.values import folder_of

__all__ = [
    "FILE_NAME",
    "AuthSettings",
    "Documented",
    "Endpoint",
    "HedgeSettings",
    "KeyLimits",
    "KeySettings",
    "LimitSettings",
    "ModelSettings",
    "ProviderSettings",
    "ServerSettings",
    "Settings",
    "StoreSettings",
    "TimeoutSettings",
    "check_exposure",
    "document",
    "folder_of",
    "is_loopback",
    "load",
]
