"""Laws are tried without a deadline: how long one example takes says more about the machine."""

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
