"""What others use, in and out: weights against PyTorch, sets read back by others."""

import contextlib
import importlib.util
import io
import json
import os
import re
import shlex
import struct
import warnings
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import peers
from absl.testing import parameterized
from helpers import TRAINING, folder_of, tiny

from nrf import __main__ as command
from nrf import data, exchange, models, report, runs
from nrf.config import Evaluation, Given
from nrf.exchange.writers import FORMATS
from nrf.experiments import certificate, main, plan, prepare, verify
from nrf.runs import Constructed, Trained, manifest, store
from nrf.runs.provenance import describe

# As the cards of sets begin.
HEAD = """---
configs:
- config_name: default
  data_files: data/*.parquet
---
"""
PAGE = Path(__file__).parent.parent / "docs" / "exchange.md"
SMALL = "Rony2019Decoupling"  # The quickest of the networks.


def without(*packages):
    """Those that are not installed, for a reason to skip a test."""
    return [name for name in packages if importlib.util.find_spec(name) is None]


def needs(*packages):
    missing = without(*packages)
    return parameterized.unittest.skipIf(missing, f"without {', '.join(missing)}")


def statistics(entries):
    """What has to be said where the file does not say it."""
    there = any(name.endswith(("new_mean", "mu")) or name == "mean" for name in entries)
    return {} if there else {"mean": (0.0,), "std": (1.0,)}


