"""The paper's main experiment with the paper's own settings (appendix C).

    nrf run cifar10 --out runs/cifar10

ResNet-50, 1000 matching steps, on all devices that JAX sees. The paper does not say for
how many epochs its networks were trained; its figure 10 shows 200 for D_rand and D_det,
and its library's default for CIFAR-10 is 150. Of the learning rate it says that it
drops once, and the curves of figure 10 look like the library's drops at a third and two
thirds. Augmentation and plain momentum are the library's too.

Cost, predicted: at most 1,410 PFLOP, 37,200 TB from and to memory, and 16.2 hours on
one H100 (`nrf run cifar10 --out DIR --plan h100`, 2026-11-28); with `--network.dtype
bfloat16` 22,100 TB and 2.6 hours. Compilation comes on top. Result: not measured yet,
on any GPU. The paper's:
D 95.3 / 4.5 (standard accuracy / robust at epsilon 0.25),
adversarial training 90.8 / 82.5, D_R 84.1 / 48.3, D_NR 87.7 / 0.8, D_rand 63.3,
D_det 43.7.
"""

from dataclasses import replace

from nrf.config import PGD, Evaluation, Experiment, Set, Training
from nrf.experiments import Match, Mislabel
from nrf.models import ResNet50

standard = Training(
    epochs=150,
    batch_size=128,
    learning_rate=0.1,
    schedule="steps",
    drops=(1 / 3, 2 / 3),
    nesterov=False,
    pad=4,
    flip=True,
    jitter=0.25,
    rotation=2,
)
match = Match(steps=1000, step_size=0.1)
push = PGD("l2", epsilon=0.5, steps=100, step_size=0.1)

config = Experiment(
    name="cifar10",
    data="cifar10",
    network=ResNet50(
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),  # As the authors' library has them.
    ),
    networks={
        "standard": standard,
        "robust": replace(
            standard, attack=PGD("l2", epsilon=0.5, steps=7, step_size=0.1)
        ),
    },
    sets=(
        Set("D_R", match, "robust", standard),
        Set("D_NR", match, "standard", standard),
        Set(
            "D_rand",
            Mislabel(push, "random"),
            "standard",
            replace(standard, learning_rate=0.01, epochs=200),
        ),
        Set(
            "D_det",
            Mislabel(push, "next"),
            "standard",
            replace(standard, pad=0, flip=False, jitter=0, rotation=0, epochs=200),
        ),
    ),
    evaluation=Evaluation("l2", epsilons=(0.25, 0.5), steps=100),
    # As of the paper's time; GPUs since then are several times faster in tensorfloat32.
    precision="float32",
)
