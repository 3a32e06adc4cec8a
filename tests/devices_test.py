"""Where compiled programs are kept, and what happens without a home."""

import os
import pwd
from unittest import mock

import jax
from absl.testing import parameterized

from nrf import data, devices


class HomeTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.updates = {}
        self.enterContext(
            mock.patch.object(jax.config, "update", self.updates.__setitem__)
        )
        self.enterContext(mock.patch.dict(os.environ, HOME="/home/ann"))
        os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
        os.environ.pop("TFDS_DATA_DIR", None)

    def without_home(self):
        """As under a number that is nobody's, in a container."""
        del os.environ["HOME"]
        nobody = mock.Mock(side_effect=KeyError)
        self.enterContext(mock.patch.object(pwd, "getpwuid", nobody))

    def test_programs_are_kept_in_the_home(self):
        devices.cache_programs()
        self.assertEqual(
            self.updates["jax_compilation_cache_dir"], "/home/ann/.cache/nrf"
        )

    def test_without_a_home_none_are_kept(self):
        self.without_home()
        devices.cache_programs()
        self.assertEmpty(self.updates)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = "/srv/programs"
        devices.cache_programs()
        self.assertEqual(self.updates["jax_compilation_cache_dir"], "/srv/programs")

    def test_without_a_home_data_sets_are_asked_for_in_words(self):
        self.without_home()
        for name, options in (("~/photos", {}), ("cifar10", {"data_dir": "~/sets"})):
            with self.assertRaisesRegex(ValueError, "there is no home; set HOME or"):
                data.load(name, **options)