@needs("safetensors")
class WeightsTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = folder_of(cls)
        cls.peers = peers.recorded()

    def write(self, name=SMALL, **changes):
        """A file of a network's weights, some of them changed; None leaves one out."""
        from safetensors.numpy import save_file

        arrays = {**peers.drawn(self.peers[name]["entries"]), **changes}
        # What is shared is written once, as safetensors' functions for PyTorch do.
        arrays = {
            entry: value
            for entry, value in arrays.items()
            if value is not None and ".attacker." not in entry
        }
        path = self.folder / f"{self.id()}.safetensors"
        save_file(arrays, path)
        return path

    def load(self, name=SMALL, **changes):
        one = self.peers[name]
        options = statistics(one["entries"])
        path = self.write(name, **changes)
        return exchange.load_weights(path, one["layout"], 10, **options)

    @parameterized.parameters(
        "madry_resnet50",
        "Addepalli2021Towards_RN18",
        "Wong2020Fast",
        "Rice2020OverfittingL2",
        "Carmon2019Unlabeled",
        "Gowal2020Uncovering",
        SMALL,
    )
    def test_logits_are_those_of_pytorch(self, name):
        expected = np.array(self.peers[name]["logits"])
        self.assertGreater(np.ptp(expected), 1)
        logits = self.load(name).network(peers.images())
        np.testing.assert_allclose(logits, expected, atol=1e-4)

    @parameterized.parameters("Engstrom2019Robustness", "madry_resnet18")
    def test_every_entry_of_others_is_known(self, name):
        weights = self.load(name)
        np.testing.assert_allclose(weights.architecture.mean, peers.MEAN)
        np.testing.assert_allclose(weights.architecture.std, peers.STD)

    def test_depth_and_width_follow_from_the_shapes(self):
        weights = self.load("Carmon2019Unlabeled")
        self.assertEqual(
            weights.architecture, models.WideResNet((0.0,), (1.0,), 28, 2, width=2)
        )
        self.assertEqual(self.load().architecture.depth, 10)

    def refused(self, words, call, *arguments, **options):
        with self.assertRaisesRegex(ValueError, words):
            call(*arguments, **options)

    def test_entries_that_do_not_fit_are_named(self):
        for changes, words in (
            ({"fc.bias": None}, "it has no fc.bias"),
            ({"fc.more": np.zeros(1)}, "nobody knows its fc.more"),
            ({"bn1.weight": np.zeros(3)}, "bn1.weight is 3 instead of 8"),
            ({"conv1.weight": None}, "it has no 'conv1.weight', but"),
            ({"fc.weight": None}, "it has no fc.weight"),
            ({"mu": None}, "does not say how pixels are normalised"),
        ):
            self.refused(words, self.load, **changes)
        path = self.write()
        read = exchange.load_weights
        layout = self.peers[SMALL]["layout"]
        self.refused("it has no .*linear.weight", read, path, "robustbench_resnet18")
        self.refused("is of 10 classes, and not of 5", read, path, layout, 5)
        self.refused("has its own mu", read, path, layout, mean=(0,), std=(1,))
        self.refused("there is no layout 'x'; there are madry", read, path, "x")
        self.refused("nrf did not write it", read, path, "nrf")

    def test_files_that_hold_no_weights_are_refused(self):
        read, layout = exchange.load_weights, self.peers[SMALL]["layout"]
        self.refused("there is no file", read, self.folder / "none.pt", layout)
        cut = self.folder / "cut.safetensors"
        cut.write_bytes(self.write().read_bytes()[:-9])
        self.refused("is no whole .safetensors file", read, cut, layout)
        other = cut.rename(self.folder / "weights.h5")
        self.refused("is neither .safetensors nor one of .pt", read, other, layout)

    @needs("torch")
    def test_checkpoints_of_pytorch(self):
        import torch
        import torch_networks

        live = torch_networks.networks()
        self.assertEqual(list(live), list(self.peers))
        for name, (layout, network) in live.items():
            network, shapes = torch_networks.filled(network)
            recorded = self.peers[name]
            self.assertEqual(layout, recorded["layout"])
            there = {n: tuple(s) for n, s in recorded["entries"].items()}
            self.assertEqual(shapes, there)
            logits = torch_networks.logits(network, peers.images())
            np.testing.assert_allclose(logits, recorded["logits"], atol=1e-5)
        layout, network = live["madry_resnet18"]
        path = self.folder / "checkpoint.pt.best"
        torch.save({"epoch": 3, "model": network.state_dict()}, path)
        weights = exchange.load_weights(path, layout)
        same = self.load("madry_resnet18")
        self.assertEqual(weights.architecture, same.architecture)
        self.assertEqual(
            manifest.content(weights.params), manifest.content(same.params)
        )
        torch.save({"epoch": 3}, path)
        self.refused("holds no state dict", exchange.load_weights, path, layout)

    @needs("torch")
    def test_code_of_a_pickle_never_runs(self):
        import torch

        path = self.folder / "evil.pt"
        ran = self.folder / "ran"

        class Evil:
            def __reduce__(self):
                return Path.touch, (ran,)

        torch.save({"model": Evil()}, path)
        self.refused("more than tensors", exchange.load_weights, path, "madry_resnet50")
        self.assertFalse(ran.exists())

    def test_a_network_comes_into_a_run_and_goes_out_again(self):
        path, out = self.write(), self.folder / "run"
        layout = self.peers[SMALL]["layout"]
        arguments = [str(path), "--as", layout, "--out", str(out), "--name", "wide"]
        self.assertEqual(command.main(["import", *arguments]), 0)
        self.refused(
            "holds import.json already", exchange.import_network, path, layout, out
        )
        plain, one = "Addepalli2021Towards_RN18", str(self.folder / "plain")
        arguments = [str(self.write(plain)), "--as", "robustbench_resnet18"]
        arguments += ["--mean", "0", "--std", "1", "--out", one]
        self.assertEqual(command.main(["import", *arguments]), 0)
        (name,) = [one["name"] for one in runs.load(one).results["networks"]]
        self.assertEqual(runs.load(one).weights(name).architecture.std, (1.0,))
        path, run = self.write(), runs.load(out)
        expected = self.load()
        weights = run.weights("wide")
        self.assertEqual(weights.architecture, expected.architecture)
        for name in ("nrf", layout):
            file = self.folder / f"{name}.safetensors"
            there, card = exchange.export_network(run, "wide", file, layout=name)
            back = exchange.load_weights(there, name)
            self.assertEqual(back.architecture, expected.architecture)
            self.assertEqual(
                manifest.content(back.params), manifest.content(weights.params)
            )
            self.assertIn(f"read from `{path.name}`", card.read_text())
            self.refused("is there already", exchange.export_network, run, "wide", file)
        self.refused(
            "has no layers as madry_resnet18",
            exchange.save_weights,
            self.folder / "x.safetensors",
            weights,
            "madry_resnet18",
        )

    def test_a_run_takes_a_network_that_was_trained_elsewhere(self):
        out = self.folder / "elsewhere"
        network = models.Small((0.5,), (0.25,), (3, 4))
        params = network.build(10).init(
            jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32)
        )
        weights = runs.Weights(network, 10, params)
        file = exchange.save_weights(self.folder / "small.safetensors", weights)
        exchange.import_network(file, "nrf", out, data="digits")
        config = tiny(
            networks={"robust": Given(str(out)), "standard": TRAINING},
            sets=(),
            evaluation=Evaluation("l2", (), steps=1),
        )
        steps = [one.step for one in plan(config, self.folder / "planned")]
        self.assertNotIn("seed0/robust", steps)
        results = main.run(config, self.folder / "given")
        (row,) = [row for row in results["rows"] if row["network"] == "robust"]
        self.assertEqual(results["networks"][0]["text"], f"As in {out}.")
        _, test = data.load("digits", test_examples=40)
        right = weights.network(test.images).argmax(-1) == test.labels
        self.assertEqual(row["correct"], int(right.sum()))
        other = tiny(networks={"robust": Given(str(out))}, sets=(), data="photos")
        self.refused("classes apart|other images", main.run, other, self.folder / "no")
        two = Given(str(self.folder / "given"))
        self.refused("which network of .*robust, standard", prepare.weights_of, two)


