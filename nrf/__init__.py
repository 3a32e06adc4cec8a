"""nrf: the robust and non-robust features that image classifiers learn.

Import the modules you need, `from nrf import attacks, losses, models`; the map of
the package is in README.md. Importing `nrf` or `nrf.config` does not import JAX.
"""

__version__ = "0.1.0"
