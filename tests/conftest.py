"""How hard the property tests try: `fast` by default, `deep` with HYPOTHESIS_PROFILE=deep."""

import os

from hypothesis import HealthCheck, settings

# Two cores, shared with whatever else runs: the clock says nothing about a property, so there is no deadline.
settings.register_profile("fast", deadline=None, print_blob=True, max_examples=50)
settings.register_profile(
    "deep", deadline=None, print_blob=True, max_examples=2000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))