def example(dtype=np.float32, count=7):
    """A set of small images in colours, with labels that are not the originals'."""
    random = np.random.RandomState(0)
    images = random.uniform(size=(count, 6, 5, 3)).astype(dtype)
    labels = np.arange(count, dtype=np.int32) % 3
    return Constructed(
        images,
        labels,
        (labels + 1) % 3,
        np.arange(count)[::-1].copy(),
        ("cat", "dog", "frog"),
        {"set": "D_R", "data": "animals", "steps": 1000},
    )


class SetsTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = folder_of(cls)

    def check_same(self, made, back):
        self.assertEqual(back.images.dtype, made.images.dtype)
        for name in ("images", "labels", "original_labels", "indices"):
            np.testing.assert_array_equal(getattr(back, name), getattr(made, name))
        self.assertEqual(back.names, made.names)
        self.assertEqual(back.provenance, made.provenance)

    @parameterized.product(format=("npz", "parquet"), dtype=(np.float16, np.float32))
    def test_sets_are_read_back_bit_for_bit(self, format, dtype):
        made = example(dtype)
        path = exchange.write_set(self.folder / f"{format}{dtype}", made, format)
        self.check_same(made, exchange.read_set(path))
        with self.assertRaisesRegex(ValueError, "is there already"):
            exchange.write_set(path, made, format)
        with self.assertRaisesRegex(ValueError, "has classes"):
            exchange.read_set(path, ("cat", "dog", "toad"))

    @needs("datasets")
    def test_hugging_face_reads_parquet(self):
        import datasets

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            datasets.disable_progress_bars()
            for dtype in (np.float32, np.float16):
                made = example(dtype)
                path = exchange.write_set(
                    self.folder / f"hub{dtype}",
                    made,
                    "parquet",
                    lambda text: f"{HEAD}{text}\n",
                )
                read = datasets.load_dataset(
                    str(path), split="train", cache_dir=str(self.folder / "cache")
                )
                images = np.array(read.with_format("numpy")["image"])
                self.assertEqual(read.features["image"].dtype, np.dtype(dtype).name)
                np.testing.assert_array_equal(images, made.images)
                self.check_same(made, exchange.read_set(path))
                self.assertEqual(read["label"][:], made.labels.tolist())
                self.assertEqual(read.features["label"].names, list(made.names))

    @needs("torch")
    def test_pytorch_reads_the_released_layout(self):
        import torch

        made = example(count=1100)
        path = exchange.write_set(self.folder / "released", made, "madry")
        images = torch.cat(torch.load(path / "CIFAR_ims"))
        labels = torch.cat(torch.load(path / "CIFAR_lab"))
        np.testing.assert_array_equal(images, made.images.transpose(0, 3, 1, 2))
        np.testing.assert_array_equal(labels, made.labels)
        back = exchange.read_set(path, made.names)
        unknown = np.full(1100, -1)
        self.check_same(
            made._replace(original_labels=made.labels, indices=unknown, provenance={}),
            back,
        )
        self.assertEqual(exchange.read_set(path).names, ("0", "1", "2"))

    def test_png_files_say_what_they_lose(self):
        made = example()
        path = exchange.write_set(self.folder / "png", made, "png")
        lost = np.float64(made.images) - np.round(255 * np.float64(made.images)) / 255
        lengths = np.sqrt((lost**2).sum((1, 2, 3)))
        text = (path / "README.md").read_text()
        self.assertIn(f"off by {np.abs(lost).max():.5f} at most", text)
        self.assertIn(f"by {lengths.mean():.4f} in ℓ2", text)
        import PIL.Image

        with PIL.Image.open(path / "train" / "dog" / "000004.png") as image:
            pixels = np.asarray(image)
        np.testing.assert_allclose(pixels / 255, made.images[4], atol=0.5 / 255 + 1e-7)
        with self.assertRaisesRegex(ValueError, "cannot be the name of a folder"):
            bad = made._replace(names=("cat", "a/b", "frog"))
            exchange.write_set(self.folder / "bad", bad, "png")
        self.assertFalse((self.folder / "bad").exists())

    def test_a_set_becomes_data_to_train_on(self):
        train, test = data.load("digits", train_examples=20, test_examples=5)
        path = self.folder / "mine.npz"
        np.savez(path, images=np.asarray(train.images), labels=train.labels)
        out = self.folder / "set"
        arguments = ["import", str(path), "--as", "set", "--out", str(out)]
        self.assertEqual(command.main([*arguments, "--data", "digits"]), 0)
        again, theirs = data.load(out, test_examples=5)
        np.testing.assert_array_equal(again.images, train.images)
        np.testing.assert_array_equal(theirs.images, test.images)
        self.assertEqual(again.names, train.names)

    @parameterized.parameters(
        ({"images": np.zeros((2, 3, 3, 1), np.uint8)}, "images of uint8"),
        ({"labels": None}, "needs images and labels"),
    )
    def test_what_is_no_set_is_refused(self, changes, words):
        made = example()
        arrays = {"images": made.images, "labels": made.labels, **changes}
        path = self.folder / "no_set.npz"
        np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
        with self.assertRaisesRegex(ValueError, words):
            exchange.read_set(path)
        with self.assertRaisesRegex(ValueError, "holds no set"):
            exchange.read_set(self.folder / "nothing")
        with self.assertRaisesRegex(ValueError, "format must be parquet, npz, png"):
            exchange.write_set(self.folder / "x", made, "zip")


