"""How many devices a processor has; where programs are kept, with or without a home."""

import contextlib
import io
import os
import pwd
from unittest import mock

import helpers
import jax
import numpy as np
from absl.testing import parameterized
from jax.sharding import Mesh

from nrf import __main__ as command
from nrf import data, devices, train
from nrf.experiments import networks
from nrf.runs import local


class ShareTest(parameterized.TestCase):
    def updates(self, said=-1, refuse=None, **environment):
        """What is asked of JAX where so many devices were said."""
        config = mock.Mock(jax_num_cpu_devices=said)
        config.update.side_effect = refuse
        with (
            mock.patch.object(jax, "config", config),
            mock.patch.dict(os.environ, {"XLA_FLAGS": "", **environment}),
        ):
            devices.share_cpu()
        return [call.args for call in config.update.call_args_list]

    def test_two_unless_somebody_has_said_how_many(self):
        two = [("jax_num_cpu_devices", 2)]
        self.assertEqual(self.updates(), two)
        self.assertEqual(self.updates(XLA_FLAGS="--xla_x=1"), two)
        flag = "--xla_force_host_platform_device_count=8"
        self.assertEmpty(self.updates(XLA_FLAGS=flag))
        for said in (0, 1, 4):
            self.assertEmpty(self.updates(said))
        with mock.patch.object(jax.distributed, "is_initialized", return_value=True):
            self.assertEmpty(self.updates())

    def test_what_is_up_is_kept(self):
        self.assertLen(self.updates(refuse=RuntimeError("it is up")), 1)
        before = jax.devices()
        with mock.patch.object(devices.start, "CPUS", 3):
            devices.share_cpu()
        self.assertEqual(jax.devices(), before)

    @parameterized.parameters(("cpu", [0], 1), ("cpu", [0, 1], 4), ("gpu", [0], 4))
    def test_trainings_use_one_processor_once(self, platform, processes, count):
        four = [
            mock.Mock(platform=platform, process_index=processes[i % len(processes)])
            for i in range(4)
        ]
        mesh = Mesh(np.asarray(four), ("data",))
        found = devices.for_training(mesh)
        self.assertEqual([*found.devices.flat], four[:count])
        self.assertEqual(found.axis_names, mesh.axis_names)

    def test_a_fit_trains_on_them(self):
        config = helpers.tiny()
        dataset, _ = data.load("digits", train_examples=64, test_examples=40)
        env = local()
        with mock.patch.object(train, "epochs", return_value=()) as epochs:
            networks.fit(
                jax.random.key(0),
                dataset,
                dataset,
                network=config.network,
                training=config.networks["standard"],
                env=env,
            )
        self.assertEqual(epochs.call_args.kwargs["mesh"].size, 1)
        self.assertEqual(env.mesh.size, 4)

    def test_verify_shares_the_processor_too(self):
        line = "verify nowhere --network a --norm l2 --epsilon 0.5 --out a.json"
        with (
            mock.patch.object(devices, "share_cpu") as shared,
            contextlib.redirect_stderr(io.StringIO()),
        ):
            self.assertEqual(command.main(line.split()), 1)
        shared.assert_called_once()


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
