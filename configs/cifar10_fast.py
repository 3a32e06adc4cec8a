"""The paper's CIFAR-10 figure on one GPU, in minutes instead of days.

    python scripts/run.py configs/cifar10_fast.py --out runs/cifar10_fast

ResNet-18 in bfloat16, short one-cycle trainings, and attacks of fewer and larger steps
than the paper's; its radii are kept: training at epsilon 0.5, test at 0.25 and 0.5.

Cost: about 29 million images passed forward and back through ResNet-18; the aim is ten
minutes on one H100. Result: not measured yet, on any GPU; that it starts and runs
through every step is tested on a CPU. To be matched or beaten, with ResNet-50
(standard accuracy / robust at epsilon 0.25): D_R 84.1 / 48.3, D_NR 87.7 / 0.8,
D_rand 63.3, D_det 43.7.
"""

from dataclasses import replace

from nrf.config import PGD, Evaluation, Experiment, Set, Training, Work
from nrf.experiments import Match, Mislabel
from nrf.models import ResNet18

standard = Training(
    epochs=24,
    batch_size=256,
    learning_rate=0.2,
    schedule="triangle",
    warmup=0.2,
    pad=4,
    flip=True,
)
match = Match(steps=80, step_size=0.25)
push = PGD("l2", epsilon=0.5, steps=30, step_size=0.1)

config = Experiment(
    name="cifar10_fast",
    data="cifar10",
    network=ResNet18(
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        dtype="bfloat16",
    ),
    networks={
        "standard": standard,
        "robust": replace(
            standard, epochs=16, attack=PGD("l2", epsilon=0.5, steps=4, step_size=0.2)
        ),
    },
    sets=(
        Set("D_R", match, "robust", standard),
        Set("D_NR", match, "standard", standard),
        Set(
            "D_rand",
            Mislabel(push, "random"),
            "standard",
            replace(standard, learning_rate=0.05),
        ),
        Set(
            "D_det",
            Mislabel(push, "next"),
            "standard",
            replace(standard, pad=0, flip=False),
        ),
    ),
    evaluation=Evaluation("l2", epsilons=(0.25, 0.5), steps=40),
    storage="float16",
    precision="float32",  # Of what is not in bfloat16: the last layer, and the losses.
    work=Work(synthesis_batch=1000, evaluation_batch=1000),
)