class ExportTest(parameterized.TestCase):
    """A run's folder, written by hand: two steps and the rows of a network."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = folder_of(cls)
        cls.out = cls.folder / "run"
        network = models.Linear((0.5,), (0.25,))
        params = {"params": {"Dense_0": {"kernel": np.eye(90, 3, dtype=np.float32)}}}
        params["params"]["Dense_0"]["bias"] = np.arange(3, dtype=np.float32)
        settings = {"network": describe(network), "training": describe(TRAINING)}
        inputs = {"D_R": "", "test": ""}
        about = {"step": "on_D_R", "inputs": inputs, "settings": settings}
        store.save(cls.out / "seed3" / "on_D_R", Trained(params, []), about)
        store.save(cls.out / "seed3" / "D_R", example(), {"step": "D_R"})
        measured = {"network": "on_D_R", "seed": 3, "total": 40}
        clean = {"attack": "none", "norm": None, "epsilon": 0.0, "correct": 30}
        pgd = {"attack": "pgd", "norm": "l2", "epsilon": 0.5, "correct": 11}
        pgd["evidence"] = {"verdict": "believable"}
        strongest = {
            "norm": "l2",
            "epsilon": 0.5,
            "withstood": {"clean": 30, "apgd-ce": 9, "square": 7},
            "evidence": {"autoattack": {"verdict": "beaten"}},
        }
        results = {
            "config": {"seeds": [3]},
            "data": "animals",
            "data_note": "made",
            "classes": ["cat", "dog", "frog"],
            "sets": [{"name": "D_R", "text": "Moved images."}],
            "rows": [measured | clean, measured | pgd],
            "autoattack": [measured | strongest],
        }
        (cls.out / "results.json").write_text(json.dumps(results))
        cls.run_ = runs.load(cls.out)

    @needs("safetensors")
    def test_a_model_card_says_what_was_measured(self):
        weights = self.run_.weights("on_D_R")
        # As `verify.certify` makes them; AutoAttack would take longer than all this.
        certified = certificate.seal(
            {
                "claims": "Of 40 images 7 withstand.",
                "intervals": {"withstood": [0.1, 0.3]},
                "evidence": {"verdict": "believable"},
                "leaves_open": ["Nothing else is said."],
                "weights": verify.weights_digest(weights.params),
            }
        )
        path = self.folder / "on_D_R.safetensors"
        file = self.folder / "certificate.json"
        certificate.write(file, certified)
        arguments = ["--network", "on_D_R", "--to", str(path)]
        arguments += ["--certificate", str(file)]
        self.assertEqual(command.main(["export", str(self.out), *arguments]), 0)
        card = path.with_suffix(".md").read_text()
        for words in (
            "in the standard way on D_R, made of `animals` (made): Moved images.",
            "| pgd | l2 0.5 | 11 of 40: 27.5 % | believable |",
            "| AutoAttack | l2 0.5 | 7 of 40: 17.5 % | beaten |",
            certified["claims"],
            certified["sha256"],
            'load_weights("on_D_R.safetensors", "nrf")',
        ):
            self.assertIn(words, card)

        other = certificate.seal({**certified, "weights": {"sha256": "0"}})
        with self.assertRaisesRegex(ValueError, "is of other weights"):
            exchange.export_network(
                self.run_, "on_D_R", self.folder / "y.safetensors", certificate=other
            )

    def test_a_set_goes_out_with_its_card(self):
        for format in FORMATS if not without("torch") else ("parquet", "npz", "png"):
            to = self.folder / format
            arguments = ["--set", "D_R", "--to", str(to), "--format", format]
            self.assertEqual(command.main(["export", str(self.out), *arguments]), 0)
            card = (to / "README.md").read_text()
            self.assertIn("7 images of 6 x 5 x 3", card)
            self.assertIn("made of `animals` (made): Moved images.", card)
            self.assertIn('"steps": 1000', card)
            self.assertEqual("data_files" in card, format == "parquet")
        with contextlib.redirect_stderr(io.StringIO()) as errors:
            code = command.main(["export", str(self.out), "--to", "x"])
        self.assertEqual(code, 2)
        self.assertIn("one of --network NAME and --set NAME", errors.getvalue())

    @needs("safetensors", "torch")
    def test_the_page_runs_as_it_stands(self):
        import torch

        before = os.getcwd()
        folder = self.folder / "page"
        (folder / "runs").mkdir(parents=True)
        os.chdir(folder)
        self.addCleanup(os.chdir, before)
        (folder / "runs" / "photos").symlink_to(self.out)
        from safetensors.numpy import save_file

        entries = peers.recorded()["madry_resnet50"]["entries"]
        arrays = peers.drawn(entries)
        tensors = {name: torch.tensor(array) for name, array in arrays.items()}
        torch.save({"model": tensors, "epoch": Path("x")}, "cifar_l2_0_5.pt")
        save_file(
            {n: a for n, a in arrays.items() if ".attacker." not in n},
            "weights.safetensors",
        )
        digits, _ = data.load("digits", train_examples=20)
        released = example()._replace(
            images=np.asarray(digits.images), labels=digits.labels
        )
        exchange.write_set("d_robust_CIFAR", released, "madry")
        names = {"x": peers.images(1)}
        for language, program in re.findall(
            r"```(sh|python)\n(.*?)```", PAGE.read_text(), flags=re.S
        ):
            if language == "python":
                exec(program, names)
                continue
            for line in program.replace("cifar10", "digits").splitlines():
                nrf, *arguments = shlex.split(line)
                self.assertEqual((nrf, command.main(arguments)), ("nrf", 0), line)
        self.assertEqual(names["logits"].shape, (1, 10))
        same = exchange.load_weights("cifar_l2_0_5.safetensors", "madry_resnet50")
        expected = manifest.content(names["weights"].params)
        self.assertEqual(manifest.content(same.params), expected)
        back = exchange.load_weights("torch.safetensors", "madry_resnet50")
        self.assertEqual(manifest.content(back.params), expected)
        config = names["config"]
        self.assertEqual(prepare.weights_of(config.networks["robust"]).num_classes, 10)
        theirs = config.sets[-1].recipe(None, digits, env=None)
        np.testing.assert_array_equal(theirs.images, digits.images)
        with self.assertRaisesRegex(ValueError, "the experiment's are"):
            config.sets[-1].recipe(
                None, digits._replace(images=digits.images[:, :4]), env=None
            )


@needs("tensorboardX")
class BoardTest(parameterized.TestCase):
    def test_a_run_writes_curves_and_pictures(self):
        folder = folder_of(type(self))
        out, board = folder / "run", folder / "board"

        def run(config, out, *, progress, **options):
            for epoch in (1, 2):
                measured = {"epoch": epoch, "loss": 1 / epoch}
                progress.metrics("seed0/robust", measured)
            out.mkdir()
            pictures = {"D": np.zeros((2, 4, 4, 1)), "D_labels": np.zeros(2)}
            np.savez(out / "pictures.npz", **pictures)
            return {}

        with (
            mock.patch.object(main, "run", run),
            mock.patch.object(report, "write"),
            mock.patch.object(report, "table"),
        ):
            arguments = ["digits", "--out", str(out), "--tensorboard", str(board)]
            self.assertEqual(command.main(["run", *arguments]), 0)
        losses = [(e.step, v.simple_value) for e, v in events(board / "seed0/robust")]
        self.assertEqual(losses, [(1, 1.0), (2, 0.5)])
        ((_, picture),) = events(board / "pictures")
        self.assertEqual((picture.tag, picture.image.height), ("D", 4))


def events(folder):
    """The values that TensorBoard reads in a folder, each with its event."""
    from tensorboardX.proto import event_pb2

    (file,) = folder.iterdir()
    content, found = file.read_bytes(), []
    while content:
        # The length of a record, its checksum, the record, and its checksum.
        (length,) = struct.unpack("<Q", content[:8])
        event = event_pb2.Event.FromString(content[12 : 12 + length])
        found += [(event, value) for value in event.summary.value]
        content = content[16 + length :]
    return found
