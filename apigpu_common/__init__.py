"""The little that orchestrator and worker truly share; it knows neither of them."""

from importlib.metadata import version

__version__ = version("api-gpu")
