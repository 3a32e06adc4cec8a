"""The paper's study of transferability (figures 3 and 13), all networks at full width.

    nrf run transfer --out runs/transfer

A ResNet-50 is attacked; VGG-16, Inception-v3, ResNet-18, DenseNet-121 and another
ResNet-50 are tested on these attacks, and trained on its D_det. The paper's settings
where it says them: D_det's radius, steps and training (appendix C). Neither the attack
on the test images nor the training of each architecture is said; the first is that of
D_det here, the second the same for all. As in the paper's section 3.2, all training
images are used by all networks; `--halves True` gives the source one half of them and
the others the other.

Cost: about 100 million images passed forward and back through the five networks, the
half of them with D_det; use several GPUs. Result: not measured yet. The paper's, read
off its figures (accuracy after D_det; transfer rate untargeted, targeted):

    VGG-16           27.9    65.7     9.2
    Inception-v3     39.4    82.8    23.0
    ResNet-18        40.8    92.1    32.4
    DenseNet         41.7    92.7    36.5
    ResNet-50        44.7    98.7    71.6
"""

from dataclasses import replace

from nrf.config import PGD, Learner, Training, Transfer
from nrf.experiments import Mislabel
from nrf.models import VGG16, DenseNet121, InceptionV3, ResNet18, ResNet50

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
unaugmented = replace(standard, pad=0, flip=False, jitter=0, rotation=0)
# Mean and standard deviation of the pixels, as the authors' library has them.
pixels = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
attack = PGD("l2", epsilon=0.5, steps=100, step_size=0.1)

config = Transfer(
    name="transfer",
    data="cifar10",
    source=ResNet50(*pixels),
    source_training=standard,
    learners=tuple(
        Learner(
            name,
            network(*pixels),
            on_D=standard,
            on_D_det=replace(unaugmented, epochs=200),
        )
        for name, network in {
            "vgg16": VGG16,
            "inception_v3": InceptionV3,
            "resnet18": ResNet18,
            "densenet121": DenseNet121,
            "resnet50": ResNet50,
        }.items()
    ),
    attack=attack,
    D_det=Mislabel(attack, "next"),
    halves=False,
    # As of the paper's time; GPUs since then are several times faster in tensorfloat32.
    precision="float32",
)
