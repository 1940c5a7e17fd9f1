"""Who can be called. `load` finds the vendors of this package and of third parties."""

from importlib.metadata import entry_points

from . import anthropic, openai, openai_compatible
from .vendor import ENTRY_POINTS, Vendor

BUILT_IN = (anthropic.VENDOR, openai.VENDOR, openai_compatible.VENDOR)


def load() -> dict[str, Vendor]:
    """Vendors by name; one from an entry point replaces a built-in one of the same name."""
    vendors = {vendor.name: vendor for vendor in BUILT_IN}
    for entry_point in entry_points(group=ENTRY_POINTS):
        vendor: Vendor = entry_point.load()
        vendors[vendor.name] = vendor
    return vendors
