"""What people already use, in and out.

    weights = load_weights("cifar_l2_0_5.safetensors", "madry_resnet50")
    import_network("cifar_l2_0_5.safetensors", "madry_resnet50", "runs/madry")
    export_network(runs.load("runs/photos"), "robust", "robust.safetensors")
    export_set(runs.load("runs/photos"), "D_R", "D_R", "parquet")

Networks come from MadryLab's and RobustBench's files, and go out as safetensors; sets
go out as Parquet, .npz, PNG and PyTorch's tensors, and come back from these. Pickled
objects are never read. `Released` puts a set of others into an experiment.
"""

from nrf.exchange.exports import export_network, export_set
from nrf.exchange.imports import import_network, import_set
from nrf.exchange.readers import Released, read_set
from nrf.exchange.weights import load_weights, save_weights
from nrf.exchange.writers import write_set

__all__ = [
    "Released",
    "export_network",
    "export_set",
    "import_network",
    "import_set",
    "load_weights",
    "read_set",
    "save_weights",
    "write_set",
]
